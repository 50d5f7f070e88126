"""What the log says of errors: the types, the way, our own sentences, and nobody's values."""

from __future__ import annotations

import pytest

from infra.faults import CAUSES_MAX, Seldom, sentence_of, trace_of
from schemas.errors import RetryableError

USER = "user-ann"


def look_up(user: str) -> None:
    {}[user]


def fail(user: str, *, hide: bool = False) -> None:
    try:
        look_up(user)
    except KeyError as error:
        if hide:
            raise RetryableError("The store is away.") from None
        raise RetryableError("The store is away.") from error


def trace(**how: bool) -> str:
    with pytest.raises(RetryableError) as caught:
        fail(USER, **how)
    return trace_of(caught.value)


def test_a_trace_has_the_types_our_sentence_and_the_way() -> None:
    found = trace()
    assert found.startswith("RetryableError: The store is away.")
    assert "caused by KeyError" in found
    assert "in fail" in found
    assert "in look_up" in found


def test_what_others_say_is_left_out() -> None:
    assert USER not in trace()
    assert sentence_of(KeyError(USER)) == "KeyError"
    assert sentence_of(RetryableError("away")) == "RetryableError: away"


def test_what_was_hidden_is_not_told_and_what_was_being_handled_is() -> None:
    assert "KeyError" not in trace(hide=True)
    error = RetryableError("away")
    error.__context__ = KeyError(USER)
    assert "caused by KeyError" in trace_of(error)


def test_a_chain_without_end_ends() -> None:
    one, other = RetryableError("one"), RetryableError("other")
    one.__cause__, other.__cause__ = other, one
    assert trace_of(one).count("caused by") == CAUSES_MAX - 1


def test_seldom_is_once_in_its_interval() -> None:
    seldom = Seldom(10)
    assert [seldom.is_due(now_s) for now_s in (5, 6, 14.9, 15, 16, 40, 41)] == [
        *(True, False, False),
        *(True, False, True, False),
    ]


def test_a_clock_that_is_set_back_keeps_nothing_from_being_said() -> None:
    seldom = Seldom(10)
    assert [seldom.is_due(now_s) for now_s in (100, 105, 50, 55, 60)] == [
        *(True, False),
        *(True, False, True),
    ]
