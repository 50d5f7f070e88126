"""OpenIM's numbers: sessions, options, and content types, as far as the tap tells them apart.

The numbers are those of OpenIM's protocol package, `constant/constant.go` (v0.0.73-alpha.19). A
content type is looked at for two things only: whether its detail names who read, joined or left,
and how it is counted. Whether a record is a message is decided by its sequence and by nothing else.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class Session(IntEnum):
    """`sessionType` of a record."""

    SINGLE = 1
    WRITE_GROUP = 2
    """Of old versions: the servers of today refuse it."""
    GROUP = 3
    SYSTEM = 4
    """What a system account writes to one user (`sn_`)."""


GROUPS: Final = frozenset({Session.WRITE_GROUP, Session.GROUP})

IS_SEND_MSG: Final = "isSendMsg"
"""Option of a notice: a copy of it is stored in the conversation that it is about. As of all of
OpenIM's options, absent means true."""


class ContentType(IntEnum):
    """Content types whose detail is read."""

    GROUP_CREATED = 1501
    MEMBER_QUIT = 1504
    MEMBER_KICKED = 1508
    MEMBER_INVITED = 1509
    MEMBER_ENTERED = 1510
    GROUP_DISMISSED = 1511
    HAS_READ_RECEIPT = 2200


class Content(StrEnum):
    """How content types are counted."""

    CHAT = "chat"
    FRIEND = "friend"
    USER = "user"
    GROUP = "group"
    MEMBERSHIP = "membership"
    CONVERSATION = "conversation"
    BUSINESS = "business"
    REMOVAL = "removal"
    READ = "read"
    UNKNOWN = "unknown"


_MEMBERSHIP: Final = frozenset(
    number for number in ContentType if number is not ContentType.HAS_READ_RECEIPT
)

_RANGES: Final[tuple[tuple[int, int, Content], ...]] = (
    # From the most often met on; both ends are inclusive.
    (101, 122, Content.CHAT),  # text, picture, voice, ... markdown, what is for those online only
    (200, 203, Content.CHAT),  # common, group, signal, custom
    (1400, 1400, Content.CHAT),  # what a system account announces
    (1201, 1210, Content.FRIEND),
    (1300, 1300, Content.CONVERSATION),  # settings of a user for conversations
    (1303, 1308, Content.USER),
    (1501, 1520, Content.GROUP),
    (1701, 1704, Content.CONVERSATION),  # private chat, unread, cleared, deleted
    (2001, 2001, Content.BUSINESS),
    (2101, 2102, Content.REMOVAL),  # messages revoked, or deleted
    (2200, 2200, Content.READ),
)


def content_of(content_type: int) -> Content:
    """How a content type is counted; `UNKNOWN` for a number that OpenIM does not define."""
    if content_type in _MEMBERSHIP:
        return Content.MEMBERSHIP
    for first, last, content in _RANGES:
        if first <= content_type <= last:
            return content
    return Content.UNKNOWN
