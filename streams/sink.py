"""Carry out the effects of a batch, in their order, each step only when the one before is done.

Crash points, for a batch whose source records are not acknowledged yet:
* before step 1 is acknowledged: nothing, or some heads, are newer than any index entry. A reader
  sees a newer head early; the replay writes the same again.
* between 1 and 2: heads are new, members are not told yet. The replay tells them: it diffuses what
  the event says, not what the head lacks.
* in the middle of 2: some members are told, and told again by the replay, at a newer version.
* between 2 and 3: `members` in Cassandra is what it was before the batch, so the replay finds the
  same members for each message as the first time, and misses nobody who left in between.
* between 3 and the acknowledgement: the replay may diffuse an old message to who joined after it,
  or leave out who left after it; the first is harmless, the second was told before.
Heads come before changes because readers join them: an index entry that is readable before its head
would let a full correction read the old head under the new cursor, and nobody would ever look
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from infra.cassandra import conversation_heads, members_by_conversation, swept_conversations
from infra.cassandra.grouping import batches
from infra.cassandra.session import Session, Statement
from infra.clock import Clock
from infra.kafka.delivery import Delivery
from schemas import dead_letters, topics
from schemas.changes import StateChange
from schemas.codec import encode_change
from schemas.dead_letters import DeadLetter
from schemas.heads import Head
from schemas.trace_context import Headers, headers_of_change
from streams.effects import Effects
from streams.pace import Pace

STATEMENTS_IN_FLIGHT: Final = 64

ROWS_PER_STATEMENT: Final = 50
"""Rows in one UNLOGGED batch, as in the materializer."""


class Sink:
    """Where effects go. One batch at a time."""

    def __init__(self, session: Session, delivery: Delivery, clock: Clock, pace: Pace) -> None:
        self._session = session
        self._delivery = delivery
        self._clock = clock
        self._pace = pace

    async def apply(self, effects: Effects, dead: Sequence[DeadLetter]) -> None:
        """Do everything; returns when Cassandra and Kafka have acknowledged all of it.

        Raises `RetryableError` when one of them was away too long, `PermanentError` when it
        refused.
        """
        await self._write(self._before(effects))
        if effects.changes or dead:
            await asyncio.to_thread(self._deliver, effects, dead)
        await self._write(self._after(effects))
        # A mode that is readable without the settled account would be charged with the old one's.
        await self._write([one for head in effects.closed.values() for one in self._mode(head)])

    async def _write(self, statements: list[Statement]) -> None:
        await self._session.awrite(statements, in_flight=STATEMENTS_IN_FLIGHT)

    def _before(self, effects: Effects) -> list[Statement]:
        session, now_ms = self._session, self._clock()
        heads = (
            (cid, [conversation_heads.message(session, cid, seq, active_at_ms, now_ms)])
            for cid, (seq, active_at_ms) in effects.messages.items()
        )
        statements = list(batches(session, heads, ROWS_PER_STATEMENT))
        for head in effects.opened:
            statements += self._mode(head)
        return statements

    def _mode(self, head: Head) -> list[Statement]:
        """A mode, and the note by which the sweep finds it."""
        return [
            conversation_heads.mode(self._session, head),
            swept_conversations.put(self._session, head),
        ]

    def _deliver(self, effects: Effects, dead: Sequence[DeadLetter]) -> None:
        changes = topics.CHANGES.name
        origins = effects.origins
        made: dict[int, Headers] = {}  # by their identity: changes of one record share them
        for number, (partition, change) in enumerate(effects.changes):
            if isinstance(change, StateChange) and len(change.users) > 1:
                self._pace.take(len(change.users))
            value = encode_change(change)
            if number in origins:
                found = origins[number]
                headers = made.get(id(found))
                if headers is None:
                    headers = made[id(found)] = headers_of_change(found)
                self._delivery.produce(changes, partition, value, headers=headers)
            else:
                self._delivery.produce(changes, partition, value)
        for one in dead:
            self._delivery.produce(topics.dead_letters(one.topic), 0, dead_letters.encode(one))
        self._delivery.flush()

    def _after(self, effects: Effects) -> list[Statement]:
        session = self._session
        members: dict[str, list[Statement]] = {}
        for (cid, user_id), (is_member, stamp) in effects.members.items():
            one = members_by_conversation.member(
                session, cid, user_id, is_member=is_member, stamp=stamp
            )
            members.setdefault(cid, []).append(one)
        heads: dict[str, list[Statement]] = {}
        for cid, (count, stamp) in effects.counts.items():
            one = conversation_heads.member_count(session, cid, count, stamp)
            heads.setdefault(cid, []).append(one)
        for cid, (value, stamp) in effects.overrides.items():
            one = conversation_heads.diffusion(session, cid, value, stamp)
            heads.setdefault(cid, []).append(one)
        for cid, activity in effects.activities.items():
            heads.setdefault(cid, []).append(conversation_heads.activity(session, cid, activity))
        return [
            *batches(session, _in_parts(members), ROWS_PER_STATEMENT),
            *batches(session, heads.items(), ROWS_PER_STATEMENT),
        ]


def _in_parts(by_key: dict[str, list[Statement]]) -> Iterator[tuple[str, list[Statement]]]:
    """Members of a conversation need not become readable together, and a mass join has thousands:
    no batch of Cassandra's may grow with them.
    """
    for key, found in by_key.items():
        for start in range(0, len(found), ROWS_PER_STATEMENT):
            yield key, found[start : start + ROWS_PER_STATEMENT]
