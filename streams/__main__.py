"""`python -m streams`: one stream worker, until a signal."""

from __future__ import annotations

import mode.loop

from infra import epochs, memory, metrics
from infra.cassandra.schema import open_session
from infra.kafka.admin import Admin
from infra.settings import Settings, load
from streams import app


def main(settings: Settings | None = None) -> None:
    """Run a stream worker; raises `DiffusionError` when it cannot start."""
    memory.keep_threshold()
    # Before Faust makes a loop: a record costs it a quarter less on this one.
    mode.loop.use("uvloop")
    settings = settings or load()
    session = open_session(settings.cassandra)
    found = epochs.ensure_all(settings, session, Admin(settings.kafka))
    metrics.serve(settings.stream.metrics_port)
    app.run(app.build(settings, session, found))


if __name__ == "__main__":
    main()
