"""What a worker has not done yet, as metrics: records behind, and the age of the oldest change.

The age is worked out when it is looked at, so that it grows while a batch waits for Cassandra: a
worker that stands still is seen by it, where a number that was set at the end of each batch would
stand still too.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Gauge

from infra.clock import Clock

LAG_INTERVAL_S: Final = 1.0
"""How often records behind are counted."""


class Backlog:
    """Of one topic in one process. Looked at from any thread, told by the one that works."""

    def __init__(self, lag: Gauge, age: Gauge, clock: Clock) -> None:
        self._lag_gauge = lag
        self._clock = clock
        self._lag = 0
        self._taken_ms: int | None = None
        self._reached_ms: int | None = None
        age.set_function(self.age_s)

    def took(self, oldest_ms: int) -> None:
        """A batch was taken whose oldest record was appended then."""
        self._taken_ms = oldest_ms

    def done(self, newest_ms: int) -> None:
        """All of it is done; its newest record was appended then."""
        self._taken_ms = None
        self._reached_ms = newest_ms

    def left(self, records: int) -> None:
        """So many records of this worker's partitions are not done."""
        self._lag = records
        self._lag_gauge.set(records)

    def age_s(self) -> float:
        """Age of the oldest record that is not done, in seconds; 0 if there is none. Of records
        that were not taken yet only a bound is known: the newest that was done.
        """
        since_ms = self._taken_ms
        if since_ms is None and self._lag:
            since_ms = self._reached_ms
        return 0.0 if since_ms is None else max(0, self._clock() - since_ms) / 1_000
