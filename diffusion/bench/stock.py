"""A stock Faust agent, as Faust's documentation has it: one event a record, one record at a time,
and a send for each user whom it concerns. The yardstick of the stream stage.

`python -m diffusion.bench.stock BROKER TOPIC TO PARTITIONS EVENTS` prints events a second, from the
first event to the last, and ends.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import faust

from infra.clock import monotonic_s
from infra.settings import load
from schemas.partitioner import partition_of
from streams.credentials import credentials


def main(broker: str, source: str, sink: str, partitions: int, events_max: int) -> None:
    """Run until so many events were taken."""
    app = faust.App(
        "bench-stock",
        datadir=tempfile.mkdtemp(),
        broker=f"kafka://{broker}",
        broker_credentials=credentials(load().kafka),
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        value_serializer="json",
    )
    taken, changes = app.topic(source), app.topic(sink)
    state = {"count": 0, "began_s": 0.0}

    async def diffuse(events: Any) -> None:
        async for event in events:
            state["began_s"] = state["began_s"] or monotonic_s()
            for user in event["members"]:
                await changes.send(
                    partition=partition_of(user, partitions),
                    value={
                        "type": "message",
                        "conversation_id": event["conversation_id"],
                        "users": [user],
                        "max_seq": event["seq"],
                        "active_at_ms": event["sent_at_ms"],
                    },
                )
            state["count"] += 1
            if state["count"] == events_max:
                _end(events_max / (monotonic_s() - state["began_s"]))

    app.agent(taken)(diffuse)
    worker = faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False)
    worker.execute_from_commandline()


def _end(events_per_second: float) -> None:
    sys.stdout.write(f"{events_per_second:.1f}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
