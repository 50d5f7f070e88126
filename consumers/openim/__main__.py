"""`python -m consumers.openim`: one tap, until a signal."""

from __future__ import annotations

from consumers.openim.known import Engine
from consumers.openim.outbox import Outbox
from consumers.openim.tap import Tap
from infra import memory, metrics, signals
from infra.cassandra.schema import open_session
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from infra.settings import Settings, load
from schemas.topics import WRITE_TOPICS


def main(settings: Settings | None = None) -> None:
    """Run a tap; raises `DiffusionError` when it cannot start or go on."""
    memory.keep_threshold()
    settings = settings or load()
    session = open_session(settings.cassandra)
    try:
        with Admin(settings.kafka) as admin:
            partitions = {topic.name: admin.describe(topic.name)[1] for topic in WRITE_TOPICS}
            metrics.serve(settings.openim.metrics_port)
            stop = signals.stop_on_signal()
            delivery = Delivery(settings.kafka, "diffusion-openim-tap")
            engine = Engine(settings, session, admin, delivery)
            tap = Tap(settings, Outbox(delivery, partitions), delivery, engine.room, now_ms)
            tap.run(stop.is_set)
    finally:
        session.close()


if __name__ == "__main__":
    main()
