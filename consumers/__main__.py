"""`python -m consumers`: one materializer, until a signal."""

from __future__ import annotations

import logging
from functools import partial

from consumers.materializer import Materializer
from infra import epochs, memory, metrics, probes, signals
from infra.cassandra.schema import open_session
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.kafka.dead_share import TooManyDead
from infra.kafka.delivery import Delivery
from infra.patience import patiently
from infra.settings import Settings, load
from infra.standstill import Done, Watchdog
from schemas.topics import CHANGES

log = logging.getLogger("diffusion.materializer")


def main(settings: Settings | None = None) -> None:
    """Run a materializer; raises `DiffusionError` when it cannot start or go on."""
    memory.keep_threshold()
    settings = settings or load()
    own, kafka, admin = settings.materializer, settings.kafka, Admin(settings.kafka)
    session = patiently(lambda: open_session(settings.cassandra))
    epoch = patiently(lambda: epochs.ensure_change_log(settings, session, admin))
    delivery = Delivery(kafka, "diffusion-materializer-dead-letters")
    materializer = Materializer(settings, session, epoch, delivery, now_ms)
    refusals: list[TooManyDead] = []

    def check_going() -> None:
        for refusal in refusals:
            raise refusal

    checks: dict[str, probes.Check] = {
        "kafka": partial(delivery.ping, probes.PROBE_TIMEOUT_S),
        "cassandra": partial(session.ping, probes.PROBE_TIMEOUT_S),
        "dead letters": check_going,
    }
    probes.serve(metrics.Program.MATERIALIZER, own.metrics_host, own.metrics_port, checks)

    def done() -> Done:
        return Done(materializer.batches, session.acknowledged + materializer.batches)

    def assigned() -> dict[str, frozenset[int]] | None:
        return None if refusals else {CHANGES.name: materializer.assigned}

    Watchdog(kafka, kafka.materializer_group, assigned, done).start(own.standstill_s)
    stop = signals.stop_on_signal()
    try:
        materializer.run(stop.is_set)
    except TooManyDead as refusal:
        # It stands until somebody has decided: started anew it would let some pass each time.
        log.critical("This materializer stops. %s", refusal)
        refusals.append(refusal)
        metrics.process_stopped.set(1)
        stop.wait()
    finally:
        session.close()


if __name__ == "__main__":
    main()
