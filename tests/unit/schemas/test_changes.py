"""Change records: every kind survives the wire, and the largest fits a Kafka record."""

from __future__ import annotations

import orjson
import pytest

from schemas import limits
from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.codec import decode_change, encode_change
from schemas.errors import DecodeError

KINDS: list[Change] = [
    MessageChange("c", ("u", "v"), 7, 1_700_000_000_000, "u"),
    MessageChange("c", ("u",), 7, 1_700_000_000_000),
    ReadChange("c", ("u",), 0),
    StateChange("c", ("u",), 2**61, membership=Membership(member=True, user_max_seq=5, at_ms=9)),
    StateChange("c", ("u",), 1, min_seq=3, deletion=Deletion(2, 4), pinned=False, muted=True),
    StateChange("c", ("u",), 1, read_side=False),
    ModuleChange(("u",), "friends", "i", "delete", 12),
]


@pytest.mark.parametrize("change", KINDS, ids=lambda change: type(change).__name__)
def test_a_change_survives_the_wire(change: Change) -> None:
    assert decode_change(encode_change(change)) == change


def test_what_is_absent_stays_absent() -> None:
    change = decode_change(encode_change(StateChange("c", ("u",), 1, pinned=False)))
    assert isinstance(change, StateChange)
    assert change.pinned is False
    assert change.muted is None
    assert b"muted" not in encode_change(change)


def test_the_largest_change_fits_a_record() -> None:
    users = tuple(
        f"{number:04}".rjust(limits.USER_ID_CHARS_MAX, "\N{CJK UNIFIED IDEOGRAPH-4E00}")
        for number in range(limits.USERS_PER_CHANGE_MAX)
    )
    conversation = "\N{GRINNING FACE}" * limits.CONVERSATION_ID_CHARS_MAX
    size = len(encode_change(MessageChange(conversation, users, limits.SEQ_MAX, 1, users[0])))
    assert size < limits.CHANGE_RECORD_BYTES_MAX


def test_more_users_than_a_record_may_name_are_refused() -> None:
    users = tuple(str(number) for number in range(limits.USERS_PER_CHANGE_MAX + 1))
    with pytest.raises(DecodeError, match="users"):
        decode_change(encode_change(ReadChange("c", users, 1)))


MESSAGE = {
    "type": "message",
    "conversation_id": "c",
    "users": ["u"],
    "max_seq": 1,
    "active_at_ms": 1,
}
READ = {"type": "read", "conversation_id": "c", "users": ["u"], "read_seq": 1}
STATE = {"type": "state", "conversation_id": "c", "users": ["u"], "stamp": 1}
MODULE = {
    "type": "module",
    "users": ["u"],
    "module": "m",
    "item_id": "i",
    "op": "insert",
    "item_version": 1,
}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({**MESSAGE, "max_seq": limits.SEQ_MAX + 1}, "max_seq"),
        ({**MESSAGE, "max_seq": -1}, "max_seq"),
        ({**MESSAGE, "active_at_ms": 2**63}, "active_at_ms"),
        ({**MESSAGE, "sender_id": ""}, "sender_id"),
        ({**READ, "read_seq": 2**64 - 1}, "read_seq"),
        ({**READ, "users": ["u", ""]}, "users"),
        ({**READ, "users": ["u" * 129]}, "users"),
        ({**READ, "conversation_id": ""}, "conversation_id"),
        ({**READ, "conversation_id": "c" * 70_000}, "conversation_id"),
        ({**STATE, "stamp": limits.STAMP_MAX + 1}, "stamp"),
        ({**STATE, "mode_epoch": -1}, "mode_epoch"),
        ({**STATE, "min_seq": 2**63}, "min_seq"),
        ({**STATE, "deletion": {"seq": 2**63, "at_ms": 1}}, "deletion.seq"),
        ({**STATE, "membership": {"member": True, "user_max_seq": 1, "at_ms": -1}}, "at_ms"),
        ({**MODULE, "module": "*"}, "module"),
        ({**MODULE, "item_version": 2**63}, "item_version"),
    ],
)
def test_what_cassandra_has_no_room_for_is_refused(change: dict[str, object], place: str) -> None:
    with pytest.raises(DecodeError, match=place):
        decode_change(orjson.dumps(change))
