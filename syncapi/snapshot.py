"""What a snapshot says: whole states of conversations, in pages. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from schemas.conversations import ConversationState, OwnState, activity_ms
from schemas.heads import Head
from schemas.protocol import ConversationEntry, merge
from schemas.rows import MODULES_MARK, ChangeRow, InboxRow
from syncapi.room import Room

AHEAD_MAX: Final = 100
"""Conversations that the first page of a full correction takes out of turn, because they top the
list: a few screens. Later pages name them again, so more would cost more than it shows."""


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


def state_of(entry: ConversationEntry) -> ConversationState:
    """State that an entry of a page, which is whole, leaves a client with."""
    return merge(None, entry)


def newest_first(entries: Iterable[ConversationEntry]) -> tuple[ConversationEntry, ...]:
    """Entries of pages in the order of the list: pinned first, then the most recently active."""

    def place(entry: ConversationEntry) -> tuple[bool, int]:
        state = state_of(entry)
        return state.own.pinned, activity_ms(state)

    return tuple(sorted(entries, key=place, reverse=True))


def top(
    pinned: Sequence[str], rows: Iterable[ChangeRow], heads: Iterable[Head], page_max: int
) -> list[str]:
    """Conversations to show first, at most half a page: pinned ones, and the most recently active
    of the index and of the read side.

    The index has its newest windows first. Who was not active while it reaches back is not here.
    """
    most = min(AHEAD_MAX, page_max // 2)
    active = sorted(heads, key=lambda head: head.active_at_ms, reverse=True)[:most]
    times = {head.conversation_id: head.active_at_ms for head in active}
    for row in rows:
        if row.conversation_id == MODULES_MARK:
            continue
        # A marker has no time of its own; its window is near enough.
        at_ms = row.active_at_ms or row.window_ms
        times[row.conversation_id] = max(at_ms, times.get(row.conversation_id, 0))
    newest = sorted(times, key=lambda cid: times[cid], reverse=True)
    return list(dict.fromkeys([*pinned, *newest]))[:most]


def fitting(rows: Sequence[InboxRow], most: int, room: Room) -> int:
    """How many rows one page takes."""
    for count, row in enumerate(rows):
        if count == most or not room.entry(row.conversation_id):
            return count
    return len(rows)
