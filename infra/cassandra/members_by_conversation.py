"""Table `members_by_conversation`: who belongs. Leaving is a state, so nothing is ever deleted."""

from __future__ import annotations

from typing import Final

from infra.cassandra.session import Session, Statement

SELECT_ALL: Final = (
    "SELECT user_id, member FROM ks.members_by_conversation WHERE conversation_id = ?"
)
UPDATE_MEMBER: Final = (
    "UPDATE ks.members_by_conversation USING TIMESTAMP ? SET member = ? "
    "WHERE conversation_id = ? AND user_id = ?"
)


async def read(session: Session, conversation_id: str) -> tuple[frozenset[str], frozenset[str]]:
    """Who belongs to a conversation, and who has left it; both empty for an unknown one."""
    rows = await session.aread(SELECT_ALL, (conversation_id,))
    present = frozenset(user_id for user_id, member in rows if member)
    return present, frozenset(user_id for user_id, _ in rows) - present


def member(
    session: Session, conversation_id: str, user_id: str, *, is_member: bool, stamp: int
) -> Statement:
    """Say whether a user belongs, as of the stamp of the source write."""
    return session.bind(UPDATE_MEMBER, (stamp, is_member, conversation_id, user_id))
