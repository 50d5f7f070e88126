"""Table `inbox`: what is the user's own in each of his conversations.

Sequence cells carry the sequence as timestamp; membership and flags the stamp of the source write.
A row without `member` belongs to somebody who only sent a marker: he sees nothing by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from infra.cassandra import multi_get
from infra.cassandra.session import Row, Session, Statement
from schemas.changes import Deletion, Membership
from schemas.conversations import NO_CAP, OwnState
from schemas.rows import InboxRow

_COLUMNS: Final = (
    "conversation_id, member, membership_at_ms, user_max_seq, read_seq, min_seq, deleted_seq, "
    "deleted_at_ms, pinned, muted"
)
SELECT_SOME: Final = f"SELECT {_COLUMNS} FROM ks.inbox WHERE user_id = ? AND conversation_id IN ?"
SELECT_PAGE: Final = (
    f"SELECT {_COLUMNS} FROM ks.inbox WHERE user_id = ? AND conversation_id > ? LIMIT ?"
)
SELECT_ALL: Final = f"SELECT {_COLUMNS} FROM ks.inbox WHERE user_id = ?"
SELECT_COUNT: Final = "SELECT count(member) FROM ks.inbox WHERE user_id = ?"
"""Rows of conversations that the user belongs or belonged to: others have no `member`."""
UPDATE_READ: Final = (
    "UPDATE ks.inbox USING TIMESTAMP ? SET read_seq = ? WHERE user_id = ? AND conversation_id = ?"
)
UPDATE_MIN: Final = (
    "UPDATE ks.inbox USING TIMESTAMP ? SET min_seq = ? WHERE user_id = ? AND conversation_id = ?"
)
UPDATE_MEMBERSHIP: Final = (
    "UPDATE ks.inbox USING TIMESTAMP ? SET member = ?, membership_at_ms = ?, user_max_seq = ? "
    "WHERE user_id = ? AND conversation_id = ?"
)
UPDATE_DELETION: Final = (
    "UPDATE ks.inbox USING TIMESTAMP ? SET deleted_seq = ?, deleted_at_ms = ? "
    "WHERE user_id = ? AND conversation_id = ?"
)
UPDATE_PINNED: Final = (
    "UPDATE ks.inbox USING TIMESTAMP ? SET pinned = ? WHERE user_id = ? AND conversation_id = ?"
)
UPDATE_MUTED: Final = (
    "UPDATE ks.inbox USING TIMESTAMP ? SET muted = ? WHERE user_id = ? AND conversation_id = ?"
)

CONVERSATIONS_PER_READ: Final = 100
"""Clustering keys in one multi-get of a partition."""


async def read(
    session: Session, user_id: str, conversation_ids: Sequence[str]
) -> dict[str, InboxRow]:
    """Some rows of a user's inbox, by conversation id."""
    rows = await multi_get.read(
        session, SELECT_SOME, (user_id,), conversation_ids, CONVERSATIONS_PER_READ
    )
    return {row[0]: _inbox_row(row) for row in rows}


async def read_page(session: Session, user_id: str, after: str, limit: int) -> list[InboxRow]:
    """At most `limit` rows after conversation id `after` (exclusive), in byte order of ids."""
    rows = await session.aread(SELECT_PAGE, (user_id, after, limit))
    return [_inbox_row(row) for row in rows]


async def read_all(session: Session, user_id: str) -> list[InboxRow]:
    """A user's whole inbox, in byte order of conversation ids."""
    rows = await session.aread(SELECT_ALL, (user_id,))
    return [_inbox_row(row) for row in rows]


async def count(session: Session, user_id: str) -> int:
    """How many conversations the user belongs or belonged to."""
    ((found,),) = await session.aread(SELECT_COUNT, (user_id,))
    return int(found)


def read_marker(session: Session, user_id: str, conversation_id: str, read_seq: int) -> Statement:
    """Raise `read_seq`."""
    return session.bind(UPDATE_READ, (read_seq, read_seq, user_id, conversation_id))


def min_seq(session: Session, user_id: str, conversation_id: str, value: int) -> Statement:
    """Raise `min_seq`."""
    return session.bind(UPDATE_MIN, (value, value, user_id, conversation_id))


def membership(
    session: Session, user_id: str, conversation_id: str, value: Membership, stamp: int
) -> Statement:
    """Set membership as of a source stamp."""
    values = (stamp, value.member, value.at_ms, value.user_max_seq, user_id, conversation_id)
    return session.bind(UPDATE_MEMBERSHIP, values)


def deletion(session: Session, user_id: str, conversation_id: str, value: Deletion) -> Statement:
    """Take the conversation off the list. Of equal sequences the later time wins (equal timestamps:
    Cassandra keeps the greater value of each cell).
    """
    values = (value.seq, value.seq, value.at_ms, user_id, conversation_id)
    return session.bind(UPDATE_DELETION, values)


def pinned(
    session: Session, user_id: str, conversation_id: str, *, value: bool, stamp: int
) -> Statement:
    """Pin or unpin as of a source stamp."""
    return session.bind(UPDATE_PINNED, (stamp, value, user_id, conversation_id))


def muted(
    session: Session, user_id: str, conversation_id: str, *, value: bool, stamp: int
) -> Statement:
    """Mute or unmute as of a source stamp."""
    return session.bind(UPDATE_MUTED, (stamp, value, user_id, conversation_id))


def _inbox_row(row: Row) -> InboxRow:
    own = None
    if row[1] is not None:
        own = OwnState(
            member=row[1],
            membership_at_ms=row[2] or 0,
            # The constant itself, by which the encoder knows that there is nothing to say.
            user_max_seq=NO_CAP if row[3] in {None, NO_CAP} else row[3],
            min_seq=row[5] or 0,
            deleted_seq=-1 if row[6] is None else row[6],
            deleted_at_ms=row[7] or 0,
            pinned=bool(row[8]),
            muted=bool(row[9]),
        )
    return InboxRow(conversation_id=row[0], read_seq=row[4] or 0, own=own)
