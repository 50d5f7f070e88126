"""Which answers contradict themselves, and which contents break a bound."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.conversations import OwnState
from schemas.limits import CURSOR_CHARS_MAX, SEQ_MAX
from schemas.protocol import (
    REFUSALS,
    RESETS,
    KeyRange,
    ModuleEntry,
    RangeDigests,
    Reason,
    SyncResponse,
)
from sdk.client.answers import Event, check_contents, event_of
from sdk.client.errors import InvalidAnswerError
from tests.unit.sdk.client.support import correction, delta, entry

REASONS = (None, Reason.FRESH, Reason.PAGING, Reason.DIGEST_MISMATCH)
MEANING = {
    # path, reason, cursor, page, has_more
    ("delta", None, "c", None, False): Event.DELTA,
    ("delta", None, None, None, False): Event.DELTA,
    ("delta", Reason.PAGING, "c", None, True): Event.DELTA_PAGE,
    ("correction", Reason.DIGEST_MISMATCH, None, None, False): Event.ROWS,
    ("correction", Reason.DIGEST_MISMATCH, "c", None, False): Event.ROWS,
    ("correction", Reason.DIGEST_MISMATCH, None, None, True): Event.SOME_ROWS,
    ("correction", Reason.DIGEST_MISMATCH, "c", None, True): Event.SOME_ROWS,
    **{
        ("full", reason, *tokens, has_more): event
        for has_more in (False, True)
        for reason, tokens, event in (
            (Reason.FRESH, (None, "p"), Event.FIRST_PAGE),
            (Reason.FRESH, ("c", None), Event.ONLY_PAGE),
            (Reason.PAGING, (None, "p"), Event.NEXT_PAGE),
            (Reason.PAGING, ("c", None), Event.LAST_PAGE),
        )
    },
}


@pytest.mark.parametrize(
    "form",
    list(
        product(("delta", "full", "correction"), REASONS, (None, "c"), (None, "p"), (False, True))
    ),
    ids=str,
)
def test_every_form_has_one_meaning_or_is_refused(form: tuple[Any, ...]) -> None:
    path, reason, cursor, page, has_more = form
    answer = SyncResponse(path, reason=reason, cursor=cursor, page=page, has_more=has_more)
    if form in MEANING:
        assert event_of(answer) is MEANING[form]
    else:
        with pytest.raises(InvalidAnswerError):
            event_of(answer)


def test_a_full_correction_begins_with_one_of_the_resets() -> None:
    for reason in Reason:
        answer = SyncResponse("full", reason=reason, cursor="c")
        if reason in RESETS:
            assert event_of(answer) is Event.ONLY_PAGE
        elif reason is not Reason.PAGING:
            with pytest.raises(InvalidAnswerError):
                event_of(answer)
    assert not RESETS & REFUSALS


PARTS = (RangeDigests(KeyRange(0, 0), bytes(8)),)


def test_a_correction_says_one_thing() -> None:
    assert event_of(correction(parts=PARTS)) is Event.PARTS
    assert event_of(correction(parts=PARTS, has_more=True)) is Event.PARTS
    assert event_of(correction(undecoded=True)) is Event.UNDECODED
    assert event_of(correction(gone=b"1234")) is Event.ROWS
    assert event_of(correction(entry("a"), has_more=True)) is Event.SOME_ROWS
    for both in (
        correction(parts=PARTS, undecoded=True),
        correction(entry("a"), parts=PARTS),
        correction(undecoded=True, gone=b"1234"),
    ):
        with pytest.raises(InvalidAnswerError, match="either"):
            event_of(both)


def test_an_answer_of_another_version_is_refused() -> None:
    with pytest.raises(InvalidAnswerError, match="version 2"):
        event_of(SyncResponse("delta", cursor="c", v=2))


@pytest.mark.parametrize("token", ["", "x" * (CURSOR_CHARS_MAX + 1)])
def test_a_token_that_the_server_would_refuse_is_not_stored(token: str) -> None:
    with pytest.raises(InvalidAnswerError, match="token"):
        event_of(SyncResponse("delta", cursor=token))
    with pytest.raises(InvalidAnswerError, match="token"):
        event_of(SyncResponse("full", page=token))


GOOD = entry("a", 1, 2, 1, OwnState())


@pytest.mark.parametrize("field", ["version", "max_seq", "active_at_ms", "read_seq"])
def test_numbers_of_an_entry_have_bounds(field: str) -> None:
    for number in (0, SEQ_MAX):
        check_contents(delta(replace(GOOD, **{field: number})))
    for number in (-1, SEQ_MAX + 1):
        with pytest.raises(InvalidAnswerError):
            check_contents(delta(replace(GOOD, **{field: number})))


@pytest.mark.parametrize(
    ("field", "least"),
    [
        ("membership_at_ms", 0),
        ("user_max_seq", 0),
        ("min_seq", 0),
        ("deleted_seq", -1),
        ("deleted_at_ms", 0),
    ],
)
def test_numbers_of_the_own_state_have_bounds(field: str, least: int) -> None:
    check_contents(delta(replace(GOOD, own=OwnState(**{field: least}))))
    for number in (least - 1, SEQ_MAX + 1):
        with pytest.raises(InvalidAnswerError):
            check_contents(delta(replace(GOOD, own=OwnState(**{field: number}))))


@pytest.mark.parametrize(
    "item",
    [
        ModuleEntry("", "i", "insert", 1, 1),
        ModuleEntry("m" * 65, "i", "insert", 1, 1),
        ModuleEntry("m", "", "insert", 1, 1),
        ModuleEntry("m", "i" * 301, "insert", 1, 1),
        ModuleEntry("m", "i", "insert", -1, 1),
        ModuleEntry("m", "i", "insert", 1, SEQ_MAX + 1),
        ModuleEntry("*", "i", "insert", 1, 1),
    ],
)
def test_module_items_have_bounds(item: ModuleEntry) -> None:
    check_contents(delta(modules=(ModuleEntry("m", "i", "delete", 0, 1),)))
    with pytest.raises(InvalidAnswerError):
        check_contents(delta(modules=(item,)))


@pytest.mark.parametrize(
    "answer",
    [
        delta(module_resets=("",)),
        delta(module_resets=("m" * 65,)),
        delta(pinned=("a", "")),
        delta(pinned=("a" * 301,)),
        delta(total=-1),
        delta(total=2**64),
        delta(root=b"short"),
    ],
)
def test_what_stands_beside_the_entries_has_bounds(answer: SyncResponse) -> None:
    check_contents(
        delta(module_resets=("*", "m"), pinned=("a",) * 2_000, total=SEQ_MAX, root=bytes(16))
    )
    with pytest.raises(InvalidAnswerError):
        check_contents(answer)
