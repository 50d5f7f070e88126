"""Table `read_side_by_user`: conversations whose head a user's sync must look at itself."""

from __future__ import annotations

from typing import Final

from infra.cassandra.session import Session, Statement

SELECT_ALL: Final = (
    "SELECT conversation_id, on_read_side FROM ks.read_side_by_user WHERE user_id = ?"
)
UPDATE_SIDE: Final = (
    "UPDATE ks.read_side_by_user USING TIMESTAMP ? SET on_read_side = ? "
    "WHERE user_id = ? AND conversation_id = ?"
)


async def read(session: Session, user_id: str) -> list[str]:
    """The user's read-side set."""
    rows = await session.aread(SELECT_ALL, (user_id,))
    return [conversation_id for conversation_id, on in rows if on]


def side(
    session: Session, user_id: str, conversation_id: str, *, on: bool, mode_epoch: int
) -> Statement:
    """Put a conversation into the set or take it out, as of a mode epoch.

    Of equal timestamps Cassandra keeps the greater value: in. Who left in the epoch in which he
    joined so stays in the set, which costs a look at a head; membership is checked on read.
    """
    return session.bind(UPDATE_SIDE, (mode_epoch, on, user_id, conversation_id))
