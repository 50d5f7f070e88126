"""`python -m syncapi`: one API process, until a signal."""

from __future__ import annotations

import contextlib
import logging
import sys

from infra import memory, telling
from infra.cassandra.schema import open_session
from infra.files import FILES_BESIDE_CONNECTIONS, allow_open_files
from infra.patience import patiently
from infra.settings import Settings, load
from infra.tls import server_context
from syncapi.app import build
from syncapi.sockets import Server, config
from syncapi.traced import traced

log = logging.getLogger("diffusion.api")


def main(settings: Settings | None = None) -> None:
    """Serve until a signal; raises `DiffusionError` when it cannot start."""
    memory.keep_small()
    settings = settings or load()
    telling.begin("api", settings)
    api = settings.api
    # Before the server: what is wrong with files or store is a sentence, not a failed start-up.
    tls = server_context(api)
    session = patiently(lambda: open_session(settings.cassandra))
    wanted = api.connections_max + FILES_BESIDE_CONNECTIONS
    if (allowed := allow_open_files(wanted)) < wanted:
        log.warning(
            "%d open files are allowed, fewer than api.connections_max may need: raise `ulimit -n`",
            allowed,
        )
    app = build(settings, session, pokes=api.pokes)
    served = config(traced(app), api.host, api.port, api.trusted_proxies, tls)
    server = Server(served, app.state.hub, api.drain_s)
    with contextlib.suppress(KeyboardInterrupt):  # raised anew when the drain is done
        server.run()
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
