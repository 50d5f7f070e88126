"""Names of conversations."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from schemas import ids, partitioner, versions
from schemas.ids import group, is_notification, one_to_one
from schemas.limits import CONVERSATION_ID_CHARS_MAX, USER_ID_CHARS_MAX

users = st.text(min_size=1, max_size=10)


@given(users, users)
def test_both_sides_name_the_same_conversation(one: str, other: str) -> None:
    assert one_to_one(one, other) == one_to_one(other, one)


def test_the_order_is_that_of_bytes() -> None:
    assert one_to_one("9", "10") == "si_10_9"
    # UTF-16 would order these two the other way round.
    assert one_to_one("\uffff", "\U0001f600") == "si_\uffff_\U0001f600"


def test_the_longest_ids_fit() -> None:
    longest = "u" * USER_ID_CHARS_MAX
    assert len(one_to_one(longest, longest)) <= CONVERSATION_ID_CHARS_MAX
    assert len(group(longest)) <= CONVERSATION_ID_CHARS_MAX


def test_notifications_are_told_by_their_prefix() -> None:
    assert is_notification("n_42")
    assert is_notification("n_si_1_2")
    for conversation_id in ("sg_n_1", "si_n_1_2", "sn_1", "N_1", "n"):
        assert not is_notification(conversation_id)


def test_the_examples_in_the_docstrings_hold() -> None:
    for module in (ids, versions, partitioner):
        assert doctest.testmod(module).failed == 0
