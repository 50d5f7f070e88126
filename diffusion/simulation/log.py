"""Kafka as far as we rest on it: ordered partitions, and groups that give each to one member.

A record is stamped by the clock of its partition's leader, which may go back when another broker
leads. A commit counts only from the member that has the partition, and has had it since it took the
records: it names its generation. Who loses a partition is told, or finds out later: until then it
works on as if nothing had happened (a zombie).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

Place: TypeAlias = tuple[str, int]
"""A topic and a partition."""


class Record(NamedTuple):
    """A record, with the time at which the broker appended it."""

    value: bytes
    at_ms: int


class Topic:
    """An incarnation of a topic. `skew_ms` of each partition: its leader's clock against ours.
    `look` is shown each record.
    """

    def __init__(
        self, name: str, partitions: int, look: Callable[[bytes], None] | None = None
    ) -> None:
        self.name = name
        self._look = look
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.skew_ms = [0] * partitions
        self._came = asyncio.Event()

    @property
    def places(self) -> list[Place]:
        """All partitions."""
        return [(self.name, partition) for partition in range(len(self.records))]

    def append(self, partition: int, value: bytes, now_ms: int) -> None:
        """Take a record."""
        if self._look is not None:
            self._look(value)
        self.records[partition].append(Record(value, now_ms + self.skew_ms[partition]))
        self._came.set()
        self._came = asyncio.Event()

    async def more_within(self, seconds: float) -> None:
        """Wait for the next record, but no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came.wait()


class Group:
    """A consumer group over some topics."""

    def __init__(self) -> None:
        self.committed: dict[Place, int] = {}
        self.owners: dict[Place, str] = {}
        self.generation = 0
        self._since: dict[Place, int] = {}
        """In which generation a partition came to its owner."""

    def share(self, places: Iterable[Place], members: Sequence[str], first: int = 0) -> None:
        """Give each partition to a member, round robin from one of them."""
        before, self.generation = self.owners, self.generation + 1
        self.owners = {
            place: members[(number + first) % len(members)] for number, place in enumerate(places)
        }
        for place, owner in self.owners.items():
            if before.get(place) != owner:
                self._since[place] = self.generation

    def of(self, member: str) -> set[Place]:
        """The partitions of a member."""
        return {place for place, owner in self.owners.items() if owner == member}

    def commit(
        self, member: str, offsets: Mapping[Place, int], generation: int | None = None
    ) -> bool:
        """Take the offsets of partitions that are this member's, and were all the time since that
        generation (by default: now); whether all of them are.
        """
        asked = self.generation if generation is None else generation
        mine = {
            place: at
            for place, at in offsets.items()
            if self.owners.get(place) == member and self._since[place] <= asked
        }
        self.committed |= mine
        return len(mine) == len(offsets)

    def lag(self, topics: Iterable[Topic]) -> int:
        """Records that are not committed."""
        return sum(
            len(records) - self.committed.get((topic.name, partition), 0)
            for topic in topics
            for partition, records in enumerate(topic.records)
        )
