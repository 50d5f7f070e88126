"""Change records: every kind survives the wire, and the largest fits a Kafka record."""

from __future__ import annotations

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
