"""The typed calls of a producer: one per event of the contract, in its words. No I/O.

Each builds the event and gives it to `send`, which validates. Times are milliseconds since 1970,
sequences are places in a conversation from 1; `schemas.events` tells what every event means.
Events of one conversation (of one user) must be told in the order in which they happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from msgspec import UNSET, UnsetType

from schemas.errors import InputError
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    DiffusionOverride,
    LeaveReason,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    ModuleOp,
    Read,
    UserConversationSettings,
    WriteEvent,
)


class WriteCalls(ABC):
    """The calls; all raise `InputError`, naming the field, for what the contract does not allow."""

    @abstractmethod
    def send(self, event: WriteEvent) -> None:
        """Accept an event for delivery."""

    def message(
        self,
        conversation_id: str,
        seq: int,
        sender_id: str,
        sent_at_ms: int,
        members: Iterable[str] | None = None,
    ) -> None:
        """Tell of a stored message; `members` names the one or two users of a one-to-one chat."""
        users = None if members is None else _users("message.members", members)
        self.send(Message(conversation_id, seq, sender_id, sent_at_ms, users))

    def members_joined(
        self,
        conversation_id: str,
        user_ids: Iterable[str],
        seq: int,
        at_ms: int,
        *,
        history: bool = True,
    ) -> None:
        """Tell that users joined when `seq` was the last; without `history` they see newer only."""
        users = _users("members_joined.user_ids", user_ids)
        self.send(MembersJoined(conversation_id, users, seq, at_ms, history))

    def members_left(
        self,
        conversation_id: str,
        user_ids: Iterable[str],
        seq: int,
        at_ms: int,
        reason: LeaveReason,
    ) -> None:
        """Tell that users left or were removed; `seq` is the last that they may see."""
        users = _users("members_left.user_ids", user_ids)
        self.send(MembersLeft(conversation_id, users, seq, at_ms, reason))

    def conversation_settings(self, conversation_id: str, diffusion: DiffusionOverride) -> None:
        """Say how a conversation is to be diffused, against what the policy would decide."""
        self.send(ConversationSettings(conversation_id, diffusion))

    def read(self, user_id: str, conversation_id: str, read_seq: int) -> None:
        """Tell that a user has read up to `read_seq` inclusive."""
        self.send(Read(user_id, conversation_id, read_seq))

    def user_conversation_settings(
        self,
        user_id: str,
        conversation_id: str,
        *,
        pinned: bool | None = None,
        muted: bool | None = None,
    ) -> None:
        """Tell that a user pinned or muted a conversation, or undid it; None: as it was."""
        if pinned is None and muted is None:
            raise InputError("conversation_settings: neither pinned nor muted is given; give one")
        self.send(UserConversationSettings(user_id, conversation_id, _given(pinned), _given(muted)))

    def conversation_cleared(self, user_id: str, conversation_id: str, min_seq: int) -> None:
        """Tell that a user cleared the history; messages from `min_seq` inclusive on are left."""
        self.send(ConversationCleared(user_id, conversation_id, min_seq))

    def conversation_deleted(
        self, user_id: str, conversation_id: str, deleted_seq: int, at_ms: int
    ) -> None:
        """Tell that a user took the conversation off his list when `deleted_seq` was its last."""
        self.send(ConversationDeleted(user_id, conversation_id, deleted_seq, at_ms))

    def module_changed(
        self, user_id: str, module: str, item_id: str, op: ModuleOp, version: int
    ) -> None:
        """Tell that an item of another module changed: friends, blacklist, folders, profile, ..."""
        self.send(ModuleChanged(user_id, module, item_id, op, version))


def _users(field: str, users: Iterable[str]) -> tuple[str, ...]:
    if isinstance(users, str | bytes):  # iterable too, character by character
        raise InputError(
            f"{field}: Expected a list of user ids, got the single text {users!r:.100}"
        )
    try:
        return tuple(users)
    except TypeError as error:
        raise InputError(f"{field}: Expected a list of user ids, got {users!r:.100}") from error


def _given(value: bool | None) -> bool | UnsetType:  # noqa: FBT001 -- a value, not a switch
    """None of a call is UNSET of an event: absent, not null."""
    return UNSET if value is None else value
