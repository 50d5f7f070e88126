"""How far a worker got with one topic: records behind, and commits that did not happen.

Faust takes an offset as committed also when the broker refused it, which it does while a group
rebalances. A partition that gets no further record then never has its last records committed:
nothing is lost (a crash repeats them, to the same effect), but the group's lag stands, and whoever
waits for it waits for ever. So where a partition is quiet, what was done last is committed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from faust.types import TP

from streams.worker import SourceRecord


class Consumer(Protocol):
    """What is used of Faust's consumer."""

    def assignment(self) -> set[TP]:
        """Partitions that are this worker's."""

    def highwater(self, tp: TP, /) -> int | None:
        """End of a partition, by the last fetch; None before the first."""

    async def position(self, tp: TP, /) -> int | None:
        """Offset of the next record to be taken."""

    async def _commit(self, offsets: Mapping[TP, int], /) -> bool:
        """Commit; False where the group refused it."""


class Progress:
    """Of one topic in one process; on the loop that does the work."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._done: dict[int, int] = {}
        self._stood: dict[int, int] = {}
        self._settled: dict[int, int] = {}
        self._unsure: set[int] = set()
        """Partitions of which it is not known since a rebalance whether others had them."""

    def finished(self, records: Iterable[SourceRecord]) -> None:
        """All effects of these records are done, and they are acknowledged."""
        self._done.update((record.partition, record.offset + 1) for record in records)

    def revoked(self) -> None:
        """Partitions were taken away, or will be given again at once: it is not told which. What
        was done of those that stay may be what the rebalance refused to commit, and is kept;
        whoever has the others meanwhile gets further.
        """
        self._unsure = set(self._done)
        self._stood.clear()
        self._settled.clear()

    async def look(self, consumer: Consumer) -> int:
        """Records of the assigned partitions that are not done, by the ends that the last fetches
        told. Called again and again, it commits once more what stood since the last call.
        """
        behind = 0
        due: dict[TP, int] = {}
        for tp in [tp for tp in consumer.assignment() if tp.topic == self._topic]:
            position = await consumer.position(tp)
            if tp.partition in self._unsure and position is not None:
                self._unsure.discard(tp.partition)
                if self._done.get(tp.partition) != position:
                    self._done.pop(tp.partition, None)
            done = self._done.get(tp.partition)
            reached = position if done is None else done
            # Both are None until the first fetch.
            behind += max(0, (consumer.highwater(tp) or 0) - (reached or 0)) if reached else 0
            if done is not None and done == position and self._is_due(tp.partition, done):
                due[tp] = done
        self._stood = dict(self._done)
        if due and await consumer._commit(due):
            # Where more was done meanwhile, and this came after the commit of that, it differs from
            # what is done, and is made again.
            self._settled.update({tp.partition: offset for tp, offset in due.items()})
        return behind

    def _is_due(self, partition: int, done: int) -> bool:
        """Whether nothing was done since the last look, and that not committed by it. Only of what
        was taken to its end: a batch from before a rebalance may end below what is committed.
        """
        return self._stood.get(partition) == done != self._settled.get(partition)
