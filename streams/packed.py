"""A conversation as bytes, for as long as nobody asks for it.

PURE. As objects a chat of two takes more than a kilobyte, most of it tables of sets and headers of
strings; packed it takes the bytes of its members' ids and some twenty more. A member costs one byte
beside his id, and a tenth of a microsecond to unpack.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import msgpack
from msgspec.structs import astuple

from schemas.events import DiffusionOverride
from schemas.heads import Activity, Head, Mode, ModeReason
from streams.diffusion import Conversation

OVERHEAD_BYTES: Final = 180
"""What an entry takes beside its id and its bytes: the headers of both objects (82), and its place
in a table that is between a third and two thirds full."""

_NOTHING_COUNTED: Final = Activity()

_Activity: TypeAlias = tuple[int, int, int, float, float, float]
_Head: TypeAlias = tuple[
    int, int, Mode, int, int, ModeReason, int, DiffusionOverride, int, _Activity | None
]
"""The fields in their order, without the id, by which whoever keeps the bytes finds them."""

_Packed: TypeAlias = tuple[_Head, tuple[str, ...] | None, tuple[str, ...]]

_encode: Final = msgpack.Encoder().encode
_decode: Final = msgpack.Decoder(_Packed).decode


def pack(conversation: Conversation) -> bytes:
    """Members are sorted, because sorting them again costs next to nothing then."""
    head = conversation.head
    counted = None if head.activity == _NOTHING_COUNTED else astuple(head.activity)
    members = None if conversation.members is None else sorted(conversation.members)
    return _encode(((*astuple(head)[1:-1], counted), members, sorted(conversation.left)))


def unpack(conversation_id: str, packed: bytes) -> Conversation:
    """What `pack` was given."""
    (*fields, counted), members, left = _decode(packed)
    activity = _NOTHING_COUNTED if counted is None else Activity(*counted)
    conversation = Conversation(Head(*(conversation_id, *fields, activity)), members)
    conversation.left.update(left)
    return conversation
