"""The way back without a message: look now and then at conversations that are not plainly diffused.

A worker sweeps the buckets that belong to its partitions, so all are swept whichever workers live,
and none twice for long. What should switch is not switched here: a `Reconsider` goes to the
conversation's own partition, so that the decision stands in line with its writes, is made by
whoever owns it then, and is repeated by a replay. A `Reconsider` too many changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from infra import metrics
from infra.cassandra import conversation_heads, swept_conversations
from infra.cassandra.session import Session
from infra.cassandra.swept_conversations import BUCKETS
from infra.clock import Clock
from infra.kafka.delivery import Delivery
from schemas import topics
from schemas.codec import encode_event
from schemas.events import Reconsider
from schemas.heads import Head, Mode
from schemas.partitioner import partition_of
from streams.policy import Rules, switch

RETURNS_PER_SWEEP_MAX: Final = 200
"""Conversations reconsidered by one worker in one sweep; the others wait for the next. Their
fences are paced anyway, and what waits costs looks, not correctness."""


class Sweep:
    """Looks, decides whether it is worth a `Reconsider`, and writes it."""

    def __init__(
        self, session: Session, delivery: Delivery, rules: Rules, partitions: int, clock: Clock
    ) -> None:
        self._session = session
        self._delivery = delivery
        self._rules = rules
        self._partitions = partitions
        self._clock = clock
        self._turn = 0

    async def run(self, owned: Callable[[], Iterable[int]], interval_s: float) -> None:
        """Sweep for ever; raises what Cassandra and Kafka raise when they are away for long."""
        while True:
            await asyncio.sleep(interval_s)
            await self.once(set(owned()))

    async def once(self, owned: set[int]) -> int:
        """Sweep the buckets of these partitions; returns how many were to be reconsidered."""
        due: list[Head] = []
        seen: Counter[Mode] = Counter()
        for bucket in buckets(owned, self._partitions):
            heads = await self._heads(bucket)
            seen.update(head.mode for head in heads)
            due += [head for head in heads if self._is_due(head)]
        _tell(seen)
        # Not always from the front: what is stuck there must not keep the others waiting for ever.
        start = self._turn % len(due) if len(due) > RETURNS_PER_SWEEP_MAX else 0
        some = (due[start:] + due[:start])[:RETURNS_PER_SWEEP_MAX]
        self._turn = start + len(some)
        if some:
            await asyncio.to_thread(self._write, some)
            metrics.stream_reconsidered.inc(len(some))
        return len(some)

    async def _heads(self, bucket: int) -> list[Head]:
        swept = await swept_conversations.read(self._session, bucket)
        return list((await conversation_heads.read(self._session, swept)).values())

    def revoked(self) -> None:
        """Partitions were taken away: what is seen is told anew by the next sweep of whoever has
        them, and must not be told twice meanwhile.
        """
        _tell({})

    def _is_due(self, head: Head) -> bool:
        members = head.member_count
        return switch(head, members, self._rules, 0, self._clock()) is not None

    def _write(self, heads: list[Head]) -> None:
        topic = topics.CONVERSATION_WRITES.name
        for head in heads:
            conversation_id = head.conversation_id
            self._delivery.produce(
                topic,
                partition_of(conversation_id, self._partitions),
                encode_event(Reconsider(conversation_id)),
                conversation_id.encode(),
            )
        self._delivery.flush()


def buckets(owned: set[int], partitions: int) -> list[int]:
    """Buckets of the owner of these partitions: bucket b goes with partition b modulo `partitions`.

    With more partitions than buckets the owners of the partitions above have none, which is as
    good.
    """
    return [bucket for bucket in range(BUCKETS) if bucket % partitions in owned]


def _tell(seen: Mapping[Mode, int]) -> None:
    for mode in Mode:
        if mode is not Mode.WRITE:
            metrics.stream_swept_conversations.labels(mode.name.lower()).set(seen.get(mode, 0))
