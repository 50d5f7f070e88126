"""How many of the last events could not be read: one bad record is put aside, a flood stops the
worker.

When most of what comes does not decode, it is not a record that is wrong but a version, a topic or
a setting. Putting all of it aside would empty the topic into its dead letters, out of order with
what is written meanwhile; stopping loses nothing, since nothing of the batch is committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from schemas.errors import PermanentError

WINDOW_EVENTS: Final = 1_000
"""The last so many events are looked at: more than one broken record, which may hold 500, fills by
half."""

EVENTS_MIN: Final = 50
"""Of fewer events no share is taken: one bad record in a quiet hour is one bad record."""


class TooManyDead(PermanentError):
    """Most of what comes cannot be read."""


class DeadShare:
    """Of one topic in one process. A worker that starts anew begins to count anew, and fewer than
    `EVENTS_MIN` pass at each start: so who is refused stops, and does not end to be started anew.
    """

    def __init__(self, topic: str, share_max: float, setting: str) -> None:
        self._topic = topic
        self._share_max = share_max
        self._setting = setting
        self._batches: deque[tuple[int, int]] = deque()
        self._events = 0
        self._dead = 0

    def add(self, good: int, reasons: Sequence[str]) -> None:
        """Count a batch before anything of it is done: the events that can be read, and why the
        others cannot. Raises `TooManyDead`.
        """
        self._batches.append((good + len(reasons), len(reasons)))
        self._events += good + len(reasons)
        self._dead += len(reasons)
        while self._events - self._batches[0][0] >= WINDOW_EVENTS:
            events, dead = self._batches.popleft()
            self._events -= events
            self._dead -= dead
        if reasons and self._events >= EVENTS_MIN and self._dead > self._share_max * self._events:
            raise TooManyDead(
                f"{self._dead:,} of the last {self._events:,} events of {self._topic} cannot be "
                f"read, the last because: {reasons[-1]}. Nothing of this batch is committed. Were "
                "they written by a newer version, install that here. Is a backend broken, mend it; "
                f"{self._setting}=1 then puts what it wrote aside as dead letters."
            )
