"""What a log may say of an error: everything but what may be an id or a token.

Other people's errors quote what they choked on: the value of a column, the key that is not there.
Our own say nothing of whom they are about, so of these the sentence is kept. Of all others it is
the type, and the way there.
"""

from __future__ import annotations

import traceback
from typing import Final

from schemas.errors import DiffusionError

CAUSES_MAX: Final = 8
"""Errors of one chain that are told."""


def sentence_of(error: BaseException) -> str:
    """What an error says, in one line."""
    name = type(error).__qualname__
    return f"{name}: {error}" if isinstance(error, DiffusionError) else name


def trace_of(error: BaseException) -> str:
    """An error and what caused it, the last first, each with the lines of code that it came by."""
    found: list[str] = []
    one: BaseException | None = error
    while one is not None and len(found) < CAUSES_MAX:
        way = "".join(traceback.format_tb(one.__traceback__))
        found.append(f"{sentence_of(one)}\n{way}".rstrip())
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\ncaused by ".join(found)


class Seldom:
    """Lets something be said once in so many seconds, also where the clock is set back. For one
    thread.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last_s: float | None = None

    def is_due(self, now_s: float) -> bool:
        """Whether it may be said now; the next time is counted from here."""
        if self._last_s is not None and 0 <= now_s - self._last_s < self._interval_s:
            return False
        self._last_s = now_s
        return True
