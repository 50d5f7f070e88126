"""Ids as validated types, and the little that may be read out of a conversation id.

User and group ids may contain any character, also the separator `_`: a conversation id is never
split to recover them.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from schemas import limits

UserId = Annotated[str, Meta(min_length=1, max_length=limits.USER_ID_CHARS_MAX)]
ConversationId = Annotated[str, Meta(min_length=1, max_length=limits.CONVERSATION_ID_CHARS_MAX)]
DeviceId = Annotated[str, Meta(min_length=1, max_length=limits.DEVICE_ID_CHARS_MAX)]
ModuleName = Annotated[
    # `schemas.protocol.ALL_MODULES` stands for all of them: none may have it for its name.
    str, Meta(min_length=1, max_length=limits.MODULE_NAME_CHARS_MAX, pattern=r"^(?!\*$)")
]
ModuleItemId = Annotated[str, Meta(min_length=1, max_length=limits.MODULE_ITEM_ID_CHARS_MAX)]
Seq = Annotated[int, Meta(ge=1, le=limits.SEQ_MAX)]
SeqOrZero = Annotated[int, Meta(ge=0, le=limits.SEQ_MAX)]
TimeMs = Annotated[int, Meta(ge=limits.TIME_MS_MIN, le=limits.TIME_MS_MAX)]

NOTIFICATION_PREFIX: Final = "n_"
"""Conversations with this prefix carry notifications: diffused, but never listed nor unread."""


def one_to_one(first: str, second: str) -> str:
    """Name the one-to-one conversation of two users: `si_` and both ids in byte order.

    >>> one_to_one("9", "10")
    'si_10_9'
    """
    low, high = sorted((first, second), key=lambda user: user.encode())
    return f"si_{low}_{high}"


def group(group_id: str) -> str:
    """Name the conversation of a group.

    >>> group("42")
    'sg_42'
    """
    return f"sg_{group_id}"


def is_notification(conversation_id: str) -> bool:
    """Say whether a conversation carries notifications, which the list and unread leave out."""
    return conversation_id.startswith(NOTIFICATION_PREFIX)
