"""The planner: which answer a request gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cursor import seal, user_digest
from schemas.errors import RefusedTokenError
from schemas.protocol import Correction, Reason, SyncRequest
from syncapi import planner
from syncapi.planner import EXPIRY_MARGIN_MS, Correct, Delta, Full, NextPage
from tests.unit.syncapi.support import KEY, RETENTION_MS, T0, cursor, ground, page_token, request

OLDEST_MS = T0 - RETENTION_MS + EXPIRY_MARGIN_MS


def test_who_has_nothing_gets_everything() -> None:
    assert planner.start(request(), ground()) == Full(Reason.FRESH)


def test_a_good_cursor_is_continued() -> None:
    assert planner.start(request(cursor(version=9)), ground()) == Delta(cursor(version=9))


def test_a_good_page_token_is_continued() -> None:
    assert planner.start(request(page_token()), ground()) == NextPage(page_token())


TOKENS = {"cursor": cursor, "page": page_token}
RESET = [
    ({"epoch": 2}, Reason.EPOCH_CHANGED),
    ({"epoch": 0}, Reason.EPOCH_CHANGED),
    ({"issued_at_ms": OLDEST_MS - 1}, Reason.EXPIRED),
    ({"issued_at_ms": 0}, Reason.EXPIRED),
    ({"epoch": 2, "issued_at_ms": 0}, Reason.EPOCH_CHANGED),
]


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize(("changed", "reason"), RESET)
def test_a_token_that_does_not_fit_is_a_reset_with_its_reason(
    kind: str, changed: dict[str, Any], reason: Reason
) -> None:
    assert planner.start(request(TOKENS[kind](**changed)), ground()) == Full(reason)


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_expires_exactly_at_the_margin(kind: str) -> None:
    plan = planner.start(request(TOKENS[kind](issued_at_ms=OLDEST_MS)), ground())
    assert not isinstance(plan, Full)


@given(st.integers(1, RETENTION_MS))
def test_expiry_leaves_a_margin_before_the_rows_are_gone(retention_ms: int) -> None:
    oldest_ms = planner.oldest_valid_ms(ground(retention_ms=retention_ms))
    assert T0 - retention_ms <= oldest_ms <= T0
    assert oldest_ms - (T0 - retention_ms) == min(EXPIRY_MARGIN_MS, retention_ms // 10)


def damaged() -> list[str]:
    good = seal(cursor(), KEY)
    return ["x", "", "!!!", "é", good[:-1], "A" + good[1:], good + "AAAA", "=" * 5, "\ud800"]


def refusal(asked: SyncRequest) -> str:
    with pytest.raises(RefusedTokenError) as caught:
        planner.start(asked, ground())
    return caught.value.reason


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("changed", [{}, {"epoch": 2}, {"issued_at_ms": 0}])
def test_a_token_of_another_user_is_refused_whatever_else_it_says(
    kind: str, changed: dict[str, Any]
) -> None:
    token = TOKENS[kind](user_digest=user_digest("bob"), **changed)
    assert refusal(request(token)) == "other_user"


@pytest.mark.parametrize("text", damaged())
@pytest.mark.parametrize("name", ["cursor", "page"])
def test_a_damaged_token_is_refused(text: str, name: str) -> None:
    assert refusal(SyncRequest(device_id="phone", **{name: text})) == "unreadable"


@pytest.mark.parametrize("token", [cursor(), page_token()])
def test_a_token_of_another_key_is_unreadable(token: Any) -> None:
    assert refusal(request(token, b"other")) == "unreadable"


def test_tokens_are_not_taken_for_each_other() -> None:
    swapped = (
        SyncRequest(device_id="phone", cursor=seal(page_token(), KEY)),
        SyncRequest(device_id="phone", page=seal(cursor(), KEY)),
    )
    for one in swapped:
        assert refusal(one) == "unreadable"


def test_a_root_is_compared_with_a_delta() -> None:
    root = bytes(16)
    assert planner.start(request(cursor(), root=root), ground()) == Delta(cursor(), root)


def test_a_correction_goes_with_a_good_cursor_only() -> None:
    asked = Correction()
    assert planner.start(request(cursor(), correct=asked), ground()) == Correct(cursor(), asked)
    assert planner.start(request(correct=asked), ground()) == Full(Reason.FRESH)
    old = request(cursor(issued_at_ms=0), correct=asked)
    assert planner.start(old, ground()) == Full(Reason.EXPIRED)


def test_a_page_token_is_taken_and_the_cursor_beside_it_ignored() -> None:
    both = SyncRequest(device_id="phone", page=seal(page_token(), KEY), cursor="nonsense")
    assert planner.start(both, ground()) == NextPage(page_token())


@given(st.text(max_size=60))
def test_no_text_is_more_than_unreadable(text: str) -> None:
    assert refusal(SyncRequest(device_id="phone", cursor=text or "x")) == "unreadable"
