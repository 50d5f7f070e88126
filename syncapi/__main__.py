"""`python -m syncapi`: one API process, until a signal."""

from __future__ import annotations

import uvicorn

from infra.cassandra.schema import open_session
from infra.settings import Settings, load
from syncapi.app import build


def main(settings: Settings | None = None) -> None:
    """Serve until a signal; raises `DiffusionError` when it cannot start."""
    settings = settings or load()
    # Before the server: what is wrong with the store is one sentence, not a failed start-up.
    session = open_session(settings.cassandra)
    uvicorn.run(
        build(settings, session),
        host=settings.api.host,
        port=settings.api.port,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
        timeout_graceful_shutdown=int(settings.api.drain_s),
    )


if __name__ == "__main__":
    main()
