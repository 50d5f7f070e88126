"""Carry out a plan: the reads it needs, in the order that makes them safe.

Readers go from the index to the state, writers from the state to the index; so whatever an entry
points at is at least as new as the entry. A full correction fixes its cursor before its first page.
"""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec.structs import replace

from infra.cassandra import (
    changes_by_user,
    conversation_heads,
    inbox,
    log_positions,
    module_changes_by_user,
    read_side_by_user,
    topic_epochs,
)
from infra.cassandra.session import PAGE_ROWS, Session, StoreUnavailable
from infra.cassandra.topic_epochs import Epoch
from infra.clock import Clock, monotonic_s
from infra.settings import Settings
from schemas.cursor import Cursor, PageToken, seal, user_digest
from schemas.partitioner import partition_of
from schemas.protocol import ResetReason, SyncRequest, SyncResponse
from schemas.topics import CHANGES
from schemas.versions import BEFORE_ALL, version_of
from syncapi import planner
from syncapi.heads import HeadCache
from syncapi.planner import Delta, Full, Ground, NextPage

EPOCH_AGE_S: Final = 5.0
"""How long the epoch of the log is believed. A row of a newer epoch makes it be read at once."""

MODULE_ROWS_MAX: Final = 2_000
"""Module items changed since a cursor; with more the modules are for the app to fetch anew."""


class SyncService:
    """Answers sync requests of authenticated users. For one event loop."""

    def __init__(self, settings: Settings, session: Session, key: bytes, clock: Clock) -> None:
        self._session = session
        self._key = key
        self._clock = clock
        self._retention_ms = settings.log.retention_ms
        self._rows_max = settings.api.rows_per_sync_max
        self._heads = HeadCache(session, monotonic_s)
        self._epoch: tuple[float, Epoch] | None = None
        self._reached: dict[tuple[int, int], int] = {}

    async def sync(self, user_id: str, request: SyncRequest) -> SyncResponse:
        """Answer one request. Raises `StoreUnavailable` when Cassandra does not answer."""
        ground = await self._ground(user_id)
        plan = planner.start(request, ground)
        if isinstance(plan, Delta):
            found = await self._delta(plan.cursor, request, ground)
            if isinstance(found, SyncResponse):
                return found
            plan = found
            if plan.reason is ResetReason.EPOCH_CHANGED:
                self._epoch = None
                ground = await self._ground(user_id)
        if isinstance(plan, NextPage):
            return await self._page(plan.token, None, request, ground)
        cursor = await self._fix_cursor(ground)
        return await self._page(PageToken(cursor, ""), plan.reason, request, ground)

    async def ready(self) -> None:
        """Raise unless the service can answer: Cassandra is there, and the log has an epoch."""
        self._epoch = None
        await self._current_epoch()

    async def _ground(self, user_id: str) -> Ground:
        epoch = await self._current_epoch()
        return Ground(
            user_id=user_id,
            key=self._key,
            epoch=epoch.epoch,
            window_ms=epoch.window_ms,
            now_ms=self._clock(),
            retention_ms=self._retention_ms,
        )

    async def _current_epoch(self) -> Epoch:
        now_s = monotonic_s()
        if self._epoch is None or now_s - self._epoch[0] > EPOCH_AGE_S:
            latest = await topic_epochs.alatest(self._session, CHANGES.name)
            if latest is None:
                raise StoreUnavailable("The change log has no epoch yet. Run `diffusion migrate`.")
            self._epoch = (now_s, latest)
        return self._epoch[1]

    # Delta.

    async def _delta(
        self, cursor: Cursor, request: SyncRequest, ground: Ground
    ) -> SyncResponse | Full:
        user_id, session = ground.user_id, self._session
        rows, modules, read_side = await asyncio.gather(
            changes_by_user.read_since(
                session,
                user_id,
                planner.scan_from_ms(cursor.window_ms, ground),
                self._rows_max + 1,
            ),
            module_changes_by_user.read_since(
                session,
                user_id,
                planner.scan_from_ms(cursor.modules_window_ms, ground),
                MODULE_ROWS_MAX + 1,
            ),
            read_side_by_user.read(session, user_id),
        )
        if planner.newest_epoch(rows) > ground.epoch:
            return Full(ResetReason.EPOCH_CHANGED)
        if len(rows) > self._rows_max or len(modules) > MODULE_ROWS_MAX:
            return Full(ResetReason.TOO_MANY)
        # Only one page of rows is one snapshot; what later pages add is delivered, and comes again.
        moved = planner.advance(cursor, rows[:PAGE_ROWS], modules[:PAGE_ROWS])
        if moved.version == cursor.version and await self._is_ahead(cursor, ground):
            return Full(ResetReason.AHEAD)
        collapsed = planner.collapse(rows, cursor.version)
        looked_at = await self._heads.read(read_side)
        news = planner.read_side_news(looked_at, cursor)
        named = len(collapsed.keys() | {head.conversation_id for head in news})
        if named > request.changes_max:
            return Full(ResetReason.TOO_MANY)
        own = [cid for cid, change in collapsed.items() if planner.needs_own(change)]
        states = [cid for cid in own if collapsed[cid].state_version]
        # Own state is read after the index that points at it, and its heads never from the cache.
        inbox_rows, heads = await asyncio.gather(
            inbox.read(session, user_id, [*own, *(head.conversation_id for head in news)]),
            conversation_heads.read(session, states),
        )
        return SyncResponse(
            path="delta",
            conversations=planner.entries(collapsed, inbox_rows, heads, news, moved.version),
            modules=planner.module_entries(modules, cursor.modules_version),
            cursor=seal(
                replace(
                    moved,
                    issued_at_ms=ground.now_ms,
                    heads_digest=planner.heads_digest(looked_at),
                ),
                self._key,
            ),
            server_time_ms=ground.now_ms,
        )

    async def _is_ahead(self, cursor: Cursor, ground: Ground) -> bool:
        """Whether a cursor is newer than anything that was ever applied: issued on other data.

        Positions are written before the rows they cover, so an honest cursor is never above them.
        """
        if cursor.version == BEFORE_ALL:
            return False
        epoch = await self._current_epoch()
        partition = partition_of(ground.user_id, epoch.partitions)
        place = (ground.epoch, partition)
        known = self._reached.get(place)
        if known is not None and cursor.version <= version_of(ground.epoch, known):
            return False
        reached = await log_positions.areached(self._session, *place)
        if reached is None:
            return True
        self._reached[place] = reached
        return cursor.version > version_of(ground.epoch, reached)

    # Full correction.

    async def _fix_cursor(self, ground: Ground) -> Cursor:
        """The newest version that is readable now; whatever comes later is left to the next
        delta.
        """
        rows, modules = await asyncio.gather(
            changes_by_user.read_since(self._session, ground.user_id, 0, PAGE_ROWS),
            module_changes_by_user.read_since(self._session, ground.user_id, 0, PAGE_ROWS),
        )
        nothing = Cursor(
            user_digest=user_digest(ground.user_id),
            epoch=ground.epoch,
            version=BEFORE_ALL,
            modules_version=BEFORE_ALL,
            window_ms=0,
            modules_window_ms=0,
            issued_at_ms=ground.now_ms,
        )
        return planner.advance(nothing, rows, modules)

    async def _page(
        self, token: PageToken, reset: ResetReason | None, request: SyncRequest, ground: Ground
    ) -> SyncResponse:
        found = await inbox.read_page(
            self._session, ground.user_id, token.after, request.page_max + 1
        )
        rows = found[: request.page_max]
        heads = await conversation_heads.read(
            self._session, [row.conversation_id for row in rows if row.own is not None]
        )
        more = len(found) > len(rows)
        following = PageToken(token.cursor, rows[-1].conversation_id) if more else None
        return SyncResponse(
            path="full",
            conversations=planner.page_entries(rows, heads, token.cursor.version),
            reset=reset,
            cursor=None if more else seal(token.cursor, self._key),
            page=None if following is None else seal(following, self._key),
            server_time_ms=ground.now_ms,
        )
