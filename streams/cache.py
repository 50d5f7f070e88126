"""The worker's memory of conversations: a bounded cache over Cassandra, dropped on every rebalance.

Nothing here is the truth: a conversation that is not in memory is read, and after a rebalance all
are, because another worker may have changed them.

Two parts, each with its bound: what was used last as objects, ready for the next event; what went
out of use as bytes (`streams.packed`), a sixth of the size, because reading it again costs
Cassandra three reads.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from infra.cassandra import conversation_heads, members_by_conversation
from infra.cassandra.session import Session
from infra.metrics import stream_cached_conversations, stream_conversation_loads
from schemas.events import ConversationEvent
from schemas.heads import Head
from streams.diffusion import Conversation, needs_members
from streams.packed import pack, unpack
from streams.packed_store import PackedStore

READS_IN_FLIGHT: Final = 32
"""Long member lists read at once."""

MEMBERS_TOGETHER_MAX: Final = 50
"""Lists up to so long are read many at a time: a hundred of them are a page, as one long list may
be. One after the other, the lists of new chats were half of all that the worker did."""


class ConversationCache:
    """Least recently used conversations. `memberships_max` bounds those held as objects (one more a
    conversation), `packed_bytes_max` the others.
    """

    def __init__(self, session: Session, memberships_max: int, packed_bytes_max: int) -> None:
        self._session = session
        self._memberships_max = memberships_max
        self._held: OrderedDict[str, Conversation] = OrderedDict()
        self._weights: dict[str, int] = {}
        self._memberships = 0
        self._used: set[str] = set()
        self._packed = PackedStore(packed_bytes_max)
        self._drops = 0

    def drop(self) -> None:
        """Forget everything; a batch under way keeps what it holds, and leaves nothing behind."""
        self._held.clear()
        self._weights.clear()
        self._used.clear()
        self._packed.clear()
        self._memberships = 0
        self._drops += 1
        self._tell()

    async def load(self, events: Mapping[str, list[ConversationEvent]]) -> dict[str, Conversation]:
        """Conversations of a batch, by id, each with its members if one of its events needs
        them.
        """
        drops = self._drops
        batch = {cid: held for cid in events if (held := self._recall(cid)) is not None}
        missing = [cid for cid in events if cid not in batch]
        stream_conversation_loads.labels("memory").inc(len(batch))
        stream_conversation_loads.labels("store").inc(len(missing))
        if missing:
            heads = await conversation_heads.read(self._session, missing)
            for conversation_id in missing:
                head = heads.get(conversation_id, Head(conversation_id))
                batch[conversation_id] = Conversation(head, None)
        await self._load_members(
            {
                cid: conversation
                for cid, conversation in batch.items()
                if conversation.members is None
                and any(needs_members(event, conversation.head) for event in events[cid])
            }
        )
        if drops != self._drops:  # read before a rebalance: another worker may change it unseen
            return batch
        for conversation_id, conversation in batch.items():
            self._held[conversation_id] = conversation
            self._held.move_to_end(conversation_id)
        self._used.update(batch)
        return batch

    def _recall(self, conversation_id: str) -> Conversation | None:
        held = self._held.get(conversation_id)
        if held is None and (packed := self._packed.take(conversation_id)) is not None:
            held = unpack(conversation_id, packed)
            # At once: a load that fails or is overtaken must not lose it.
            self._held[conversation_id] = held
            self._used.add(conversation_id)
        return held

    async def _load_members(self, conversations: Mapping[str, Conversation]) -> None:
        if not conversations:
            return
        slots = asyncio.Semaphore(READS_IN_FLIGHT)

        async def load(conversation: Conversation) -> None:
            async with slots:
                conversation.members, conversation.left = await members_by_conversation.read(
                    self._session, conversation.head.conversation_id
                )

        async def load_short(short: Mapping[str, Conversation]) -> None:
            found = await members_by_conversation.read_many(self._session, list(short))
            for conversation_id, conversation in short.items():
                members = found.get(conversation_id, (set(), set()))
                conversation.members, conversation.left = members

        short, long = _by_length(conversations)
        await asyncio.gather(load_short(short), *map(load, long))
        # Heads once more: they are written before members, so they are read after them. A worker
        # that was replaced without knowing may have switched the conversation in between; with its
        # members and the mode from before, nobody would be told of the next message.
        heads = await conversation_heads.read(self._session, list(conversations))
        for conversation_id, head in heads.items():
            conversations[conversation_id].head = head

    def trim(self) -> None:
        """Pack, and let go of, the least recently used until both bounds hold; between batches
        only. Costs what was used since the last time, not what is held.
        """
        for conversation_id in self._used:
            weight = _weight(self._held[conversation_id])
            self._memberships += weight - self._weights.get(conversation_id, 0)
            self._weights[conversation_id] = weight
        self._used.clear()
        while self._memberships > self._memberships_max:
            conversation_id, conversation = self._held.popitem(last=False)
            self._memberships -= self._weights.pop(conversation_id)
            self._packed.put(conversation_id, pack(conversation))
        self._tell()

    def _tell(self) -> None:
        stream_cached_conversations.labels("objects").set(len(self._held))
        stream_cached_conversations.labels("packed").set(len(self._packed))


def _by_length(
    conversations: Mapping[str, Conversation],
) -> tuple[dict[str, Conversation], list[Conversation]]:
    """Those whose members are few, by id, and the others. The count may be behind: of a list that
    is longer, more pages are read.
    """
    short = {
        conversation_id: conversation
        for conversation_id, conversation in conversations.items()
        if conversation.head.member_count <= MEMBERS_TOGETHER_MAX
    }
    return short, [one for cid, one in conversations.items() if cid not in short]


def _weight(conversation: Conversation) -> int:
    return 1 + len(conversation.members or ()) + len(conversation.left)
