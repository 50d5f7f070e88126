"""The state of one conversation for one user, how it merges, and what is derived from it.

Server, SDK and oracle-checked tests use these same functions; nothing else computes unread.
Merge rules: `max_seq` with its `active_at_ms`, `read_seq` and `min_seq` by the greatest;
the own state (membership, deletion, flags) is replaced as a whole, because the server always sends
it as it is when it answers. So repeated and reordered answers are harmless.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from schemas.ids import is_notification
from schemas.limits import SEQ_MAX

NO_CAP: Final = SEQ_MAX
"""`user_max_seq` of a member: he sees every message."""


class OwnState(Struct, frozen=True, omit_defaults=True):
    """What is the user's own in a conversation. Defaults are those of a member who set nothing."""

    member: bool = True
    membership_at_ms: int = 0
    user_max_seq: int = NO_CAP
    min_seq: int = 0
    deleted_seq: int = -1
    deleted_at_ms: int = 0
    pinned: bool = False
    muted: bool = False


class ConversationState(Struct, frozen=True, omit_defaults=True):
    """One conversation as one user has it."""

    conversation_id: str
    max_seq: int = 0
    active_at_ms: int = 0
    read_seq: int = 0
    own: OwnState = OwnState()


def unread(state: ConversationState) -> int:
    """Messages the user has not read; derived, never counted. Notifications are never unread.

    `max(0, min(max_seq, user_max_seq) - max(read_seq, min_seq - 1))`
    """
    if is_notification(state.conversation_id):
        return 0
    last = min(state.max_seq, state.own.user_max_seq)
    return max(0, last - max(state.read_seq, state.own.min_seq - 1))


def last_seq(state: ConversationState) -> int:
    """Last sequence the user may see."""
    return min(state.max_seq, state.own.user_max_seq)


def activity_ms(state: ConversationState) -> int:
    """What the list is ordered by: the last message, or the leaving, for who is no longer a
    member.
    """
    if not state.own.member:
        return state.own.membership_at_ms
    # A group he has just joined and where nothing was written yet is new, not the oldest of all.
    return state.active_at_ms or state.own.membership_at_ms


def is_listed(state: ConversationState) -> bool:
    """Say whether the conversation shows in the list.

    A deleted one returns only by a newer message or a newer join; notifications never show.
    """
    own = state.own
    if is_notification(state.conversation_id):
        return False
    if own.deleted_seq < 0:
        return True
    rejoined = own.member and own.membership_at_ms > own.deleted_at_ms
    return last_seq(state) > own.deleted_seq or rejoined
