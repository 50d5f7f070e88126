"""What the next round is for, what may be done in it, and how much is asked at once. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdk.client.errors import ClientError, ServerBusyError
from sdk.client.events import Trigger
from sdk.client.life import MAY_LOOK
from sdk.client.limits import PAGE_LEAST
from sdk.client.ops import StoredState
from sdk.client.steps import Now, Options


@dataclass(slots=True)
class Want:
    """What the next round is for: everything that was asked since the last one began."""

    triggers: set[Trigger] = field(default_factory=set)
    full: bool = False
    verify: bool = False


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
    """How large pages are: half after a line broke, for what is cut off in the middle was for
    nothing; a quarter more after each that came, for a line that broke once breaks again.
    """

    def __init__(self, page_max: int) -> None:
        self._most = page_max
        self.page_max = page_max

    def broke(self, *, busy: bool) -> None:
        """Ask for less, unless the server only was busy."""
        if not busy:
            self.page_max = min(self._most, max(PAGE_LEAST, self.page_max // 2))

    def went_well(self) -> None:
        """Ask for more again."""
        self.page_max = min(self._most, self.page_max + max(1, self.page_max // 4))


def asked_pause_ms(error: ClientError) -> int | None:
    """How long the server asked to wait; None if it did not."""
    if isinstance(error, ServerBusyError) and error.retry_after_seconds is not None:
        return int(error.retry_after_seconds * 1_000)
    return None
