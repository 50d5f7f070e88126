"""`python -m streams`: one stream worker, until a signal."""

from __future__ import annotations

import mode.loop

from infra import epochs, memory, probes, telling
from infra.cassandra.schema import open_session
from infra.kafka.admin import Admin
from infra.metrics import Program
from infra.patience import patiently
from infra.settings import Settings, load
from streams import app


def main(settings: Settings | None = None) -> None:
    """Run a stream worker; raises `DiffusionError` when it cannot start."""
    memory.keep_small()
    # Before Faust makes a loop: a record costs it a quarter less on this one.
    mode.loop.use("uvloop")
    settings = settings or load()
    telling.begin("stream-worker", settings)
    stream, kafka = settings.stream, settings.kafka
    session = patiently(lambda: open_session(settings.cassandra))
    found = patiently(lambda: epochs.ensure_all(settings, session, Admin(kafka)))
    worker = app.build(settings, session, found)
    probes.serve(Program.STREAM, stream.metrics_host, stream.metrics_port, worker.checks())
    worker.watch()
    app.run(worker)


if __name__ == "__main__":
    main()
