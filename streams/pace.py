"""The pace of bulk changes: fences, mass joins and mass leaves, which name many users at once.

A bucket that fills at `per_second` and holds a second's worth. Messages are not paced: what they
may cost is the policy's business. A batch that has to wait holds up what follows it in its worker,
so the order stays; other workers go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from infra.clock import monotonic_s


class Pace:
    """Lets so many users a second through. One thread; `take` blocks."""

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = monotonic_s,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._room = per_second
        self._at = clock()

    def take(self, users: int) -> None:
        """Wait until `users` may pass. More than a second's worth passes, and is then paid off."""
        now = self._clock()
        self._room = min(self._per_second, self._room + (now - self._at) * self._per_second)
        self._at = now
        self._room -= users
        if self._room < 0:
            self._sleep(-self._room / self._per_second)
