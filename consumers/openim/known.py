"""What a record of OpenIM's does not say: where a conversation stood, and who belongs to it.

`Seen` is what this tap saw itself: exact, but only since it has its partitions. `Engine` is asked
for the rest. The engine comes after the tap, so it is asked only once it has caught up with what
the tap has told: what it answers is then as of the record at hand, or later, if the tap is
repeating records.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final

from consumers.openim.mapping import Room
from infra.cassandra import conversation_heads, members_by_conversation
from infra.cassandra.session import Session
from infra.clock import monotonic_s
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from infra.settings import Settings
from schemas.errors import RetryableError
from schemas.topics import CONVERSATION_WRITES

CONVERSATIONS_SEEN_MAX: Final = 200_000
"""Conversations whose last sequence is remembered, about 200 bytes each. One that was let go is
asked for."""

SETTLE_TIMEOUT_S: Final = 120.0
"""How long the engine is waited for: less than Kafka waits for a consumer (five minutes)."""

POLL_S: Final = 0.1


class Seen:
    """The greatest sequence of each conversation used last."""

    def __init__(self, conversations_max: int = CONVERSATIONS_SEEN_MAX) -> None:
        self._conversations_max = conversations_max
        self._last: OrderedDict[str, int] = OrderedDict()

    def note(self, conversation_id: str, seq: int) -> None:
        """A message of this sequence went by."""
        self._last[conversation_id] = max(seq, self._last.get(conversation_id, 0))
        self._last.move_to_end(conversation_id)
        if len(self._last) > self._conversations_max:
            self._last.popitem(last=False)

    def last_seq(self, conversation_id: str) -> int | None:
        """The greatest of a conversation; None if none was seen, or it was let go."""
        return self._last.get(conversation_id)

    def forget(self) -> None:
        """Another tap had partitions meanwhile, and saw what came."""
        self._last.clear()


class NotSettled(RetryableError):
    """The stream workers do not get on."""


class Engine:
    """Cassandra, once the stream workers have caught up. Blocking."""

    def __init__(
        self, settings: Settings, session: Session, admin: Admin, delivery: Delivery
    ) -> None:
        self._group = settings.kafka.stream_group
        self._session = session
        self._admin = admin
        self._delivery = delivery
        self._settled: int | None = None

    def room(self, conversation_id: str) -> Room:
        """A conversation with all that was delivered before this call; raises `NotSettled`."""
        if self._settled != self._delivery.delivered:
            self._settle()
            self._settled = self._delivery.delivered
        return asyncio.run(self._read(conversation_id))

    def _settle(self) -> None:
        topic = CONVERSATION_WRITES.name
        ends = self._admin.end_offsets(topic)
        deadline = monotonic_s() + SETTLE_TIMEOUT_S
        while True:
            done = self._admin.committed_of(self._group, topic, ends)
            left = sum(max(0, end - done[partition]) for partition, end in ends.items())
            if not left:
                return
            if monotonic_s() > deadline:
                raise NotSettled(
                    "A notice does not say its place, and the stream workers did not process what "
                    f"came before it in {SETTLE_TIMEOUT_S:.0f} s: {left:,} records of {topic} wait."
                )
            time.sleep(POLL_S)

    async def _read(self, conversation_id: str) -> Room:
        heads = await conversation_heads.read_messages(self._session, [conversation_id])
        members, _ = await members_by_conversation.read(self._session, conversation_id)
        head = heads.get(conversation_id)
        return Room(head.max_seq if head else 0, members)
