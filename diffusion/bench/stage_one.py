"""The stream stage taking records of twenty events, beside a stock Faust agent taking one a record.

Messages of one-to-one chats, which name their members: two users each, most of them in two
partitions of the change log. Both topics are filled before their reader starts.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from diffusion.bench.measure import cpu_ms
from diffusion.processes import Processes, worker
from diffusion.system import environment_of
from infra.clock import monotonic_s
from infra.kafka.delivery import Delivery
from infra.local.ports import free_ports
from infra.settings import Settings
from schemas import ids, topics
from schemas.codec import encode_event, join_events
from schemas.errors import PermanentError, RetryableError
from schemas.events import Message
from schemas.partitioner import partition_of
from schemas.trace_context import Headers

EVENTS_PER_RECORD: Final = 20
CHATS: Final = 2_000
SENT_AT_MS: Final = 1_750_000_000_000
STOCK_TOPIC: Final = "bench.stock"
STOCK_SINK: Final = "bench.stock-changes"
TIMEOUT_S: Final = 300.0
POLL_S: Final = 0.25
"""Each look at its metrics costs the worker some milliseconds."""


def messages(number: int, events: int, seed: int) -> Iterator[Message]:
    """Messages in chats drawn anew for each; sequences of a chat go on from round to round."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 -- a reproducible run
    last: dict[str, int] = {}
    for _ in range(events):
        chat = rng.randrange(CHATS)
        members = str(5_000_000_000 + 2 * chat), str(5_000_000_000 + 2 * chat + 1)
        name = ids.one_to_one(*members)
        last[name] = last.get(name, number * events) + 1
        yield Message(name, last[name], members[rng.randrange(2)], SENT_AT_MS, members)


def fill(
    settings: Settings,
    number: int,
    events: int,
    seed: int,
    headers: Iterator[Headers] | None = None,
) -> None:
    """Write records of `EVENTS_PER_RECORD` events to the stage's own topic, with these headers."""

    def produce(partition: int, some: list[bytes]) -> None:
        more = None if headers is None else next(headers)
        topic = topics.CONVERSATION_WRITES.name
        delivery.produce(topic, partition, join_events(some), headers=more)

    delivery = Delivery(settings.kafka, "diffusion-bench")
    waiting: dict[int, list[bytes]] = {}
    for event in messages(number, events, seed):
        partition = partition_of(event.conversation_id, settings.kafka.write_partitions)
        some = waiting.setdefault(partition, [])
        some.append(encode_event(event))
        if len(some) == EVENTS_PER_RECORD:
            produce(partition, some)
            some.clear()
    for partition, some in waiting.items():
        if some:
            produce(partition, some)
    delivery.flush()


def fill_stock(settings: Settings, number: int, events: int, seed: int) -> None:
    """Write one event a record to the topic of the stock agent."""
    delivery = Delivery(settings.kafka, "diffusion-bench")
    for event in messages(number, events, seed):
        partition = partition_of(event.conversation_id, settings.kafka.write_partitions)
        delivery.produce(STOCK_TOPIC, partition, encode_event(event))
    delivery.flush()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a stream worker took from the first batch's end on, and its peak of memory."""

    events: int
    seconds: float
    cpu_ms: float
    peak_bytes: int


def run_stage(settings: Settings, events: int, logs: Path) -> tuple[float, int]:
    """Events a second that a stream worker takes, and its peak of memory in bytes."""
    taken = take(settings, events, logs)
    return taken.events / taken.seconds, taken.peak_bytes


def take(settings: Settings, events: int, logs: Path) -> Taken:
    """Start a stream worker on a topic that is filled, and wait until it has taken all of it."""
    (port,) = free_ports(1)
    environment, log = environment_of(settings), logs / "stage.log"
    with Processes() as processes:
        name = "stream-worker"
        processes.start(worker(name, name, port, environment=environment, log=log))
        first: tuple[float, float, float] | None = None
        deadline_s = monotonic_s() + TIMEOUT_S
        while True:
            count = processes.counted("diffusion_stream_events_total")
            now_s, spent_ms = monotonic_s(), cpu_ms(processes.pid("stream-worker"))
            if count and first is None:
                first = count, now_s, spent_ms
            if count >= events:
                break
            if now_s > deadline_s:
                raise RetryableError(f"The stream worker took {count:,.0f} of {events:,} events.")
            processes.check()
            time.sleep(POLL_S)
        assert first is not None
        if count <= first[0]:  # a batch is 10,000 events, and the first one does not count
            raise PermanentError(f"{events:,} events were one batch: more are needed to time them.")
        peak = processes.peaks()["stream-worker"]
    return Taken(int(count - first[0]), now_s - first[1], spent_ms - first[2], peak)


def run_stock(settings: Settings, events: int) -> float:
    """Events a second of the stock agent."""
    arguments = (
        *(settings.kafka.bootstrap_servers, STOCK_TOPIC, STOCK_SINK),
        *(str(settings.kafka.change_partitions), str(events)),
    )
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "diffusion.bench.stock", *arguments],
        env={**os.environ, **environment_of(settings)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RetryableError(f"The stock agent ended: {done.stderr[-1_000:]}")
    found = re.search(r"[0-9.]+\Z", done.stdout.strip())  # after what Faust tells the terminal
    assert found is not None, done.stdout
    return float(found[0])
