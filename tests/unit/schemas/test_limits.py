"""Bounds that are only good together."""

from __future__ import annotations

import msgspec

from schemas import limits
from schemas.changes import ModuleChange, ReadChange, StateChange
from schemas.codec import encode_change, encode_event
from schemas.events import MembersJoined
from schemas.protocol import SyncRequest
from schemas.versions import stamp_of, version_of

WIDE = "\U0001f600"
"""Four bytes in UTF-8: the widest a character can be."""


def wide(chars: int, number: int = 0) -> str:
    return WIDE * (chars - 6) + f"{number:06}"


def test_the_longest_change_records_fit() -> None:
    users = tuple(
        wide(limits.USER_ID_CHARS_MAX, number) for number in range(limits.USERS_PER_CHANGE_MAX)
    )
    conversation_id = wide(limits.CONVERSATION_ID_CHARS_MAX)
    stamp = stamp_of(version_of(limits.EPOCH_MAX, limits.OFFSET_MAX), 511)
    longest = (
        ReadChange(conversation_id, users, limits.SEQ_MAX),
        StateChange(conversation_id, users, stamp, min_seq=limits.SEQ_MAX, pinned=False),
        ModuleChange(
            users,
            wide(limits.MODULE_NAME_CHARS_MAX),
            wide(limits.MODULE_ITEM_ID_CHARS_MAX),
            "insert",
            limits.SEQ_MAX,
        ),
    )
    for change in longest:
        assert len(encode_change(change)) < limits.CHANGE_RECORD_BYTES_MAX


def test_the_longest_event_fits_a_record() -> None:
    users = tuple(
        wide(limits.USER_ID_CHARS_MAX, number) for number in range(limits.MEMBERS_PER_EVENT_MAX)
    )
    event = MembersJoined(
        wide(limits.CONVERSATION_ID_CHARS_MAX), users, limits.SEQ_MAX, limits.TIME_MS_MAX
    )
    assert len(encode_event(event)) < limits.EVENT_RECORD_BYTES_MAX


def test_the_longest_request_is_accepted() -> None:
    request = SyncRequest(
        wide(limits.DEVICE_ID_CHARS_MAX),
        cursor="c" * limits.CURSOR_CHARS_MAX,
        page="p" * limits.CURSOR_CHARS_MAX,
        changes_max=limits.CHANGES_PER_ANSWER_MAX,
        page_max=limits.CONVERSATIONS_PER_PAGE_MAX,
    )
    encoded = msgspec.json.encode(request)
    assert len(encoded) < limits.REQUEST_BYTES_MAX
    assert msgspec.json.decode(encoded, type=SyncRequest) == request


def test_numbers_are_exact_in_javascript() -> None:
    assert limits.SEQ_MAX == 2**53 - 1
    assert int(float(limits.SEQ_MAX)) == limits.SEQ_MAX
    assert limits.TIME_MS_MAX < limits.SEQ_MAX


def test_bounds_are_in_order() -> None:
    assert limits.TIME_MS_MIN < limits.TIME_MS_MAX
    assert limits.EPOCH_MIN <= limits.EPOCH_MAX
    # A time in seconds is too small, and one in microseconds too large, for all of this century.
    assert limits.TIME_MS_MAX // 1_000 < limits.TIME_MS_MIN
    assert limits.TIME_MS_MIN * 1_000 > limits.TIME_MS_MAX
