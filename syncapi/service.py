"""Carry out a plan: the reads it needs, in the order that makes them safe.

Readers go from the index to the state, writers from the state to the index; so whatever an entry
points at is at least as new as the entry. A full correction fixes its cursor before its first page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from infra.cassandra import (
    changes_by_user,
    conversation_heads,
    inbox,
    log_positions,
    read_side_by_user,
    topic_epochs,
)
from infra.cassandra.session import PAGE_ROWS, Session, StoreUnavailable
from infra.cassandra.topic_epochs import Epoch
from infra.clock import Clock, monotonic_s
from infra.settings import Settings
from schemas import digests
from schemas.cursor import Cursor, seal
from schemas.heads import Head
from schemas.partitioner import partition_of
from schemas.protocol import ConversationEntry, Reason, SyncRequest, SyncResponse
from schemas.rows import ChangeRow, ModuleRow
from schemas.topics import CHANGES
from schemas.versions import BEFORE_ALL, epoch_of, offset_of, version_of
from syncapi import correction, delta, modules, planner, snapshot
from syncapi.devices import DeviceNotes
from syncapi.full import FullAnswers
from syncapi.heads import HeadCache
from syncapi.lists import pinned_digest, read_items, read_pinned
from syncapi.planner import Correct, Delta, Full, Ground, NextPage
from syncapi.room import Room
from syncapi.states import Place, StateCache

EPOCH_AGE_S: Final = 5.0
"""How long the epoch of the log is believed. A row of a newer epoch makes it be read at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of the index: rows of both tables, and the heads of the read side.

    `snapshot` are those of the rows up to whose versions all is known; `filtered`, whether rows
    without a newer change were left out.
    """

    rows: list[ChangeRow]
    snapshot: list[ChangeRow]
    filtered: bool
    modules: list[ModuleRow]
    heads: list[Head]
    heads_digest: bytes


class SyncService:
    """Answers sync requests of authenticated users. For one event loop."""

    def __init__(
        self,
        settings: Settings,
        session: Session,
        key: bytes,
        clock: Clock,
        steady_s: Callable[[], float] = monotonic_s,
    ) -> None:
        self._session = session
        self._steady_s = steady_s
        self._key = key
        self._clock = clock
        self._retention_ms = settings.log.retention_ms
        self._rows_max = settings.api.rows_per_sync_max
        self._changes_max = settings.api.changes_per_delta_max
        self._heads = HeadCache(session, steady_s)
        self._states = StateCache(session, steady_s)
        self._full = FullAnswers(session, key, self._heads)
        self._devices = DeviceNotes(session, clock, settings.api.device_ttl_s)
        self._epoch: tuple[float, Epoch] | None = None
        self._reached: dict[tuple[int, int], int] = {}

    async def sync(self, user_id: str, request: SyncRequest) -> SyncResponse:
        """Answer one request.

        Raises `RefusedTokenError` for a token that is not this user's, and `StoreUnavailable` when
        Cassandra does not answer.
        """
        ground = await self._ground(user_id)
        plan = planner.start(request, ground)
        if isinstance(plan, Full) and plan.reason is Reason.EPOCH_CHANGED:
            # The token may be of an epoch that another instance knows already.
            self._epoch = None
            ground = await self._ground(user_id)
            plan = planner.start(request, ground)
        if isinstance(plan, Delta | Correct):
            self._devices.note(user_id, request.device_id, plan.cursor)
            found = await self._continue(plan, request, ground)
            if isinstance(found, SyncResponse):
                return found
            plan = found
            if plan.reason is Reason.EPOCH_CHANGED:
                self._epoch = None
                ground = await self._ground(user_id)
        if isinstance(plan, NextPage):
            return await self._full.next_page(plan.token, request, ground)
        return await self._full.first_page(plan, request, ground)

    def places(self, user_id: str, versions: Sequence[int]) -> list[str]:
        """Where in the present change log these changes of a user are, as `partition/offset`."""
        if self._epoch is None:
            return []
        epoch = self._epoch[1]
        partition = partition_of(user_id, epoch.partitions)
        present = [version for version in versions if epoch_of(version) == epoch.epoch]
        return [f"{partition}/{offset_of(version)}" for version in present]

    async def ready(self) -> None:
        """Raise unless the service can answer: Cassandra is there, and the log has an epoch."""
        self._epoch = None
        await self._current_epoch()

    async def drain(self) -> None:
        """Finish what is done behind the answers."""
        await self._devices.drain()

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
        now_s = self._steady_s()
        if self._epoch is None or now_s - self._epoch[0] > EPOCH_AGE_S:
            latest = await topic_epochs.alatest(self._session, CHANGES.name)
            if latest is None:
                raise StoreUnavailable("The change log has no epoch yet. Run `diffusion migrate`.")
            self._epoch = (now_s, latest)
        return self._epoch[1]

    # With a cursor.

    async def _continue(
        self, plan: Delta | Correct, request: SyncRequest, ground: Ground
    ) -> SyncResponse | Full:
        """Answer from the index; or say why that cannot be."""
        cursor = plan.cursor
        found = await self._read_index(cursor, ground)
        reset = await self._reset(cursor, found, ground)
        if reset is not None:
            return reset
        if isinstance(plan, Correct):
            return await self._correct(plan, found, request, ground)
        rest = cursor.rest or delta.begin(cursor, found.snapshot, found.heads_digest, ground.now_ms)
        changes = delta.collapse(found.rows, cursor.version, rest.version)
        if cursor.rest is None and len(changes) > self._changes_max:
            return Full(Reason.TOO_MANY, cursor)
        return await self._delta(plan, request, found, delta.Todo(cursor, rest, changes), ground)

    async def _reset(self, cursor: Cursor, found: Found, ground: Ground) -> Full | None:
        newest = delta.newest_version(found.rows)
        if epoch_of(newest) > ground.epoch:
            return Full(Reason.EPOCH_CHANGED)
        if len(found.rows) > self._rows_max:
            return Full(Reason.TOO_MANY, cursor)
        if newest <= cursor.version and await self._is_ahead(cursor, ground):
            return Full(Reason.AHEAD)
        return None

    async def _delta(
        self, plan: Delta, request: SyncRequest, found: Found, todo: delta.Todo, ground: Ground
    ) -> SyncResponse:
        cursor, room = plan.cursor, Room(request.bytes_max)
        page = delta.page(todo, found.heads, request.changes_max, room)
        entries, pinned = await self._entries(page, ground)
        items = modules.page(cursor, page.rest, found.modules, request.modules_max, room)
        digest = cursor.pinned_digest
        if pinned is not None:
            changed = pinned_digest(pinned)
            pinned = pinned if changed != digest and room.ids(pinned) else None
            digest = changed if pinned is not None else digest
        moved = delta.follow(cursor, items.rest, digest)
        if not found.filtered:
            moved = delta.with_crowd(moved, found.rows, ground)
        elif moved.window_ms != cursor.window_ms:
            moved = replace(moved, crowded=False)
        more = moved.rest is not None or _has_moved_on(cursor, moved, found)
        keep = delta.is_as_good(cursor, moved, ground.retention_ms)
        answer = SyncResponse(
            path="delta",
            conversations=entries,
            modules=items.items,
            reason=Reason.PAGING if more else None,
            cursor=None if keep else seal(moved, self._key),
            has_more=more,
            pinned=pinned,
            module_resets=items.resets,
            server_time_ms=ground.now_ms,
        )
        if plan.root is None or more:
            return answer
        place = Place(ground.user_id, moved.version, found.heads_digest)
        return await self._compare(answer, plan.root, place, found.heads, room)

    async def _read_index(self, cursor: Cursor, ground: Ground) -> Found:
        """Read the index, and the lists that it says may have changed. Nothing new: one read."""
        user_id, session = ground.user_id, self._session
        rows, seen, filtered = await self._read_changes(cursor, ground)
        # After the index: an empty set is believed until the index says that it may have changed.
        read_side: list[str] = []
        if delta.may_have_moved_sides(cursor, rows):
            read_side = await read_side_by_user.read(session, user_id)
        items: list[ModuleRow] = []
        if delta.may_have_items(cursor, rows):
            items = await read_items(session, cursor, ground)
        heads = await self._heads.read(read_side) if read_side else []
        return Found(rows, seen, filtered, items, heads, delta.sides_digest(read_side, heads))

    async def _read_changes(
        self, cursor: Cursor, ground: Ground
    ) -> tuple[list[ChangeRow], list[ChangeRow], bool]:
        """Rows of the index; those that are a snapshot; and whether they were filtered.

        Only one page of rows is one snapshot; what later pages add comes with the next delta.
        Filtered, they are three reads. What the first round shows is a snapshot for the second:
        once a version is readable, so is every smaller one, or what superseded it.
        """
        user_id, session, most = ground.user_id, self._session, self._rows_max + 1
        since_ms = delta.scan_from_ms(cursor.window_ms, ground)
        if not cursor.crowded:
            rows = await changes_by_user.read_since(session, user_id, since_ms, most)
            if len(rows) < most:
                return rows, rows[:PAGE_ROWS], False
        newer = (session, user_id, since_ms, cursor.version, most)
        seen = await changes_by_user.read_newer(*newer)
        if not 0 < len(seen) <= self._rows_max:
            return seen, seen, True
        return await changes_by_user.read_newer(*newer), seen, True

    async def _entries(
        self, page: delta.Page, ground: Ground
    ) -> tuple[tuple[ConversationEntry, ...], tuple[str, ...] | None]:
        """Entries of a page, and the list of pinned conversations if it may have changed."""
        session, user_id = self._session, ground.user_id
        own = [cid for cid, change in page.changes.items() if delta.needs_own(change)]
        if not own and not page.news:
            # Messages alone are told from the index.
            return delta.entries(page.changes, {}, {}, (), page.rest.version), None
        states = [cid for cid in own if page.changes[cid].state_version]
        news = [head.conversation_id for head in page.news]
        # Own state is read after the index that points at it, and its heads never from the cache.
        rows, heads, pinned = await asyncio.gather(
            inbox.read(session, user_id, list(dict.fromkeys([*own, *news]))),
            conversation_heads.read_messages(session, states),
            read_pinned(session, user_id) if states else _nothing(),
        )
        return delta.entries(page.changes, rows, heads, page.news, page.rest.version), pinned

    async def _is_ahead(self, cursor: Cursor, ground: Ground) -> bool:
        """Whether a cursor is newer than anything that was ever applied: issued on other data.

        Positions are written before the rows they cover, so an honest cursor is never above them.
        """
        version = max(cursor.version, cursor.modules_version)
        # In a partition of a new log without a record, what is newest is of the log before.
        if version == BEFORE_ALL or epoch_of(version) < ground.epoch:
            return False
        epoch = await self._current_epoch()
        partition = partition_of(ground.user_id, epoch.partitions)
        place = (ground.epoch, partition)
        known = self._reached.get(place)
        if known is not None and version <= version_of(ground.epoch, known):
            return False
        reached = await log_positions.areached(self._session, *place)
        if reached is None:
            return True
        self._reached[place] = reached
        return version > version_of(ground.epoch, reached)

    # Snapshot correction.

    async def _compare(
        self, answer: SyncResponse, root: bytes, place: Place, heads: Sequence[Head], room: Room
    ) -> SyncResponse:
        """Add the root of the state; if nothing changed and the roots differ, begin to correct."""
        own = await self._states.root(place, root, heads)
        news = answer.conversations or answer.modules or answer.module_resets
        if root == own or news or answer.pinned is not None:
            return replace(answer, root=own)
        rows, _ = await self._states.rows(place, heads)
        return replace(
            answer,
            path="correction",
            reason=Reason.DIGEST_MISMATCH,
            root=digests.root_of(rows),
            parts=(correction.whole(rows, room),),
        )

    async def _correct(
        self, plan: Correct, found: Found, request: SyncRequest, ground: Ground
    ) -> SyncResponse:
        newest = delta.advance(plan.cursor, found.snapshot)
        place = Place(ground.user_id, newest.version, found.heads_digest)
        rows, kept = await self._states.rows(place, found.heads)
        room = Room(request.bytes_max)
        # In a thread, because a sketch of many rows takes a tenth of a second to be read.
        differing = await asyncio.to_thread(correction.compare, plan.correction, rows, room)
        if kept and differing.gone:
            # Nothing is dropped by what was read before somebody asked.
            rows, _ = await self._states.rows(place, found.heads, now=True)
            room = Room(request.bytes_max)
            differing = await asyncio.to_thread(correction.compare, plan.correction, rows, room)
        session, wanted = self._session, differing.conversation_ids
        own, heads = await asyncio.gather(
            inbox.read(session, ground.user_id, wanted),
            conversation_heads.read_messages(session, wanted),
        )
        entries = snapshot.page_entries(own.values(), heads, newest.version)
        return SyncResponse(
            path="correction",
            conversations=snapshot.newest_first(entries),
            reason=Reason.DIGEST_MISMATCH,
            has_more=differing.has_more,
            root=correction.root_after(rows, entries),
            parts=differing.parts,
            gone=differing.gone,
            undecoded=differing.undecoded,
            server_time_ms=ground.now_ms,
        )


def _has_moved_on(cursor: Cursor, moved: Cursor, found: Found) -> bool:
    """Whether something is newer than a delta that ends here, and was begun by an earlier request:
    perhaps days ago, by a device that comes back in the middle of it, and wants to be current.
    """
    if cursor.rest is None:
        return False
    newest = delta.newest_version(found.rows)
    return newest > moved.version or found.heads_digest != moved.heads_digest


async def _nothing() -> None:
    """Stand for a read that is not needed."""
