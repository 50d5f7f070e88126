"""The pace of bulk changes: a bucket that fills with time and holds a second's worth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.pace import Pace

PER_SECOND = 100.0


class Time:
    """A clock that moves when somebody sleeps, or a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept_s = 0.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds
        self.slept_s += seconds


def paced(time: Time, per_second: float = PER_SECOND) -> Pace:
    return Pace(per_second, clock=time.clock, sleep=time.sleep)


def test_a_seconds_worth_passes_at_once() -> None:
    time = Time()
    paced(time).take(100)
    assert time.slept_s == 0


def test_what_is_above_waits_until_there_is_room() -> None:
    time = Time()
    pace = paced(time)
    pace.take(100)
    pace.take(50)
    assert time.slept_s == pytest.approx(0.5)
    pace.take(50)
    assert time.slept_s == pytest.approx(1.0)


def test_more_than_a_seconds_worth_passes_and_is_paid_off() -> None:
    """The largest change names more users than a slow pace has in a second; it must not hang."""
    time = Time()
    pace = paced(time)
    pace.take(500)
    assert time.slept_s == pytest.approx(4.0)
    pace.take(1)
    assert time.slept_s == pytest.approx(4.01)


def test_room_grows_with_time_up_to_a_second() -> None:
    time = Time()
    pace = paced(time)
    pace.take(100)
    time.now_s += 0.25
    pace.take(25)
    assert time.slept_s == 0
    time.now_s += 3_600
    pace.take(101)
    assert time.slept_s == pytest.approx(0.01), "an hour of silence is no credit for a burst"


def test_a_clock_that_stands_still_makes_no_room() -> None:
    time = Time()
    pace = paced(time)
    pace.take(100)
    for _ in range(3):
        pace.take(0)
    assert time.slept_s == 0
    pace.take(10)
    assert time.slept_s == pytest.approx(0.1)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(0, 5)), min_size=1, max_size=40),
    st.floats(1, 10_000),
)
def test_no_stretch_of_time_sees_more_than_the_rate_and_a_second_of_it(
    takes: list[tuple[int, float]], per_second: float
) -> None:
    """Counted when it passes: what is larger than a second's worth waits first."""
    time = Time()
    pace = paced(time, per_second)
    passed: list[tuple[float, int]] = []
    for users, idle_s in takes:
        time.now_s += idle_s
        pace.take(users)
        passed.append((time.now_s, users))
    for start in range(len(passed)):
        total = 0
        for at_s, users in passed[start:]:
            total += users
            stretch_s = at_s - passed[start][0]
            # The first of a stretch may have waited before it began.
            allowed = per_second * (stretch_s + 1) + passed[start][1]
            assert total <= allowed * (1 + 1e-9) + 1e-6


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40))
def test_nobody_waits_longer_than_the_rate_asks(takes: list[int]) -> None:
    time = Time()
    pace = paced(time)
    for users in takes:
        pace.take(users)
    assert time.slept_s == pytest.approx(max(0.0, sum(takes) / PER_SECOND - 1))
