"""What the next round is for, what may be done in it, and how much is asked at once. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sdk.client.errors import ClientError, ServerBusyError
from sdk.client.events import Trigger
from sdk.client.life import MAY_LOOK
from sdk.client.limits import PACE_MEMORY, PAGE_COST_ROWS, PAGE_LEAST, ROWS_BETWEEN_BREAKS
from sdk.client.ops import StoredState
from sdk.client.steps import Now, Options


@dataclass(slots=True)
class Want:
    """What the next round is for: everything that was asked since the last one began."""

    triggers: set[Trigger] = field(default_factory=set)
    full: bool = False
    verify: bool = False

    def joined(self, other: Want | None) -> Want:
        """Both together."""
        if other is None:
            return self
        triggers = self.triggers | other.triggers
        return Want(triggers, self.full or other.full, self.verify or other.verify)


def full_wait_ms(options: Options, stored: StoredState, now: Now) -> int:
    """How long no full correction may begin: 0, if the last is long ago, or the clock jumped."""
    if stored.full_at_ms is None:
        return 0
    passed = now.wall_ms - stored.full_at_ms
    return 0 if passed < 0 else max(0, options.full_every_ms - passed)


def is_look_due(options: Options, want: Want, stored: StoredState, now: Now) -> bool:
    """Whether this round compares all that is held with the server's, without being asked to."""
    every = options.verify_every_ms
    if every == 0 or not want.triggers & MAY_LOOK or stored.cursor is None:
        return False
    if stored.verified_at_ms is None:
        return True
    return not 0 <= now.wall_ms - stored.verified_at_ms < every


class Pace:
    """How large pages are. What is cut off in the middle of a page was for nothing, and each page
    costs what surrounds it; both together are least with pages of sqrt(2 * cost * between) rows,
    `between` being how many rows come between two breaks of the line, and `cost` what surrounds a
    page, in rows (J. W. Young, "A first order approximation to the optimum checkpoint interval",
    Communications of the ACM 17(9), 1974).

    How many come between two breaks is what was seen so far, rows by breaks. Each break makes what
    was seen before it count less, for lines change; in the beginning, it is as if as much as counts
    had been seen of a line that breaks every `ROWS_BETWEEN_BREAKS`.
    """

    def __init__(self, page_max: int) -> None:
        self._most = page_max
        self._breaks = 1 / (1 - PACE_MEMORY)
        self._rows = ROWS_BETWEEN_BREAKS * self._breaks

    @property
    def page_max(self) -> int:
        """Rows to ask for."""
        best = math.isqrt(int(2 * PAGE_COST_ROWS * self._rows / self._breaks))
        return min(self._most, max(PAGE_LEAST, best))

    def broke(self, *, busy: bool) -> None:
        """The line broke, in the middle of a page as far as one knows; or the server was busy."""
        if not busy:
            self._rows = PACE_MEMORY * (self._rows + self.page_max / 2)
            self._breaks = PACE_MEMORY * self._breaks + 1

    def came(self, rows: int) -> None:
        """An answer with so many rows is here. No more are remembered than the largest page needs,
        so that a line that was good for long and is not any more is soon taken for what it is.
        """
        enough = self._breaks * self._most**2 / (2 * PAGE_COST_ROWS)
        self._rows = max(self._rows, min(self._rows + rows, enough))


def asked_pause_ms(error: ClientError) -> int | None:
    """How long the server asked to wait; None if it did not."""
    if isinstance(error, ServerBusyError) and error.retry_after_seconds is not None:
        return int(error.retry_after_seconds * 1_000)
    return None
