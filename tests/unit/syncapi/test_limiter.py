"""The limiter: never more than a burst and the rate, each key for itself, in bounded memory."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncapi.limiter import SLACK_S, Limiter

rates = st.floats(0.01, 1_000)
bursts = st.integers(1, 50)
starts = st.floats(0, 1e7)


def taken(limiter: Limiter, key: str, times: list[float]) -> int:
    return sum(limiter.take(key, at) == 0 for at in times)


def most(rate: float, burst: int, seconds: float) -> float:
    return burst + rate * (seconds + 2 * SLACK_S)


@given(rates, bursts, starts, st.lists(st.floats(0, 20), min_size=1, max_size=300))
def test_no_more_than_a_burst_and_the_rate_is_taken_over_any_span(
    rate: float, burst: int, start: float, offsets: list[float]
) -> None:
    limiter = Limiter(rate, burst, 10)
    accepted = [at for at in sorted(start + o for o in offsets) if limiter.take("ann", at) == 0]
    for first, at in enumerate(accepted):
        for last in range(first, len(accepted)):
            assert last - first + 1 <= most(rate, burst, accepted[last] - at) + 1e-6


@given(rates, bursts, starts)
def test_a_whole_burst_is_taken_at_once_and_again_after_the_time_it_takes(
    rate: float, burst: int, start: float
) -> None:
    limiter = Limiter(rate, burst, 10)
    for at in (start, start + burst / rate + SLACK_S):
        assert taken(limiter, "ann", [at] * burst) == burst
        assert limiter.take("ann", at) > 0


@given(rates, bursts, starts, st.integers(1, 100))
def test_who_comes_when_told_is_let_in_and_not_before(
    rate: float, burst: int, start: float, requests: int
) -> None:
    limiter, now_s = Limiter(rate, burst, 10), start
    for _ in range(requests):
        wait_s = limiter.take("ann", now_s)
        if wait_s:
            assert wait_s <= 1 / rate + SLACK_S, "one step, however often one asks"
            assert limiter.take("ann", now_s + wait_s / 2) > 0 or wait_s < 4 * SLACK_S
            now_s += wait_s
            assert limiter.take("ann", now_s) == 0


@given(rates, bursts, st.lists(st.sampled_from(["ann", "bob", "cid"]), max_size=300))
def test_what_one_key_does_changes_nothing_for_another(
    rate: float, burst: int, keys: list[str]
) -> None:
    together, alone = Limiter(rate, burst, 10), Limiter(rate, burst, 10)
    for number, key in enumerate(keys):
        waits = together.take(key, number / 10)
        if key == "bob":
            assert waits == alone.take(key, number / 10)


@given(rates, bursts, starts, st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_a_clock_that_jumps_locks_nobody_out_and_gives_nothing_but_for_time_that_passed(
    rate: float, burst: int, start: float, jumps: list[float]
) -> None:
    limiter = Limiter(rate, burst, 10)
    times = [start]
    for jump in jumps:
        times.append(times[-1] + jump)
    accepted = 0
    for at in times:
        wait_s = limiter.take("ann", at)
        accepted += wait_s == 0
        assert wait_s <= burst / rate + 1e-3
    passed = sum(max(0.0, later - before) for before, later in pairwise(times))
    assert accepted <= most(rate, burst, passed) + len(times) * 1e-3


def test_no_more_keys_are_remembered_than_may_be_and_the_one_long_gone_is_forgotten() -> None:
    limiter = Limiter(1, 2, 3)
    for key in ("ann", "bob", "cid"):
        assert taken(limiter, key, [0, 0, 0]) == 2
    assert limiter.take("ann", 0.9) > 0
    assert limiter.take("ann", 1) == 0
    assert taken(limiter, "dan", [1, 1, 1]) == 2
    assert len(limiter) == 3
    assert limiter.take("ann", 1) > 0, "asked last, so is remembered"
    assert taken(limiter, "bob", [1, 1, 1]) == 2, "forgotten: a whole burst again"
    assert len(limiter) == 3


@given(st.lists(st.integers(0, 1_000), max_size=300), st.integers(1, 20))
def test_memory_is_bounded_whoever_asks(keys: list[int], keys_max: int) -> None:
    limiter = Limiter(10, 1, keys_max)
    for number, key in enumerate(keys):
        limiter.take(str(key), number / 1_000)
        limiter.charge(str(key + 1), number / 1_000)
        assert len(limiter) <= keys_max


def test_looking_counts_nothing() -> None:
    limiter = Limiter(1, 1, 10)
    assert [limiter.wait_s("ann", 0) for _ in range(9)] == [0] * 9
    assert len(limiter) == 0
    assert limiter.take("ann", 0) == 0
    assert limiter.wait_s("ann", 0.25) == pytest.approx(0.75)
    assert limiter.wait_s("ann", 1) == 0


def test_a_charge_is_paid_back_at_the_rate_and_nobody_gets_into_debt() -> None:
    limiter = Limiter(2, 10, 10)
    limiter.charge("ann", 0, 4)
    assert taken(limiter, "ann", [0] * 20) == 6
    limiter.charge("ann", 0, 1_000_000)
    assert limiter.wait_s("ann", 0) == pytest.approx(0.5)
    assert math.isclose(limiter.take("ann", 0), 0.5)
