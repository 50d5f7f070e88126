"""The books of a producer: what was accepted, delivered, lost, and what a flush waits for. Pure.

Every accepted event belongs to a *generation*, which a flush closes. A flush waits for its own
generation and those before, so it ends although other threads go on sending. Not thread-safe: the
sender calls it under its lock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """Counters since the producer was made; events, unless the name says otherwise.

    `accepted = delivered + failed + outstanding`. `waiting_bytes` is what Kafka's client has not
    yet taken over; `last_error` is its newest complaint, which may be long over.
    """

    accepted: int
    delivered: int
    failed: int
    outstanding: int
    records: int
    waiting_bytes: int
    last_error: str | None


class Ledger:
    """Counts events from acceptance to their end."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.last_error: str | None = None
        self._accepted = 0
        self._delivered = 0
        self._failed = 0
        self._records = 0
        self._generation = 0
        self._outstanding: dict[int, int] = {}
        self._unreported = 0
        self._first_reason = ""

    @property
    def generation(self) -> int:
        """The open generation."""
        return self._generation

    def accept(self, size: int) -> int:
        """Count an accepted event of `size` waiting bytes; returns its generation."""
        self._accepted += 1
        self.waiting_bytes += size
        generation = self._generation
        self._outstanding[generation] = self._outstanding.get(generation, 0) + 1
        return generation

    def end(self, generation: int, events: int, reason: str | None) -> None:
        """Count the end of a record: delivered, or lost for a reason."""
        self._records += 1
        if reason is None:
            self._delivered += events
        else:
            self._first_reason = self._first_reason or reason
            self._failed += events
            self._unreported += events
            self.last_error = reason
        left = self._outstanding[generation] - events
        assert left >= 0, (generation, left)
        if left:
            self._outstanding[generation] = left
        else:
            del self._outstanding[generation]

    def close_generation(self) -> int:
        """Begin a new generation; returns the one that was open."""
        closed = self._generation
        self._generation += 1
        return closed

    def settled(self, generation: int) -> bool:
        """Say whether every event of `generation` and those before it came to its end."""
        # Few entries: one per flush whose events are still on their way.
        return all(open_generation > generation for open_generation in self._outstanding)

    def take_failures(self) -> tuple[int, str]:
        """Events lost since this was last asked, and why the first of them was."""
        taken = (self._unreported, self._first_reason)
        self._unreported, self._first_reason = 0, ""
        return taken

    def stats(self) -> ProducerStats:
        """Take a picture of the counters."""
        return ProducerStats(
            accepted=self._accepted,
            delivered=self._delivered,
            failed=self._failed,
            outstanding=sum(self._outstanding.values()),
            records=self._records,
            waiting_bytes=self.waiting_bytes,
            last_error=self.last_error,
        )
