"""Read-side heads, read once for many: a brief cache with one read under way per conversation.

Only for conversations that are not diffused. A delta of a diffused one never reads a head from
here, because a head that was cached before its index entry became readable is older than the entry
says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from infra.cassandra import conversation_heads
from infra.cassandra.session import Session, StoreUnavailable
from schemas.heads import Head

CACHE_AGE_S: Final = 1.0
"""A hot group's head is read once a second and instance; `READ_SIDE_MARGIN_MS` covers its age."""

CACHE_HEADS_MAX: Final = 50_000


class HeadCache:
    """Heads by conversation id, at most `CACHE_AGE_S` old. For one event loop."""

    def __init__(self, session: Session, monotonic_s: Callable[[], float]) -> None:
        self._session = session
        self._monotonic_s = monotonic_s
        self._held: dict[str, tuple[float, asyncio.Future[Head | None]]] = {}

    async def read(self, conversation_ids: Sequence[str]) -> list[Head]:
        """Heads of these conversations; those without one are left out.

        Raises what the read under way for any of them raises: an answer without a head that there
        is would lose its news.
        """
        now_s = self._monotonic_s()
        reads: dict[str, asyncio.Future[Head | None]] = {}
        for conversation_id in conversation_ids:
            held = self._held.get(conversation_id)
            if held is not None and now_s - held[0] <= CACHE_AGE_S:
                reads[conversation_id] = held[1]
        missing = [cid for cid in dict.fromkeys(conversation_ids) if cid not in reads]
        if missing:
            reads |= await self._fetch(missing, now_s)
        # Shielded: who goes away while he waits must not take the read from the others.
        found = [await asyncio.shield(reads[cid]) for cid in conversation_ids]
        return [head for head in found if head is not None]

    async def _fetch(
        self, missing: Sequence[str], now_s: float
    ) -> dict[str, asyncio.Future[Head | None]]:
        if len(self._held) + len(missing) > CACHE_HEADS_MAX:
            self._held.clear()
        loop = asyncio.get_running_loop()
        reads: dict[str, asyncio.Future[Head | None]] = {
            cid: loop.create_future() for cid in missing
        }
        self._held.update({cid: (now_s, read) for cid, read in reads.items()})
        try:
            heads = await conversation_heads.read(self._session, missing)
        except BaseException as error:
            told = (
                error
                if isinstance(error, Exception)
                else StoreUnavailable("The read that was shared ended early. Ask again.")
            )
            for cid, read in reads.items():
                self._held.pop(cid, None)
                read.set_exception(told)
                read.exception()  # the caller raises it too; whoever else waits gets it
            raise
        for cid, read in reads.items():
            read.set_result(heads.get(cid))
        return reads
