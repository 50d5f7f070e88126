"""How many requests may be under way: fewer while the loop is late, and how soon as many again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from syncapi.overload import BEAT_S, GROWTH, LATE_S, LEAST, Overload


def test_as_many_as_the_setting_says_are_under_way() -> None:
    load = Overload(20)
    for _ in range(20):
        assert not load.is_full
        load.under_way += 1
    assert load.is_full
    load.under_way -= 1
    assert not load.is_full


def test_a_loop_that_is_late_lets_in_as_many_fewer() -> None:
    load = Overload(1_000)
    load.beat(2 * LATE_S)
    assert load.allowed == 500
    load.beat(10 * LATE_S)
    assert load.allowed == 50


def test_one_that_is_not_too_late_changes_nothing() -> None:
    load = Overload(1_000)
    load.beat(LATE_S)
    assert load.allowed == 1_000


def test_the_bound_is_whole_again_after_two_seconds_in_time() -> None:
    load = Overload(1_000)
    load.beat(3_600)
    assert load.allowed == LEAST
    seen = []
    for _ in range(round(2 / BEAT_S)):
        load.beat(0)
        seen.append(load.allowed)
    assert seen == sorted(seen)
    assert max(later - before for before, later in pairwise(seen)) <= (1_000 * GROWTH + 1), (
        "not all who were sent away at once"
    )
    assert load.allowed == 1_000


@given(st.integers(1, 10_000), st.lists(st.floats(-1, 1e6), max_size=50))
def test_the_bound_stays_between_the_least_and_the_most(most: int, late: list[float]) -> None:
    load = Overload(most)
    for one in late:
        load.beat(one)
        assert LEAST <= load.allowed <= max(most, LEAST)
