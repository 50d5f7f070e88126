"""How many lines alike may be logged: so many in a window, then one that says how many were not.

While Kafka is away, its clients say so about a hundred times a second. The first lines tell all of
it; the rest fills disks. PURE: the time comes in as an argument.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

LINES_MAX: Final = 20
"""Lines alike in one window: enough to see what is the matter with each of several brokers."""

WINDOW_S: Final = 10.0
"""With `LINES_MAX`, two lines a second of each kind over a long outage, and 7 MB an hour at most
of ten kinds of a kilobyte of text; without, 100 a second were seen of one kind."""

KINDS_MAX: Final = 500
"""Kinds that are counted at once. With more, the oldest window ends early: what is said in ever new
words is not bounded by this, but neither is what it takes."""

TEMPLATE_CHARS_MAX: Final = 200
"""Of a text that tells kinds apart, and is told of what was left out."""

_NUMBER: Final = re.compile(r"\d+")


class Kind(NamedTuple):
    """What makes lines alike: who says it, how bad it is, and the text without its numbers."""

    logger: str
    level: int
    template: str


class LeftOut(NamedTuple):
    """Lines of a kind that were not logged."""

    kind: Kind
    lines: int


@dataclass(slots=True)
class _Window:
    began_s: float
    lines: int = 0


def kind_of(logger: str, level: int, message: object) -> Kind:
    """The kind of a line; `message` is what it was made of, before its arguments are put in.

    >>> kind_of("aiokafka", 40, "Unable connect to node 7 after 1.5 s").template
    'Unable connect to node # after #.# s'
    """
    text = message if isinstance(message, str) else type(message).__name__
    return Kind(logger, level, _NUMBER.sub("#", text[:TEMPLATE_CHARS_MAX]))


class Bound:
    """Counts lines by kind. For one thread at a time."""

    def __init__(
        self,
        lines_max: int = LINES_MAX,
        window_s: float = WINDOW_S,
        kinds_max: int = KINDS_MAX,
    ) -> None:
        self._lines_max = lines_max
        self._window_s = window_s
        self._kinds_max = kinds_max
        # In the order in which they began.
        self._windows: dict[Kind, _Window] = {}

    def admits(self, kind: Kind, now_s: float) -> bool:
        """Count a line, and say whether it may be logged. `over` is to be asked first."""
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(now_s)
        window.lines += 1
        return window.lines <= self._lines_max

    def over(self, now_s: float, *, all_of_them: bool = False) -> list[LeftOut]:
        """End the windows whose time is over, or all; what was left out in them."""
        found: list[LeftOut] = []
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            old = now_s - window.began_s >= self._window_s
            if not (old or all_of_them or len(self._windows) >= self._kinds_max):
                break
            del self._windows[kind]
            if window.lines > self._lines_max:
                found.append(LeftOut(kind, window.lines - self._lines_max))
        return found
