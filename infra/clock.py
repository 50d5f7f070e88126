"""The one place that reads the clock. Everything else takes the time as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Returns milliseconds since 1970."""


def now_ms() -> int:
    """Wall-clock time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds from an arbitrary start, never going back: for durations and time-outs."""
    return time.monotonic()


def clock_text(at_ms: int) -> str:
    """Hours, minutes and seconds of a time, where this machine is."""
    return time.strftime("%H:%M:%S", time.localtime(at_ms // 1_000))
