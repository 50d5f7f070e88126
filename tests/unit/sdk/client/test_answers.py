"""Which answers contradict themselves, and which contents break a bound."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace

from schemas.conversations import OwnState
from schemas.limits import CURSOR_CHARS_MAX, SEQ_MAX
from schemas.protocol import ModuleEntry, ResetReason, SyncResponse
from sdk.client.answers import Event, check_contents, event_of
from sdk.client.errors import InvalidAnswerError
from tests.unit.sdk.client.support import delta, entry

ALLOWED = {
    ("delta", None, "c", None): Event.DELTA,
    ("full", ResetReason.FRESH, None, "p"): Event.FIRST_PAGE,
    ("full", ResetReason.FRESH, "c", None): Event.ONLY_PAGE,
    ("full", None, None, "p"): Event.NEXT_PAGE,
    ("full", None, "c", None): Event.LAST_PAGE,
}


@pytest.mark.parametrize(
    "form",
    list(product(("delta", "full"), (None, ResetReason.FRESH), (None, "c"), (None, "p"))),
    ids=str,
)
def test_every_form_has_one_meaning_or_is_refused(form: tuple[str, ...]) -> None:
    path, reset, cursor, page = form
    answer = SyncResponse(path, reset=reset, cursor=cursor, page=page)  # type: ignore[arg-type]
    if form in ALLOWED:
        assert event_of(answer) is ALLOWED[form]  # type: ignore[index]
    else:
        with pytest.raises(InvalidAnswerError):
            event_of(answer)


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
    ],
)
def test_module_items_have_bounds(item: ModuleEntry) -> None:
    check_contents(delta(modules=(ModuleEntry("m", "i", "delete", 0, 1),)))
    with pytest.raises(InvalidAnswerError):
        check_contents(delta(modules=(item,)))
