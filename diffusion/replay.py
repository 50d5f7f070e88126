"""Replay: events of a workload to Kafka, at full speed or in a multiple of real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from diffusion.workload import TimedEvent
from infra.clock import monotonic_s
from schemas.events import Message
from sdk.backend import WriteProducer


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay wrote."""

    events: int
    messages: int
    seconds: float


def replay(
    events: Iterable[TimedEvent],
    producer: WriteProducer,
    *,
    speed: float | None = None,
    on_event: Callable[[TimedEvent], None] = lambda _: None,
) -> Replayed:
    """Write all events and wait for their delivery. `speed` 1 is real time, None is full speed.

    Raises what the producer raises; `DeliveryError` when events were lost on the way.
    """
    started = monotonic_s()
    first_ms: int | None = None
    count = messages = 0
    for timed in events:
        if speed is not None:
            first_ms = timed.at_ms if first_ms is None else first_ms
            wait_s = (timed.at_ms - first_ms) / 1_000 / speed - (monotonic_s() - started)
            if wait_s > 0:
                time.sleep(wait_s)
        producer.send(timed.event)
        count += 1
        messages += isinstance(timed.event, Message)
        on_event(timed)
    producer.flush()
    return Replayed(count, messages, monotonic_s() - started)
