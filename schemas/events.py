"""Write events: what an IM backend tells, on two topics. `type` tells them apart.

Conversation-keyed (`im.conversation-writes.v1`): `Message`, `MembersJoined`, `MembersLeft`,
`ConversationSettings`, and the engine's own `Reconsider`. User-keyed (`im.user-writes.v1`):
`Read`, `UserConversationSettings`, `ConversationCleared`, `ConversationDeleted`, `ModuleChanged`.

A record carries one event or an array of events. All events of a conversation (of a user) must
reach the same partition in the order in which they happened. Delivery may repeat and, within one
conversation, messages may even arrive out of order: sequence numbers merge by the greatest.
Unknown fields are ignored, so that a newer backend can talk to an older engine; an event that an
older one must not take for what it knows says so by its `v` (`schemas.record_version`).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from schemas import limits
from schemas.ids import (
    ConversationId,
    ModuleItemId,
    ModuleName,
    Seq,
    SeqOrZero,
    TimeMs,
    UserId,
)
from schemas.record_version import Versioned

Members = Annotated[tuple[UserId, ...], Meta(min_length=1, max_length=limits.MEMBERS_PER_EVENT_MAX)]
OneToOneMembers = Annotated[
    tuple[UserId, ...], Meta(min_length=1, max_length=limits.ONE_TO_ONE_MEMBERS_MAX)
]
LeaveReason = Literal["quit", "kick", "dismiss"]
DiffusionOverride = Literal["auto", "always_write", "always_read"]
ModuleOp = Literal["insert", "update", "delete"]


class Message(Versioned, frozen=True, gc=False, tag="message", omit_defaults=True):
    """A stored message. `seq` is its place in its conversation, from 1; a sequence never restarts.

    `members` names the one or two users of a one-to-one chat, whose ids cannot be read out of the
    conversation id; the first message that names a user makes him a member. Who left comes back by
    a join only. A message without a
    stored sequence (typing, unreliable notices) is no write event.
    """

    conversation_id: ConversationId
    seq: Seq
    sender_id: UserId
    sent_at_ms: TimeMs
    members: OneToOneMembers | None = None


class MembersJoined(Versioned, frozen=True, gc=False, tag="members_joined", omit_defaults=True):
    """Users joined. `seq` is the conversation's last sequence at that moment, 0 if it has none.

    `history` false hides what was written before: their `min_seq` becomes `seq + 1`.
    """

    conversation_id: ConversationId
    user_ids: Members
    seq: SeqOrZero
    at_ms: TimeMs
    history: bool = True


class MembersLeft(Versioned, frozen=True, gc=False, tag="members_left", omit_defaults=True):
    """Users left, were removed, or (`dismiss`) the group ended for them.

    `seq` is the last sequence they may still see. The conversation stays in their list, frozen
    there.
    """

    conversation_id: ConversationId
    user_ids: Members
    seq: SeqOrZero
    at_ms: TimeMs
    reason: LeaveReason


class ConversationSettings(
    Versioned, frozen=True, gc=False, tag="conversation_settings", omit_defaults=True
):
    """Settings of the conversation itself: how it is diffused, against what the policy would
    say.
    """

    conversation_id: ConversationId
    diffusion: DiffusionOverride


class Read(Versioned, frozen=True, gc=False, tag="read", omit_defaults=True):
    """A user has read up to `read_seq` inclusive, on some device. Never goes back."""

    user_id: UserId
    conversation_id: ConversationId
    read_seq: SeqOrZero


class UserConversationSettings(
    Versioned, frozen=True, gc=False, tag="conversation_settings", omit_defaults=True
):
    """A user's settings for one conversation; an absent field stays as it was."""

    user_id: UserId
    conversation_id: ConversationId
    pinned: bool | UnsetType = UNSET
    muted: bool | UnsetType = UNSET


class ConversationCleared(
    Versioned, frozen=True, gc=False, tag="conversation_cleared", omit_defaults=True
):
    """A user cleared the history: only messages from `min_seq` inclusive on are his. Never goes
    back.
    """

    user_id: UserId
    conversation_id: ConversationId
    min_seq: Seq


class ConversationDeleted(
    Versioned, frozen=True, gc=False, tag="conversation_deleted", omit_defaults=True
):
    """A user deleted the conversation from his list when `deleted_seq` was its last sequence.

    It returns by a message with a greater sequence, or by a join after `at_ms`.
    """

    user_id: UserId
    conversation_id: ConversationId
    deleted_seq: SeqOrZero
    at_ms: TimeMs


class ModuleChanged(Versioned, frozen=True, gc=False, tag="module_changed", omit_defaults=True):
    """An item of another module of the user changed: friends, blacklist, folders, profile, ..."""

    user_id: UserId
    module: ModuleName
    item_id: ModuleItemId
    op: ModuleOp
    version: SeqOrZero


class Reconsider(Versioned, frozen=True, gc=False, tag="reconsider"):
    """Decide anew how the conversation is diffused, now. The engine's own: its sweep writes it for
    a conversation that should return without a message, so that the decision has a place among the
    writes. A backend has no need of it, and no harm comes of it.
    """

    conversation_id: ConversationId


ConversationEvent: TypeAlias = (
    Message | MembersJoined | MembersLeft | ConversationSettings | Reconsider
)
UserEvent: TypeAlias = (
    Read | UserConversationSettings | ConversationCleared | ConversationDeleted | ModuleChanged
)
WriteEvent: TypeAlias = ConversationEvent | UserEvent
