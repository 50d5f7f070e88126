"""Which answer a request gets, and what it says. PURE: no I/O, clock or randomness.

`start` decides from the request alone; `collapse` and `entries` make a delta of what was read;
`page_entries` a page of a full correction. A reset always names its reason, and its answer is
already the first page of the recovery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec.structs import replace

from schemas.conversations import OwnState
from schemas.cursor import Cursor, PageToken, unseal, user_digest
from schemas.errors import TokenError
from schemas.heads import Head
from schemas.protocol import ConversationEntry, ModuleEntry, ResetReason, SyncRequest
from schemas.rows import ChangeRow, InboxRow, ModuleRow
from schemas.versions import epoch_of, window_start

EXPIRY_MARGIN_MS: Final = 3_600_000
"""A cursor expires this much before its changes do, so that none expires while it is being read."""

HEADS_DIGEST_BYTES: Final = 8
"""2^64: a digest that is equal by chance hides news once in as many changes, until the next one."""

CLOCK_SKEW_MS: Final = 60_000
"""Brokers' clocks may differ by so much: append times of one partition may go back by it when its
leader moves."""

READ_SIDE_MARGIN_MS: Final = 240_000
"""A head is news if it was written later than this before the cursor was issued. A worker stamps a
head and may then try for two minutes to write it; a minute of clock skew, and the age of the head
cache, come on top."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Answer what changed since `cursor`."""

    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Full:
    """Answer with the whole state, from the first page on, saying why."""

    reason: ResetReason


@dataclass(frozen=True, slots=True)
class NextPage:
    """Go on with a full correction."""

    token: PageToken


Plan: TypeAlias = Delta | Full | NextPage


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a decision stands on: who asks, which epoch the log is in and how long its windows are,
    what time it is.
    """

    user_id: str
    key: bytes
    epoch: int
    window_ms: int
    now_ms: int
    retention_ms: int


def start(request: SyncRequest, ground: Ground) -> Plan:
    """Decide how to answer. Anything wrong with a token is a reset, never an error."""
    if request.page is not None:
        return _page(request.page, ground)
    if request.cursor is None:
        return Full(ResetReason.FRESH)
    try:
        cursor = unseal(request.cursor, Cursor, ground.key)
    except TokenError:
        return Full(ResetReason.UNREADABLE)
    reason = _refusal(cursor, ground)
    return Delta(cursor) if reason is None else Full(reason)


def _page(text: str, ground: Ground) -> Plan:
    try:
        token = unseal(text, PageToken, ground.key)
    except TokenError:
        return Full(ResetReason.UNREADABLE)
    reason = _refusal(token.cursor, ground)
    return NextPage(token) if reason is None else Full(reason)


def _refusal(cursor: Cursor, ground: Ground) -> ResetReason | None:
    if cursor.user_digest != user_digest(ground.user_id):
        return ResetReason.OTHER_USER
    if cursor.epoch != ground.epoch:
        return ResetReason.EPOCH_CHANGED
    if cursor.issued_at_ms < oldest_valid_ms(ground):
        return ResetReason.EXPIRED
    return None


def oldest_valid_ms(ground: Ground) -> int:
    """Cursors issued before this are expired: changes after them may be gone."""
    margin_ms = min(EXPIRY_MARGIN_MS, ground.retention_ms // 10)
    return ground.now_ms - (ground.retention_ms - margin_ms)


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


def collapse(rows: Iterable[ChangeRow], since: int) -> dict[str, Collapsed]:
    """One entry a conversation for all rows with a change newer than `since` (exclusive)."""
    found: dict[str, Collapsed] = {}
    for row in rows:
        if row.version <= since:
            continue
        entry = found.setdefault(row.conversation_id, Collapsed())
        if row.message_version > since:
            entry.message_version = max(entry.message_version, row.message_version)
            if row.max_seq >= entry.max_seq:
                entry.max_seq, entry.active_at_ms = row.max_seq, row.active_at_ms
        if row.read_version > since:
            entry.read_version = max(entry.read_version, row.read_version)
            entry.read_seq = max(entry.read_seq, row.read_seq)
        entry.state_version = max(
            entry.state_version, row.state_version if row.state_version > since else 0
        )
    return found


def needs_own(change: Collapsed) -> bool:
    """Whether the inbox row must be read: for the state it holds, or, under a bare read marker, for
    whether the user belongs at all. A message is told to members only, and needs none.
    """
    return bool(change.state_version) or not change.message_version


def advance(cursor: Cursor, rows: Iterable[ChangeRow], modules: Iterable[ModuleRow]) -> Cursor:
    """Move a cursor over what one snapshot read of each table returned."""
    version, window_ms = cursor.version, cursor.window_ms
    for row in rows:
        if row.version > version:
            version, window_ms = row.version, row.window_ms
    modules_version, modules_window_ms = cursor.modules_version, cursor.modules_window_ms
    for item in modules:
        if item.version > modules_version:
            modules_version, modules_window_ms = item.version, item.window_ms
    return replace(
        cursor,
        version=version,
        window_ms=window_ms,
        modules_version=modules_version,
        modules_window_ms=modules_window_ms,
    )


def newest_epoch(rows: Iterable[ChangeRow]) -> int:
    """Newest epoch that wrote any of the rows; 0 for none."""
    return max((epoch_of(row.version) for row in rows), default=0)


def heads_digest(heads: Iterable[Head]) -> bytes:
    """Sum up read-side heads, in byte order of their ids; nothing for none."""
    found = sorted((head.conversation_id.encode(), head.max_seq) for head in heads)
    if not found:
        return b""
    digest = hashlib.blake2b(digest_size=HEADS_DIGEST_BYTES)
    for conversation_id, max_seq in found:
        digest.update(b"%d:%b%d;" % (len(conversation_id), conversation_id, max_seq))
    return digest.digest()


def read_side_news(heads: Sequence[Head], cursor: Cursor) -> list[Head]:
    """Heads of the user's read-side set that may have changed since the cursor.

    None, if they are together what the last answer left the client with; else those that were
    written since, by a margin that no clock or retry exceeds, so that some may come twice.
    """
    if heads_digest(heads) == cursor.heads_digest:
        return []
    since_ms = cursor.issued_at_ms - READ_SIDE_MARGIN_MS
    return [head for head in heads if head.updated_at_ms >= since_ms and head.max_seq > 0]


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
    entry = ConversationEntry(conversation_id, change.version)
    if not change.message_version and (row is None or row.own is None):
        # A marker of somebody who never belonged: he sees nothing by it. If he joins, the state
        # that comes with the join has the marker.
        return entry
    if change.message_version:
        entry = replace(entry, max_seq=change.max_seq, active_at_ms=change.active_at_ms)
    if change.read_version:
        entry = replace(entry, read_seq=change.read_seq)
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


def visible(head: Head | None, own: OwnState) -> tuple[int, int]:
    """Last sequence and activity of a conversation that its user may know of.

    Who left sees it as it was then: nothing that happened later, not even when.
    """
    if head is None:
        return 0, 0
    if own.member:
        return head.max_seq, head.active_at_ms
    return (
        min(head.max_seq, own.user_max_seq),
        min(head.active_at_ms, own.membership_at_ms),
    )


def page_entries(
    rows: Iterable[InboxRow], heads: Mapping[str, Head], version: int
) -> tuple[ConversationEntry, ...]:
    """Entries of a page of the whole state. Conversations he never belonged to are left out."""
    made = []
    for row in rows:
        if row.own is None:
            continue
        max_seq, active_at_ms = visible(heads.get(row.conversation_id), row.own)
        made.append(
            ConversationEntry(
                row.conversation_id, version, max_seq, active_at_ms, row.read_seq, row.own
            )
        )
    return tuple(made)


def module_entries(rows: Iterable[ModuleRow], since: int) -> tuple[ModuleEntry, ...]:
    """One entry an item for module rows newer than `since` (exclusive), newest first."""
    found: dict[tuple[str, str], ModuleRow] = {}
    for row in rows:
        held = found.get((row.module, row.item_id))
        if row.version > since and (held is None or row.item_version > held.item_version):
            found[row.module, row.item_id] = row
    newest_first = sorted(found.values(), key=lambda row: row.version, reverse=True)
    return tuple(
        ModuleEntry(row.module, row.item_id, row.op, row.item_version, row.version)
        for row in newest_first
    )
