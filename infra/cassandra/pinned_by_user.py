"""Table `pinned_by_user`: the conversations a user has pinned, whole, in a small partition.

The same cells as `inbox.pinned`, by the same stamps, written beside them: a list that can be read
without the inbox. A pin outlives the membership, here as there.
"""

from __future__ import annotations

from typing import Final

from infra.cassandra.session import Session, Statement

SELECT_ALL: Final = "SELECT conversation_id, pinned FROM ks.pinned_by_user WHERE user_id = ?"
UPDATE_PINNED: Final = (
    "UPDATE ks.pinned_by_user USING TIMESTAMP ? SET pinned = ? "
    "WHERE user_id = ? AND conversation_id = ?"
)


async def read(session: Session, user_id: str) -> list[str]:
    """The user's pinned conversations, in byte order of ids: that of the table's clustering."""
    rows = await session.aread(SELECT_ALL, (user_id,))
    return [conversation_id for conversation_id, pinned in rows if pinned]


def pinned(
    session: Session, user_id: str, conversation_id: str, *, value: bool, stamp: int
) -> Statement:
    """Pin or unpin as of a source stamp. Unpinning writes false and deletes nothing: an older pin
    that arrives later must lose against it.
    """
    return session.bind(UPDATE_PINNED, (stamp, value, user_id, conversation_id))
