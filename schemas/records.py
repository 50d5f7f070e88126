"""Events to records: one open record per (topic, partition), sealed when full or when due. Pure.

Takes the clock as an argument and starts nothing: the producer asks what is due. Records of a
partition are sealed in the order in which they were opened, and events stand in a record in the
order in which they were added, so the order per key is the order of the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.codec import join_events
from schemas.limits import EVENT_RECORD_BYTES_MAX, EVENTS_PER_RECORD_MAX
from schemas.trace_context import Collected, TraceContext

FRAME_BYTES: Final = 1
"""An array of n events is their bytes, n - 1 commas, two brackets: one more than `bytes_held`."""


def bytes_held(value: bytes) -> int:
    """Bytes that an event takes in a record: its own and a comma."""
    return len(value) + 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record goes."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """A sealed record. `bytes_held` is what its events were counted with while they waited."""

    place: Place
    key: bytes | None
    values: Sequence[bytes]
    generation: int
    bytes_held: int
    contexts: tuple[TraceContext, ...] = ()
    """Of what wrote it, where that has one."""

    def value(self) -> bytes:
        """Join the events to the bytes that are sent."""
        return join_events(self.values)


class _Open:
    """A record that still takes events."""

    __slots__ = ("bytes_held", "contexts", "due_at_s", "generation", "key", "values")

    def __init__(self, key: str, due_at_s: float, generation: int) -> None:
        self.key: str | None = key
        self.due_at_s = due_at_s
        self.generation = generation
        self.values: list[bytes] = []
        self.bytes_held = 0
        self.contexts: Collected | None = None

    def seal(self, place: Place) -> Record:
        key = None if self.key is None else self.key.encode()
        contexts = () if self.contexts is None else self.contexts.found()
        return Record(place, key, self.values, self.generation, self.bytes_held, contexts)


class Batcher:
    """The open records of a producer.

    `generation` marks records with the flush that waits for them: a flush seals everything, so that
    no record holds events from before and after it.
    """

    def __init__(
        self,
        *,
        linger_s: float,
        events_max: int = EVENTS_PER_RECORD_MAX,
        bytes_max: int = EVENT_RECORD_BYTES_MAX,
    ) -> None:
        assert linger_s >= 0, linger_s
        assert 1 <= events_max <= EVENTS_PER_RECORD_MAX, events_max
        assert FRAME_BYTES < bytes_max <= EVENT_RECORD_BYTES_MAX, bytes_max
        self._linger_s = linger_s
        self._events_max = events_max
        self._bytes_max = bytes_max
        # Insertion order is the order of due times, because the linger is the same for all.
        self._open: dict[Place, _Open] = {}

    def add(
        self,
        place: Place,
        key: str,
        value: bytes,
        *,
        generation: int,
        now_s: float,
        context: TraceContext | None = None,
    ) -> list[Record]:
        """Add an event; returns the records that this sealed, in order (none, one or two)."""
        sealed: list[Record] = []
        size = bytes_held(value)
        record = self._open.get(place)
        if record is not None and record.bytes_held + size + FRAME_BYTES > self._bytes_max:
            sealed.append(self._seal(place))
            record = None
        if record is None:
            record = self._open[place] = _Open(key, now_s + self._linger_s, generation)
        if record.key != key:
            record.key = None
        if context is not None:
            if record.contexts is None:
                record.contexts = Collected()
            record.contexts.add(context)
        record.values.append(value)
        record.bytes_held += size
        full = record.bytes_held + FRAME_BYTES >= self._bytes_max
        if full or len(record.values) >= self._events_max:
            sealed.append(self._seal(place))
        return sealed

    def due(self, now_s: float) -> list[Record]:
        """Seal the records that have waited for the linger."""
        places = []
        for place, record in self._open.items():
            if record.due_at_s > now_s:
                break
            places.append(place)
        return [self._seal(place) for place in places]

    def seal_all(self) -> list[Record]:
        """Seal every open record."""
        return [self._seal(place) for place in list(self._open)]

    def next_due_s(self) -> float | None:
        """Time at which the next record is due; None when none is open."""
        return next((record.due_at_s for record in self._open.values()), None)

    def _seal(self, place: Place) -> Record:
        return self._open.pop(place).seal(place)
