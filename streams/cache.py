"""The worker's memory of conversations: a bounded cache over Cassandra, dropped on every rebalance.

Nothing here is the truth: a conversation that is not in memory is read, and after a rebalance all
are, because another worker may have changed them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from infra.cassandra import conversation_heads, members_by_conversation
from infra.cassandra.session import Session
from infra.metrics import stream_cached_conversations
from schemas.events import ConversationEvent
from schemas.heads import Head
from streams.diffusion import Conversation, needs_members

READS_IN_FLIGHT: Final = 32
"""Member lists read at once."""


class ConversationCache:
    """Least recently used conversations, bounded by memberships held (one more a conversation)."""

    def __init__(self, session: Session, memberships_max: int) -> None:
        self._session = session
        self._memberships_max = memberships_max
        self._held: OrderedDict[str, Conversation] = OrderedDict()
        self._drops = 0

    def drop(self) -> None:
        """Forget everything; a batch under way keeps what it holds, and leaves nothing behind."""
        self._held.clear()
        self._drops += 1

    async def load(self, events: Mapping[str, list[ConversationEvent]]) -> dict[str, Conversation]:
        """Conversations of a batch, by id, each with its members if one of its events needs
        them.
        """
        drops = self._drops
        batch = {cid: self._held[cid] for cid in events if cid in self._held}
        missing = [cid for cid in events if cid not in batch]
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
        return batch

    async def _load_members(self, conversations: Mapping[str, Conversation]) -> None:
        slots = asyncio.Semaphore(READS_IN_FLIGHT)

        async def load(conversation: Conversation) -> None:
            async with slots:
                present, left = await members_by_conversation.read(
                    self._session, conversation.head.conversation_id
                )
                conversation.members, conversation.left = set(present), set(left)

        await asyncio.gather(*map(load, conversations.values()))
        if not conversations:
            return
        # Heads once more: they are written before members, so they are read after them. A worker
        # that was replaced without knowing may have switched the conversation in between; with its
        # members and the mode from before, nobody would be told of the next message.
        heads = await conversation_heads.read(self._session, list(conversations))
        for conversation_id, head in heads.items():
            conversations[conversation_id].head = head

    def trim(self) -> None:
        """Let go of the least recently used until the bound holds; between batches only."""
        held = sum(1 + len(c.members or ()) for c in self._held.values())
        while held > self._memberships_max and self._held:
            _, conversation = self._held.popitem(last=False)
            held -= 1 + len(conversation.members or ())
        stream_cached_conversations.set(len(self._held))
