"""`python -m consumers`: one materializer, until a signal."""

from __future__ import annotations

from consumers.materializer import Materializer
from infra import epochs, memory, metrics, probes, signals, telling
from infra.cassandra.schema import open_session
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.kafka.dead_share import TooManyDead
from infra.kafka.delivery import Delivery
from infra.patience import patiently
from infra.settings import Settings, load
from infra.standing import Standing
from infra.standstill import Done, Watchdog
from schemas.topics import CHANGES


def main(settings: Settings | None = None) -> None:
    """Run a materializer; raises `DiffusionError` when it cannot start or go on."""
    memory.keep_small()
    settings = settings or load()
    telling.begin("materializer", settings)
    own, kafka = settings.materializer, settings.kafka
    session = patiently(lambda: open_session(settings.cassandra))
    epoch = patiently(lambda: epochs.ensure_change_log(settings, session, Admin(kafka)))
    delivery = Delivery(kafka, "diffusion-materializer-dead-letters")
    materializer = Materializer(settings, session, epoch, delivery, now_ms)
    standing = Standing()
    checks = probes.servers(delivery, session) | {"dead letters": standing.check}
    probes.serve(metrics.Program.MATERIALIZER, own.metrics_host, own.metrics_port, checks)

    def done() -> Done:
        return Done(materializer.batches, session.acknowledged + materializer.batches)

    def assigned() -> dict[str, frozenset[int]] | None:
        return None if standing else {CHANGES.name: materializer.assigned}

    Watchdog(kafka, kafka.materializer_group, assigned, done).start(own.standstill_s)
    stop = signals.stop_on_signal()
    try:
        materializer.run(stop.is_set)
    except TooManyDead as refusal:
        standing.begin(refusal)
        stop.wait()
    finally:
        session.close()


if __name__ == "__main__":
    main()
