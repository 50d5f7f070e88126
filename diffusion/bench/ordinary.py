"""Ordinary incremental sync on the same store: what a server does on a reconnect that compares all.

OpenIM's open edition answers two questions about all conversations (`diffusion.baseline`): the
greatest sequence of each, and the read and greatest of each. Here both are answered from one read
of the user's inbox and one of all heads, with the driver and the tables of the engine, then written
as the protobuf messages that it sends, and compressed as it does.

The yardstick is short rather than long: that server reads for each of the two answers, and there
are six more requests and the messages' pulls, of which only the round trips are counted. There is
no transport either: times are those of reading, encoding and packing, in this process.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from diffusion import baseline
from diffusion.baseline import AnswerSizes
from diffusion.bench.measure import Times, repeated, times_of
from infra.cassandra import conversation_heads, inbox
from infra.cassandra.schema import open_session
from infra.settings import CassandraSettings
from schemas.conversations import ConversationState
from schemas.heads import Head
from schemas.rows import InboxRow

REPETITIONS_MAX: Final = 100
SECONDS_MAX: Final = 10.0
"""With 50,000 conversations one answer takes seconds; a few of them say enough."""


@dataclass(frozen=True, slots=True)
class OrdinaryCost:
    """What one reconnect costs the server, and the bytes of both answers."""

    times: Times
    sizes: AnswerSizes


class OrdinaryServer:
    """Answers as the yardstick does; close it, or use it as a context manager."""

    def __init__(self, settings: CassandraSettings) -> None:
        self._session = open_session(settings)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.close()
        self._session.close()

    def measure(self, user_id: str) -> OrdinaryCost:
        """Answer a user again and again."""
        states = self._runner.run(self._read(user_id))
        before_s = time.process_time()
        spent_ms = repeated(
            lambda: self._runner.run(self._answer(user_id)), REPETITIONS_MAX, SECONDS_MAX
        )
        cpu_ms = (time.process_time() - before_s) * 1_000
        return OrdinaryCost(times_of(spent_ms, cpu_ms), baseline.answer_sizes(user_id, states))

    async def _answer(self, user_id: str) -> tuple[bytes, bytes]:
        return packed(user_id, await self._read(user_id))

    async def _read(self, user_id: str) -> list[ConversationState]:
        rows = await inbox.read_all(self._session, user_id)
        heads = await conversation_heads.read_messages(
            self._session, [row.conversation_id for row in rows]
        )
        return states_of(rows, heads)


def states_of(rows: Iterable[InboxRow], heads: dict[str, Head]) -> list[ConversationState]:
    """What the two answers are made of; the others' own state is in neither."""
    return [
        ConversationState(row.conversation_id, head.max_seq, head.active_at_ms, row.read_seq)
        for row in rows
        if (head := heads.get(row.conversation_id)) is not None
    ]


def packed(user_id: str, states: list[ConversationState]) -> tuple[bytes, bytes]:
    """Both answers as they are sent."""
    answers = baseline.max_seq_answer(user_id, states), baseline.read_seq_answer(states)
    first, second = (gzip.compress(one, baseline.GZIP_LEVEL, mtime=0) for one in answers)
    return first, second
