"""Between a conversation's state and its row. Pure; the one place that knows the order of columns.

Derived columns are computed here, and only by the functions of `schemas.conversations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from schemas.conversations import (
    ConversationState,
    OwnState,
    activity_ms,
    is_listed,
    last_seq,
    unread,
)

STATE_COLUMNS: Final = (
    "conversation_id, max_seq, active_at_ms, read_seq, member, membership_at_ms, user_max_seq,"
    " min_seq, deleted_seq, deleted_at_ms, pinned, muted"
)
STATE_WIDTH: Final = STATE_COLUMNS.count(",") + 1

_DERIVED: Final = "listed, last_seq, unread, activity_ms"
_COLUMNS: Final = f"{STATE_COLUMNS}, {_DERIVED}, generation"

# The texts below are put together from the constants above only; values are always bound.
UPSERT: Final = (
    f"INSERT INTO conversations ({_COLUMNS})"  # noqa: S608
    f" VALUES ({', '.join('?' * (_COLUMNS.count(',') + 1))})"
    " ON CONFLICT (conversation_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[1:])
)
SELECT_ONE: Final = (
    f"SELECT {STATE_COLUMNS}, generation FROM conversations WHERE conversation_id = ?"  # noqa: S608
)
SELECT_PINNED: Final = f"SELECT {STATE_COLUMNS}, generation FROM conversations WHERE pinned = 1"  # noqa: S608
SELECT_ALL: Final = f"SELECT {STATE_COLUMNS} FROM conversations"  # noqa: S608

_VIEW: Final = (
    "SELECT c.conversation_id, max_seq, last_seq, read_seq, unread, activity_ms, pinned, muted,"
    " member, listed, coalesce(draft, '') FROM conversations c"
    " LEFT JOIN drafts d ON d.conversation_id = c.conversation_id"
)
SELECT_VIEW: Final = f"{_VIEW} WHERE c.conversation_id = ?"
SELECT_LIST: Final = (
    f"{_VIEW} WHERE listed = 1 AND pinned = ? AND activity_ms <= ?"
    " AND (activity_ms < ? OR c.conversation_id > ?)"
    " ORDER BY pinned DESC, activity_ms DESC, c.conversation_id LIMIT ?"
)
"""One run of the list (the pinned, or the others) after a place in it, exclusive. The condition
`activity_ms <= ?` lets the index find the place; the next one only leaves out those before it in
the same millisecond."""


class ConversationView(Struct, frozen=True):
    """One conversation as a list shows it. Times are milliseconds since 1970.

    `last_seq` is the last sequence the user may see, `max_seq` the conversation's last.
    """

    conversation_id: str
    max_seq: int
    last_seq: int
    read_seq: int
    unread: int
    activity_ms: int
    pinned: bool
    muted: bool
    member: bool
    listed: bool
    draft: str


def view_of(row: Sequence[Any]) -> ConversationView:
    """Build a view of a row of `SELECT_VIEW` or `SELECT_LIST`."""
    pinned, muted, member, listed = map(bool, row[6:10])
    return ConversationView(
        row[0], row[1], row[2], row[3], row[4], row[5], pinned, muted, member, listed, row[10]
    )


def state_of(row: Sequence[Any]) -> ConversationState:
    """Build the state of the first `STATE_WIDTH` columns of a row."""
    own = OwnState(
        bool(row[4]), row[5], row[6], row[7], row[8], row[9], bool(row[10]), bool(row[11])
    )
    return ConversationState(row[0], row[1], row[2], row[3], own)


def row_of(state: ConversationState, generation: int) -> tuple[Any, ...]:
    """Build the row of `UPSERT`."""
    own = state.own
    return (
        state.conversation_id,
        state.max_seq,
        state.active_at_ms,
        state.read_seq,
        own.member,
        own.membership_at_ms,
        own.user_max_seq,
        own.min_seq,
        own.deleted_seq,
        own.deleted_at_ms,
        own.pinned,
        own.muted,
        is_listed(state),
        last_seq(state),
        unread(state),
        activity_ms(state),
        generation,
    )
