"""Reconnects over a bad mobile line, for `diffusion bench recovery`: slow, silent, and often reset.

Each device follows from an older store until it is current, and meets weather of its own.
"""

from __future__ import annotations

import queue
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from diffusion.bench.measure import quantile
from diffusion.lossy import LossyProxy, Weather
from infra.clock import monotonic_s
from infra.local.settings import LOOPBACK
from schemas.conversations import ConversationState
from sdk.client import SyncClient
from sdk.client.events import ClientEvent, SyncFailed, SyncFinished

BAD_LINE: Final = Weather(
    latency_ms=800,
    bytes_per_second=16 * 1024,
    reset_chance=0.05,
    # An exchange of a reconnect has about a kilobyte: a reset is to meet it, not the next one.
    reset_within_bytes=1_000,
    stall_chance=0.05,
    stall_ms=5_000,
)

BAD_LINE_CHANGED: Final = 20
"""Conversations that changed while the device was away."""

RECONNECTS: Final = 30
"""Devices that reconnect, one after the other."""

PATIENCE_S: Final = 300.0
"""For one reconnect: longer than any that comes about."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """One device on the bad line, from `follow` to the end of the first sync that succeeds."""

    completed: bool
    attempts: int
    resets: int
    seconds: float
    bytes_line: int


@dataclass(frozen=True, slots=True)
class BadLine:
    """Reconnects over the bad line, with `BAD_LINE_CHANGED` changed conversations each."""

    reconnects: int
    completed: int
    resets: int
    attempts_max: int
    seconds_p50: float
    seconds_max: float
    bytes_line_p50: int
    bytes_line_max: int


def reconnect(
    api_port: int, token: str, store: Path, seed: int
) -> tuple[Reconnect, dict[str, ConversationState]]:
    """Follow until the first sync has succeeded; what it took, and what the device then holds."""
    events: queue.SimpleQueue[ClientEvent] = queue.SimpleQueue()
    failures, completed, began_s = 0, False, monotonic_s()
    with (
        LossyProxy(LOOPBACK, api_port, BAD_LINE, seed) as proxy,
        SyncClient(
            proxy.url,
            token=token,
            store=store,
            on_event=events.put,
            rng=random.Random(seed),  # noqa: S311 -- a reproducible run
        ) as client,
    ):
        client.follow()
        while not completed:
            try:
                event = events.get(timeout=PATIENCE_S)
            except queue.Empty:
                break
            failures += isinstance(event, SyncFailed)
            completed = isinstance(event, SyncFinished)
        spent_s, passed = monotonic_s() - began_s, proxy.stats
        state = client.state()
    bytes_line = passed.bytes_up + passed.bytes_down
    return Reconnect(completed, failures + 1, passed.resets, spent_s, bytes_line), state


def summed_up(found: Sequence[Reconnect]) -> BadLine:
    """Sum up all reconnects, those that did not end well included."""
    seconds = [one.seconds for one in found]
    bytes_line = [one.bytes_line for one in found]
    return BadLine(
        reconnects=len(found),
        completed=sum(one.completed for one in found),
        resets=sum(one.resets for one in found),
        attempts_max=max(one.attempts for one in found),
        seconds_p50=round(quantile(seconds, 0.5), 1),
        seconds_max=round(max(seconds), 1),
        bytes_line_p50=int(quantile(bytes_line, 0.5)),
        bytes_line_max=max(bytes_line),
    )
