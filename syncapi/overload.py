"""How many requests may be under way in this process: fewer while its event loop is late.

By Little's law a request waits as long as it takes to answer those under way: bounding them bounds
the wait, if requests cost what they usually do. Where they cost more (whole snapshots, a slow
machine), the loop turns late, and the bound shrinks in the proportion in which it is too late; in
time, it grows again step by step. Pure: lateness is measured and passed in.
"""

from __future__ import annotations

from typing import Final

BEAT_S: Final = 0.1
"""How often the lateness is looked at."""

LATE_S: Final = 0.25
"""The loop may be so late. A sync is some six turns of it, so it then takes 1.5 s: what a person
waits before an app seems stuck. A collection of garbage or one huge page is below it."""

LEAST: Final = 8
"""So many are always let in: what is slow is measured by working."""

GROWTH: Final = 0.05
"""Of the largest bound, added with each beat in time: from the least to the largest in 2 s, during
which those sent away return."""


class Overload:
    """How many requests are under way, and how many are allowed to be: `most`, or fewer."""

    def __init__(self, most: int) -> None:
        self.under_way = 0
        self.allowed = self._most = max(most, LEAST)
        self._exactly = float(self._most)

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return self.under_way >= self.allowed

    def beat(self, late_s: float) -> None:
        """The loop's timer came so late."""
        if late_s > LATE_S:
            self._exactly = max(LEAST, self._exactly * LATE_S / late_s)
        else:
            self._exactly = min(self._most, self._exactly + self._most * GROWTH)
        self.allowed = int(self._exactly)
