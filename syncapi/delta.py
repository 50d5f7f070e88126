"""What a delta says: changes since a cursor, newest first, in pages. PURE.

Index rows and read-side heads are collapsed to one entry a conversation. A page tells the newest
that was not told; what is left is written into the cursor (`schemas.cursor.Rest`): the versions up
to which the delta leads, and the place below which nothing was told. So every cursor is safe to
store: from it, whatever is missing is found, by its version and not by a count.

A conversation that changes again while a delta is paged gets a version above the one the delta
leads to. It may then have left the pages (its cells were overwritten), and is found by the delta
that follows; or come with them, and come again.

One thing escapes this: a message repeated at a newer version by a worker that was replaced, whose
row a replay of the materializer sets back to the first version, and another one forth, while a
device is between two pages with its place between the versions. The digest of the whole state finds
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from schemas.cursor import Cursor, Rest
from schemas.heads import Head
from schemas.limits import SEQ_MAX, TIME_MS_MAX
from schemas.protocol import ConversationEntry
from schemas.rows import MODULES_MARK, ChangeRow, InboxRow
from schemas.versions import BEFORE_ALL, window_start
from syncapi.planner import Ground
from syncapi.room import Room
from syncapi.snapshot import visible

HEADS_DIGEST_BYTES: Final = 8
"""2^64: a digest that is equal by chance hides news once in as many changes, until the next one."""

NO_HEADS: Final = b"\0"
"""Stands for a read-side set without a head."""

CURSOR_KEPT_MS: Final = 3_600_000
"""A cursor that stands still is renewed after an hour, so that a device may then stay away for
nearly as long as changes are kept. Until then an answer without news is not longer for it."""

CROWDED_ROWS: Final = 200
"""Rows of the index, read again with every sync because they are in the cursor's window, from which
on Cassandra is asked to leave out the older ones: decoding so many takes as long as three reads."""

ABOVE_ALL: Final = SEQ_MAX
"""`below` of a delta of which nothing was told: no version is as great."""

CLOCK_SKEW_MS: Final = 60_000
"""Brokers' clocks may differ by so much: append times of one partition may go back by it when its
leader moves."""

READ_SIDE_MARGIN_MS: Final = 240_000
"""A head is news if it was written later than this before the cursor was issued. A worker stamps a
head and may then try for two minutes to write it; a minute of clock skew, and the age of the head
cache, come on top."""


def scan_from_ms(window_ms: int, ground: Ground) -> int:
    """First window to read, inclusive: the one that holds what a clock behind by `CLOCK_SKEW_MS`
    says at the start of the cursor's window.

    A window has the time of its start, so the skew is taken off first and the start looked for
    then. There is no other bound: a row lives from when it was written, and a materializer that
    lagged writes rows into windows long past. Before the cursor's window there is nothing new.
    """
    return window_start(max(0, window_ms - CLOCK_SKEW_MS), ground.window_ms)


@dataclass(slots=True)
class Collapsed:
    """What changed in one conversation since a cursor. Version 0: nothing of that kind."""

    max_seq: int = 0
    active_at_ms: int = 0
    message_version: int = 0
    read_seq: int = 0
    read_version: int = 0
    state_version: int = 0

    @property
    def version(self) -> int:
        """The newest change."""
        return max(self.message_version, self.read_version, self.state_version)


def collapse(rows: Iterable[ChangeRow], since: int, until: int = ABOVE_ALL) -> dict[str, Collapsed]:
    """One entry a conversation for all changes newer than `since` (exclusive), up to `until`
    (inclusive).

    What is newer than `until` is left to the delta that begins there.
    """
    found: dict[str, Collapsed] = {}
    for row in rows:
        if row.conversation_id == MODULES_MARK:
            continue
        message, read, state = (
            since < row.message_version <= until,
            since < row.read_version <= until,
            since < row.state_version <= until,
        )
        if not (message or read or state):
            continue
        entry = found.setdefault(row.conversation_id, Collapsed())
        if message:
            entry.message_version = max(entry.message_version, row.message_version)
            if row.max_seq >= entry.max_seq:
                entry.max_seq, entry.active_at_ms = row.max_seq, row.active_at_ms
        if read:
            entry.read_version = max(entry.read_version, row.read_version)
            entry.read_seq = max(entry.read_seq, row.read_seq)
        if state:
            entry.state_version = max(entry.state_version, row.state_version)
    return found


def needs_own(change: Collapsed) -> bool:
    """Whether the inbox row must be read: for the state it holds, or, under a bare read marker, for
    whether the user belongs at all. A message is told to members only, and needs none.
    """
    return bool(change.state_version) or not change.message_version


def begin(cursor: Cursor, rows: Iterable[ChangeRow], heads_digest: bytes, now_ms: int) -> Rest:
    """Fix where the delta after `cursor` leads, from what one snapshot read of the index returned;
    nothing of it is told yet.
    """
    to = levelled(advance(cursor, rows))
    return Rest(
        version=to.version,
        window_ms=to.window_ms,
        below=ABOVE_ALL,
        modules_version=to.modules_version,
        modules_window_ms=to.modules_window_ms,
        modules_below=ABOVE_ALL,
        modules_max=0,
        heads_below_ms=TIME_MS_MAX,
        heads_below_id="",
        issued_at_ms=now_ms,
        heads_digest=heads_digest,
    )


def advance(cursor: Cursor, rows: Iterable[ChangeRow]) -> Cursor:
    """Move a cursor over what one snapshot read of the index returned.

    The line of the modules moves by the marks in it, not by the module rows, which become readable
    in no order, but all before the mark.
    """
    version, window_ms = cursor.version, cursor.window_ms
    modules_version, modules_window_ms = cursor.modules_version, cursor.modules_window_ms
    for row in rows:
        newest = row.version
        if newest > version:
            version, window_ms = newest, row.window_ms
        if row.conversation_id == MODULES_MARK and newest > modules_version:
            modules_version, modules_window_ms = newest, row.window_ms
    return replace(
        cursor,
        version=version,
        window_ms=window_ms,
        modules_version=modules_version,
        modules_window_ms=modules_window_ms,
    )


def levelled(cursor: Cursor) -> Cursor:
    """Take the line of the modules as far as that of the index.

    The modules are read after the index, and all of them stands behind what it shows: also if a
    mark on the way is not in the snapshot.
    """
    to = max(cursor.version, cursor.modules_version, cursor.modules_to)
    if to == cursor.modules_version:
        return cursor
    return replace(cursor, modules_version=to, modules_window_ms=cursor.window_ms)


def may_have_moved_sides(cursor: Cursor, rows: Iterable[ChangeRow]) -> bool:
    """Whether the read-side set must be read: it has heads, or may have got some since the cursor,
    which takes a change of the user's own state.
    """
    return bool(cursor.heads_digest) or any(
        row.state_version > cursor.version and row.conversation_id != MODULES_MARK for row in rows
    )


def may_have_items(cursor: Cursor, rows: Iterable[ChangeRow]) -> bool:
    """Whether module rows must be read: the index has a newer mark, or some were left behind."""
    behind = cursor.modules_to or (cursor.rest is not None and cursor.rest.modules_below)
    return bool(behind) or any(
        row.conversation_id == MODULES_MARK and row.version > cursor.modules_version for row in rows
    )


def follow(cursor: Cursor, rest: Rest, pinned_digest: bytes) -> Cursor:
    """Cursor after a page, `rest` being what it left."""
    if not is_complete(rest):
        return replace(cursor, pinned_digest=pinned_digest, rest=rest)
    return replace(
        cursor,
        version=rest.version,
        window_ms=rest.window_ms,
        modules_version=rest.modules_version,
        modules_window_ms=rest.modules_window_ms,
        issued_at_ms=rest.issued_at_ms,
        heads_digest=rest.heads_digest,
        pinned_digest=pinned_digest,
        modules_to=0,
        rest=None,
    )


def with_crowd(cursor: Cursor, rows: Sequence[ChangeRow], ground: Ground) -> Cursor:
    """Note whether many of these rows, which are all there are, would be read again."""
    if len(rows) <= CROWDED_ROWS:
        return replace(cursor, crowded=False) if cursor.crowded else cursor
    since_ms = scan_from_ms(cursor.window_ms, ground)
    again = sum(row.window_ms >= since_ms for row in rows)
    return replace(cursor, crowded=again > CROWDED_ROWS)


def is_complete(rest: Rest) -> bool:
    """Whether all of a delta was told."""
    return not (rest.below or rest.modules_below or rest.heads_below_ms)


def is_as_good(held: Cursor, moved: Cursor, retention_ms: int) -> bool:
    """Whether a client may keep the cursor it has: it stands where the new one does, and is not so
    old that it would expire if the device stayed away.
    """
    age_ms = moved.issued_at_ms - held.issued_at_ms
    fresh = age_ms < min(CURSOR_KEPT_MS, retention_ms // 8)
    return fresh and held == replace(moved, issued_at_ms=held.issued_at_ms)


def newest_version(rows: Iterable[ChangeRow]) -> int:
    """Newest change of any of the rows, whose epoch is the newest too; `BEFORE_ALL` for none."""
    return max((row.version for row in rows), default=BEFORE_ALL)


def heads_digest(heads: Iterable[Head]) -> bytes:
    """Sum up read-side heads, in byte order of their ids; nothing for none."""
    found = sorted((head.conversation_id.encode(), head.max_seq) for head in heads)
    if not found:
        return b""
    digest = hashlib.blake2b(digest_size=HEADS_DIGEST_BYTES)
    for conversation_id, max_seq in found:
        digest.update(b"%d:%b%d;" % (len(conversation_id), conversation_id, max_seq))
    return digest.digest()


def sides_digest(read_side: Sequence[str], heads: Iterable[Head]) -> bytes:
    """Sum up a read-side set with its heads: nothing for an empty set, and only for that."""
    return heads_digest(heads) or (NO_HEADS if read_side else b"")


def read_side_news(heads: Sequence[Head], cursor: Cursor) -> list[Head]:
    """Heads of the user's read-side set that may have changed since the cursor.

    None, if they are together what the last answer left the client with; else those that were
    written since, by a margin that no clock or retry exceeds, so that some may come twice.
    """
    if heads_digest(heads) == cursor.heads_digest:
        return []
    since_ms = cursor.issued_at_ms - READ_SIDE_MARGIN_MS
    return [head for head in heads if head.updated_at_ms >= since_ms and head.max_seq > 0]


@dataclass(frozen=True, slots=True)
class Todo:
    """A delta to be told: where the client stands, what was not told yet, and the changes from the
    cursor up to where the delta leads.
    """

    cursor: Cursor
    rest: Rest
    changes: Mapping[str, Collapsed]


@dataclass(frozen=True, slots=True)
class Page:
    """Conversations of one answer, and what it leaves to the next."""

    changes: dict[str, Collapsed]
    news: list[Head]
    rest: Rest


def page(todo: Todo, heads: Sequence[Head], most: int, room: Room) -> Page:
    """Choose the conversations of one answer: changes, newest first, then heads, newest first.

    A change of a conversation with news comes joined with its head, on whatever page, and does not
    come again for it: a head that moved since then makes the next delta look.
    """
    rest = todo.rest
    waiting = sorted(
        (
            (version, conversation_id)
            for conversation_id, change in todo.changes.items()
            if (version := change.version) < rest.below
        ),
        reverse=True,
    )
    changes: dict[str, Collapsed] = {}
    below = rest.below
    for version, conversation_id in waiting:
        if len(changes) == most or not room.entry(conversation_id):
            break
        changes[conversation_id] = todo.changes[conversation_id]
        below = version
    rest = replace(rest, below=below)
    found = {head.conversation_id: head for head in read_side_news(heads, todo.cursor)}
    joined = [head for cid, head in found.items() if cid in changes]
    if len(changes) < len(waiting):
        return Page(changes, joined, rest)
    place = (rest.heads_below_ms, rest.heads_below_id)
    others = sorted(
        (
            (head.updated_at_ms, cid)
            for cid, head in found.items()
            if cid not in todo.changes and (head.updated_at_ms, cid) < place
        ),
        reverse=True,
    )
    told: list[Head] = []
    for updated_at_ms, cid in others:
        if len(changes) + len(told) == most or not room.entry(cid):
            break
        told.append(found[cid])
        rest = replace(rest, heads_below_ms=updated_at_ms, heads_below_id=cid)
    if len(told) == len(others):
        rest = replace(rest, heads_below_ms=0, heads_below_id="")
    return Page(changes, joined + told, replace(rest, below=0))


def entries(
    collapsed: Mapping[str, Collapsed],
    inbox: Mapping[str, InboxRow],
    heads: Mapping[str, Head],
    news: Iterable[Head],
    version: int,
) -> tuple[ConversationEntry, ...]:
    """Entries of a delta, newest first. `heads` holds those of conversations whose own state
    changed; `news` the read-side heads; `version` stands for changes that have none of their own.
    """
    made = {
        conversation_id: _entry(conversation_id, change, inbox.get(conversation_id), heads)
        for conversation_id, change in collapsed.items()
    }
    for head in news:
        row = inbox.get(head.conversation_id)
        if row is None or row.own is None or not row.own.member:
            continue
        held = made.get(head.conversation_id) or ConversationEntry(head.conversation_id, version)
        if (held.max_seq or 0) < head.max_seq:
            held = replace(held, max_seq=head.max_seq, active_at_ms=head.active_at_ms)
        made[head.conversation_id] = held
    some = (entry for entry in made.values() if not _is_empty(entry))
    return tuple(sorted(some, key=lambda entry: entry.version, reverse=True))


def _entry(
    conversation_id: str, change: Collapsed, row: InboxRow | None, heads: Mapping[str, Head]
) -> ConversationEntry:
    told = bool(change.message_version)
    if not told and (row is None or row.own is None):
        # A marker of somebody who never belonged: he sees nothing by it. If he joins, the state
        # that comes with the join has the marker.
        return ConversationEntry(conversation_id, change.version)
    entry = ConversationEntry(
        conversation_id,
        change.version,
        max_seq=change.max_seq if told else None,
        active_at_ms=change.active_at_ms if told else None,
        read_seq=change.read_seq if change.read_version else None,
    )
    if not change.state_version or row is None or row.own is None:
        return entry
    max_seq, active_at_ms = visible(heads.get(conversation_id), row.own)
    if max_seq < (entry.max_seq or 0):
        max_seq, active_at_ms = entry.max_seq or 0, entry.active_at_ms or 0
    return replace(
        entry,
        max_seq=max_seq,
        active_at_ms=active_at_ms,
        read_seq=max(entry.read_seq or 0, row.read_seq),
        own=row.own,
    )


def _is_empty(entry: ConversationEntry) -> bool:
    return entry.max_seq is None and entry.read_seq is None and entry.own is None
