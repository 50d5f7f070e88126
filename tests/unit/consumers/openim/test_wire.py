"""Bytes of the push topic; those that OpenIM's own package made are in `test_golden`."""

from __future__ import annotations

import pytest

from consumers.openim import wire
from schemas.errors import DecodeError
from tests.unit.consumers.openim.support import COPIED, encoded, room, single, tips


def test_a_record_comes_back() -> None:
    record = room(1508, tips(kickedUserList=None), options=COPIED)
    found = wire.decode(encoded(record))
    assert (dict(found.options), found.content) == (COPIED, record.content)
    assert (found.conversation_id, found.group_id, found.seq) == ("n_G", "G", 0)


def test_fields_of_a_newer_version_are_passed_by() -> None:
    # Field 99, a string, at the end of the outer message.
    assert wire.decode(encoded(single(seq=3)) + b"\x9a\x06\x03new").seq == 3


@pytest.mark.parametrize("value", [b"\xff\xff", b"not a record", b"\x0a\x05\x0a"])
def test_other_bytes_are_no_record(value: bytes) -> None:
    with pytest.raises(DecodeError, match="not a record of OpenIM"):
        wire.decode(value)


@pytest.mark.parametrize("value", [None, b"", b"\x9a\x06\x03new", b"\x12\x03n_G", b"\x0a\x00"])
def test_a_record_names_a_conversation_and_has_a_message(value: bytes | None) -> None:
    with pytest.raises(DecodeError, match="names no conversation"):
        wire.decode(value)


def test_text_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(DecodeError):
        wire.decode(encoded(single(seq=1)).replace(b"bob", b"\xff\xfe\xfd"))
