"""How far a worker got with one topic: records behind, and commits that did not happen.

Faust takes an offset as committed also when the broker refused it. A partition that gets no further
record then never has its last records committed: nothing is lost (a crash repeats them, to the same
effect), but the group's lag stands, and whoever waits for it waits for ever. So where a partition
is quiet, what Faust believes to be committed is committed again. Never more than that: only Faust
knows whether a record below was not acknowledged yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from aiokafka.errors import IllegalStateError
from faust.types import TP

from streams.worker import SourceRecord


class Consumer(Protocol):
    """What is used of Faust's consumer."""

    @property
    def _committed_offset(self) -> Mapping[TP, int | None]:
        """Of each partition: what was committed when it came, or was asked to be since."""

    def assignment(self) -> set[TP]:
        """Partitions that are this worker's."""

    def highwater(self, tp: TP, /) -> int | None:
        """End of a partition, by the last fetch; None before the first."""

    async def position(self, tp: TP, /) -> int | None:
        """Offset of the next record to be taken. Raises `IllegalStateError` if it is another's."""

    async def _commit(self, offsets: Mapping[TP, int], /) -> bool:
        """Commit; False where the group refused it."""


class Progress:
    """Of one topic in one process; on the loop that does the work."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._done: dict[int, int] = {}
        self._stood: dict[int, int] = {}
        self._settled: dict[int, int] = {}

    def finished(self, records: Iterable[SourceRecord]) -> None:
        """All effects of these records are done, and they are acknowledged."""
        self._done.update((record.partition, record.offset + 1) for record in records)

    async def look(self, consumer: Consumer) -> int:
        """Records of the assigned partitions that are not done, by the ends that the last fetches
        told. Called again and again, it commits once more what stood since the last call.
        """
        behind = 0
        due: dict[TP, int] = {}
        for tp in [tp for tp in consumer.assignment() if tp.topic == self._topic]:
            try:
                position = await consumer.position(tp)
            except IllegalStateError:
                continue
            if tp not in consumer.assignment():
                continue  # taken away meanwhile
            done, committed = self._done.get(tp.partition), consumer._committed_offset.get(tp)
            # Others may have got further while they had it; and at first nothing was done.
            reached = max(done or 0, committed or 0) or position
            # Both are None until the first fetch.
            behind += max(0, (consumer.highwater(tp) or 0) - reached) if reached else 0
            if done is not None and done == committed == position and self._is_due(tp, done):
                due[tp] = done
        self._stood = dict(self._done)
        if due and await consumer._commit(due):
            # Where more was done meanwhile, and this came after the commit of that, it differs from
            # what is done, and is made again.
            self._settled.update({tp.partition: offset for tp, offset in due.items()})
        return behind

    def _is_due(self, tp: TP, done: int) -> bool:
        """Whether nothing was done since the last look, and that not committed by it."""
        return self._stood.get(tp.partition) == done != self._settled.get(tp.partition)
