"""Table `members_by_conversation`: who belongs. Leaving is a state, so nothing is ever deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from infra.cassandra import multi_get
from infra.cassandra.session import Session, Statement

SELECT_ALL: Final = (
    "SELECT user_id, member FROM ks.members_by_conversation WHERE conversation_id = ?"
)
SELECT_MANY: Final = (
    "SELECT conversation_id, user_id, member FROM ks.members_by_conversation "
    "WHERE conversation_id IN ?"
)
UPDATE_MEMBER: Final = (
    "UPDATE ks.members_by_conversation USING TIMESTAMP ? SET member = ? "
    "WHERE conversation_id = ? AND user_id = ?"
)

CONVERSATIONS_PER_READ: Final = 100
"""Keys in one multi-get, as of heads."""

Members: TypeAlias = tuple[set[str], set[str]]
"""Who belongs to a conversation, and who has left it."""


async def read(session: Session, conversation_id: str) -> Members:
    """Members of one conversation; nobody for an unknown one."""
    rows = await session.aread(SELECT_ALL, (conversation_id,))
    return _members(rows)


async def read_many(session: Session, conversation_ids: Sequence[str]) -> dict[str, Members]:
    """Members of conversations that have few each; one that was never written is absent."""
    rows = await multi_get.read(session, SELECT_MANY, (), conversation_ids, CONVERSATIONS_PER_READ)
    found: dict[str, list[tuple[str, bool]]] = {}
    for conversation_id, user_id, is_member in rows:
        found.setdefault(conversation_id, []).append((user_id, is_member))
    return {conversation_id: _members(some) for conversation_id, some in found.items()}


def _members(rows: Sequence[tuple[Any, ...]]) -> Members:
    present = {user_id for user_id, is_member in rows if is_member}
    return present, {user_id for user_id, is_member in rows if not is_member}


def member(
    session: Session, conversation_id: str, user_id: str, *, is_member: bool, stamp: int
) -> Statement:
    """Say whether a user belongs, as of the stamp of the source write."""
    return session.bind(UPDATE_MEMBER, (stamp, is_member, conversation_id, user_id))
