"""Details of OpenIM's notices: who read up to where, who joined, who left.

PURE. The content of a notice is JSON with one field, `detail`, a string that is JSON again: one of
OpenIM's `...Tips`, written by Go's encoder, so that absent lists and parts are null. Fields that
are not read here are passed by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from consumers.openim.content_types import ContentType
from schemas.errors import DecodeError
from schemas.events import LeaveReason

T = TypeVar("T")
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class ReadTips(Struct, frozen=True, rename="camel"):
    """`MarkAsReadTips`: a user has read up to `has_read_seq`, and the messages `seqs`."""

    conversation_id: str = msgspec.field(name="conversationID", default="")
    user_id: str = msgspec.field(name="markAsReadUserID", default="")
    seqs: tuple[Int64, ...] | None = None
    has_read_seq: Int64 = 0


class User(Struct, frozen=True):
    """A `GroupMemberFullInfo`, of which the id counts."""

    user_id: str = msgspec.field(name="userID", default="")


class GroupTips(Struct, frozen=True, rename="camel"):
    """The parts of the six membership notices that name users; each has its own of them."""

    member_list: tuple[User | None, ...] | None = None
    group_owner_user: User | None = None
    quit_user: User | None = None
    kicked_user_list: tuple[User | None, ...] | None = None
    invited_user_list: tuple[User | None, ...] | None = None
    entrant_user: User | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """What a content type says of users. `leaves` is why they left; None: they joined.

    `named` finds them in the detail. `founding`: the group begins with them, so that no history
    could be hidden from them. `everybody`: all members are meant, and nobody is named.
    """

    named: Callable[[GroupTips], tuple[User | None, ...]]
    leaves: LeaveReason | None = None
    founding: bool = False
    everybody: bool = False


MEMBERSHIP: Final[dict[int, Membership]] = {
    # OpenIM stops listing at the member who made the group: he and the owner are named, and whoever
    # stands before him. The others are known from elsewhere (docs/openim.md).
    ContentType.GROUP_CREATED: Membership(
        lambda tips: (*(tips.member_list or ()), tips.group_owner_user), founding=True
    ),
    ContentType.MEMBER_INVITED: Membership(lambda tips: tips.invited_user_list or ()),
    ContentType.MEMBER_ENTERED: Membership(lambda tips: (tips.entrant_user,)),
    ContentType.MEMBER_QUIT: Membership(lambda tips: (tips.quit_user,), leaves="quit"),
    ContentType.MEMBER_KICKED: Membership(lambda tips: tips.kicked_user_list or (), leaves="kick"),
    ContentType.GROUP_DISMISSED: Membership(lambda _: (), leaves="dismiss", everybody=True),
}
"""The membership notices, by content type."""


class _Element(Struct, frozen=True):
    detail: str


_element: Final = msgspec.json.Decoder(_Element)
_read: Final[msgspec.json.Decoder[ReadTips]] = msgspec.json.Decoder(ReadTips)
_group: Final[msgspec.json.Decoder[GroupTips]] = msgspec.json.Decoder(GroupTips)


def read_tips(content: bytes) -> ReadTips:
    """The detail of a read receipt; raises `DecodeError`."""
    return _detail(content, _read)


def users_named(content: bytes, membership: Membership) -> tuple[str, ...]:
    """Ids of the users that a membership notice names, each once; raises `DecodeError`."""
    users = membership.named(_detail(content, _group))
    return tuple(dict.fromkeys(user.user_id for user in users if user is not None and user.user_id))


def _detail(content: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(_element.decode(content).detail)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"the detail of the notice: {error}") from error
