"""`python -m consumers.openim`: one tap, until a signal."""

from __future__ import annotations

from functools import partial

from consumers.openim.known import Engine
from consumers.openim.outbox import Outbox
from consumers.openim.tap import Tap
from infra import memory, metrics, probes, signals, telling
from infra.cassandra.schema import open_session
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from infra.patience import patiently
from infra.settings import Settings, load
from schemas.topics import WRITE_TOPICS


def main(settings: Settings | None = None) -> None:
    """Run a tap; raises `DiffusionError` when it cannot start or go on."""
    memory.keep_small()
    settings = settings or load()
    telling.begin("openim-tap", settings)
    own = settings.openim
    session = patiently(lambda: open_session(settings.cassandra))
    try:
        with Admin(settings.kafka) as admin:
            names = [topic.name for topic in WRITE_TOPICS]
            partitions = patiently(lambda: {name: admin.describe(name)[1] for name in names})
            delivery = Delivery(settings.kafka, "diffusion-openim-tap")
            engine = Engine(settings, session, admin, delivery)
            tap = Tap(settings, Outbox(delivery, partitions), delivery, engine.room, now_ms)
            theirs = partial(tap.ping, probes.PROBE_TIMEOUT_S)
            checks = probes.servers(delivery, session) | {"openim": theirs}
            probes.serve(metrics.Program.OPENIM, own.metrics_host, own.metrics_port, checks)
            stop = signals.stop_on_signal()
            tap.run(stop.is_set)
    finally:
        session.close()


if __name__ == "__main__":
    main()
