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
from infra.cassandra.session import Session
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
        """Heads of these conversations; those without one are left out."""
        now_s = self._monotonic_s()
        missing = [cid for cid in conversation_ids if self._is_missing(cid, now_s)]
        if missing:
            await self._fetch(missing, now_s)
        found = [await self._held[cid][1] for cid in conversation_ids if cid in self._held]
        return [head for head in found if head is not None]

    def _is_missing(self, conversation_id: str, now_s: float) -> bool:
        held = self._held.get(conversation_id)
        return held is None or now_s - held[0] > CACHE_AGE_S

    async def _fetch(self, missing: Sequence[str], now_s: float) -> None:
        if len(self._held) + len(missing) > CACHE_HEADS_MAX:
            self._held.clear()
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[Head | None]] = {
            cid: loop.create_future() for cid in missing
        }
        self._held.update({cid: (now_s, future) for cid, future in futures.items()})
        try:
            heads = await conversation_heads.read(self._session, missing)
        except BaseException as error:
            for cid, future in futures.items():
                self._held.pop(cid, None)
                if isinstance(error, Exception):
                    future.set_exception(error)
                    future.exception()  # the caller raises it too; whoever else waits gets it
                else:
                    future.cancel()
            raise
        for cid, future in futures.items():
            future.set_result(heads.get(cid))
