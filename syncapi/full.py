"""Full correction: the whole state in pages, restartable between any two of them.

The cursor is fixed before the first page is read, and travels in the page tokens; what happens
meanwhile is in the delta that follows. Nothing is kept here between two pages.
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from infra.cassandra import (
    changes_by_user,
    conversation_heads,
    inbox,
    read_side_by_user,
)
from infra.cassandra.session import PAGE_ROWS, Session
from schemas.cursor import Cursor, PageToken, seal, user_digest
from schemas.protocol import (
    ALL_MODULES,
    ConversationEntry,
    ModuleEntry,
    Reason,
    SyncRequest,
    SyncResponse,
)
from schemas.rows import InboxRow, ModuleRow
from schemas.versions import BEFORE_ALL
from syncapi import delta, modules, snapshot
from syncapi.heads import HeadCache
from syncapi.lists import pinned_digest, read_items, read_pinned
from syncapi.planner import Full, Ground
from syncapi.room import Room


class FullAnswers:
    """Makes the pages. For one event loop."""

    def __init__(self, session: Session, key: bytes, heads: HeadCache) -> None:
        self._session = session
        self._key = key
        self._heads = heads

    async def first_page(self, plan: Full, request: SyncRequest, ground: Ground) -> SyncResponse:
        """The first page: what tops the list, then as many others as fit. Everything, if it fits.

        The cursor is fixed first: the newest version that is readable now. Whatever comes later is
        left to the next delta.
        """
        session, user_id = self._session, ground.user_id
        rows = await changes_by_user.read_since(session, user_id, 0, PAGE_ROWS)
        # After the index: an empty set is believed until the index says that it may have changed.
        read_side = await read_side_by_user.read(session, user_id)
        looked_at = await self._heads.read(read_side)
        found, pinned, total = await asyncio.gather(
            inbox.read_page(session, user_id, "", request.page_max + 1),
            read_pinned(session, user_id),
            inbox.count(session, user_id),
        )
        room = Room(request.bytes_max)
        pinned = pinned if pinned is not None and room.ids(pinned) else None
        stand = delta.levelled(delta.advance(_start(ground, plan.modules), rows))
        cursor = replace(
            delta.with_crowd(stand, rows, ground),
            heads_digest=delta.sides_digest(read_side, looked_at),
            pinned_digest=b"" if pinned is None else pinned_digest(pinned),
        )
        trial = Room(room.bytes_left)
        count = snapshot.fitting(found, request.page_max, trial)
        room = trial if count == len(found) else room
        ahead: list[str] = []
        if count < len(found):
            ahead = snapshot.top(pinned or (), rows, looked_at, request.page_max)
            ahead = [cid for cid in ahead if room.entry(cid)]
            found = [row for row in found if row.conversation_id not in ahead]
            count = snapshot.fitting(found, request.page_max - len(ahead), room)
        page = found[:count]
        own = await inbox.read(session, user_id, ahead)
        entries = await self._page_entries([*own.values(), *page], cursor)
        items: tuple[ModuleEntry, ...] = ()
        resets: tuple[str, ...] = (ALL_MODULES,)
        if plan.modules is not None:
            changed = await read_items(session, plan.modules, ground)
            items, resets, cursor = _modules(
                plan.modules, cursor, changed, request.modules_max, room
            )
        more = count < len(found)
        after = page[-1].conversation_id if page else ""
        return SyncResponse(
            path="full",
            conversations=snapshot.newest_first(entries),
            reason=plan.reason,
            cursor=None if more else seal(cursor, self._key),
            page=seal(PageToken(cursor, after), self._key) if more else None,
            pinned=pinned,
            modules=items,
            module_resets=resets,
            total=total,
            server_time_ms=ground.now_ms,
        )

    async def next_page(
        self, token: PageToken, request: SyncRequest, ground: Ground
    ) -> SyncResponse:
        """Go on after the last conversation of the page before, in byte order of ids."""
        found = await inbox.read_page(
            self._session, ground.user_id, token.after, request.page_max + 1
        )
        count = snapshot.fitting(found, request.page_max, Room(request.bytes_max))
        page = found[:count]
        more = count < len(found)
        following = PageToken(token.cursor, page[-1].conversation_id) if more else None
        return SyncResponse(
            path="full",
            conversations=await self._page_entries(page, token.cursor),
            reason=Reason.PAGING,
            cursor=None if more else seal(token.cursor, self._key),
            page=None if following is None else seal(following, self._key),
            server_time_ms=ground.now_ms,
        )

    async def _page_entries(
        self, rows: list[InboxRow], cursor: Cursor
    ) -> tuple[ConversationEntry, ...]:
        known = [row.conversation_id for row in rows if row.own is not None]
        heads = await conversation_heads.read_messages(self._session, known)
        return snapshot.page_entries(rows, heads, cursor.version)


def _start(ground: Ground, modules: Cursor | None = None) -> Cursor:
    """Cursor of who has nothing, but for the module changes up to those of `modules`."""
    start = Cursor(
        user_digest=user_digest(ground.user_id),
        epoch=ground.epoch,
        version=BEFORE_ALL,
        modules_version=BEFORE_ALL,
        window_ms=0,
        modules_window_ms=0,
        issued_at_ms=ground.now_ms,
    )
    if modules is None:
        return start
    return replace(
        start,
        modules_version=modules.modules_version,
        modules_window_ms=modules.modules_window_ms,
        modules_to=modules.modules_to,
    )


def _modules(
    held: Cursor, cursor: Cursor, rows: list[ModuleRow], most: int, room: Room
) -> tuple[tuple[ModuleEntry, ...], tuple[str, ...], Cursor]:
    """Tell the modules' changes since the cursor that is `held`, too, up to where `cursor` is; what
    does not fit is left to the delta that follows.
    """
    to = cursor.modules_version
    rest = replace(delta.begin(replace(held, rest=None), (), b"", 0), modules_version=to)
    told = modules.page(held, rest, rows, most, room)
    if not told.rest.modules_below:
        return told.items, told.resets, replace(cursor, modules_to=0)
    left = replace(
        cursor,
        modules_version=held.modules_version,
        modules_window_ms=held.modules_window_ms,
        modules_to=to,
    )
    return told.items, told.resets, left
