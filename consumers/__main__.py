"""`python -m consumers`: one materializer, until a signal."""

from __future__ import annotations

from consumers.materializer import Materializer
from infra import epochs, memory, metrics, signals
from infra.cassandra.schema import open_session
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from infra.settings import Settings, load


def main(settings: Settings | None = None) -> None:
    """Run a materializer; raises `DiffusionError` when it cannot start or go on."""
    memory.keep_threshold()
    settings = settings or load()
    session = open_session(settings.cassandra)
    epoch = epochs.ensure_change_log(settings, session, Admin(settings.kafka))
    metrics.serve(settings.materializer.metrics_port)
    stop = signals.stop_on_signal()
    delivery = Delivery(settings.kafka, "diffusion-materializer-dead-letters")
    try:
        Materializer(settings, session, epoch, delivery, now_ms).run(stop.is_set)
    finally:
        session.close()


if __name__ == "__main__":
    main()
