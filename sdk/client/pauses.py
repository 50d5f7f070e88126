"""When the server may be asked again, and when it is, without a reason. Pure.

Jitter and time come in. Times are of a clock that never jumps.
"""

from __future__ import annotations

from collections.abc import Callable

from sdk.client import limits
from sdk.client.backoff import pause_ms


class Pauses:
    """The pauses of one client between attempts."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0
        self._due_ms = 0
        self._held_until_ms = 0

    def failed(self, now_ms: int, asked_ms: int | None) -> None:
        """Wait: as long as the server asks, and a drawn time on top."""
        self._failures += 1
        drawn = pause_ms(
            self._failures,
            self._jitter(),
            base_ms=limits.RECONNECT_BASE_MS,
            max_ms=limits.RECONNECT_MAX_MS,
        )
        self._due_ms = now_ms + (asked_ms or 0) + drawn
        self._held_until_ms = now_ms + (asked_ms or 0)

    def succeeded(self) -> None:
        """Begin with short pauses again, the next time."""
        self._failures = self._due_ms = self._held_until_ms = 0

    def left_ms(self, now_ms: int) -> int:
        """How long to wait still."""
        return max(0, self._due_ms - now_ms)

    def held_ms(self, now_ms: int) -> int:
        """How much of it the server asked for: no call by the app makes that shorter."""
        return max(0, self._held_until_ms - now_ms)


class Looks:
    """When a client that follows asks without a reason: every `poll_ms`, less up to a tenth, so
    that devices which connected together do not ask together.
    """

    def __init__(self, poll_ms: int, jitter: Callable[[], float]) -> None:
        self._poll_ms = poll_ms
        self._jitter = jitter
        self._next_ms: int | None = None

    def looked(self, now_ms: int) -> None:
        """The server was asked."""
        self._next_ms = now_ms + self._poll_ms - int(self._poll_ms * 0.1 * self._jitter())

    def left_ms(self, now_ms: int) -> int | None:
        """How long to wait still; None before the first sync."""
        return None if self._next_ms is None else self._next_ms - now_ms
