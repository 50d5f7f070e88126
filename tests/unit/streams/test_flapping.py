"""No flapping: a conversation switches seldom, whatever its messages do.

A course plays messages and sweeps of simulated days through the policy alone, as a worker does: a
message is counted and, if it was diffused, decided on; a sweep looks at what is not diffused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace as with_
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.heads import Head, Mode, ModeReason
from streams.policy import Rules, observe, switch
from tests.unit.streams.support import COSTS, T0, ordinary

HOUR_S, DAY_S = 3_600.0, 86_400.0
MESSAGES_MAX = 4_000
RULES = ordinary()
CAPS = {ModeReason.OVERRIDE, ModeReason.MEMBERS, ModeReason.ROWS}
"""Reasons that wait for no dwell: somebody decided, or one conversation would cost too much."""


class Switched(NamedTuple):
    at_s: float
    mode: Mode
    reason: ModeReason


def course(
    messages: Iterable[tuple[float, int]], until_s: float, rules: Rules, sweep_s: float
) -> list[Switched]:
    """Play (seconds, members at that moment), in order of time; returns the switches."""
    head, stamp, switched = Head("sg_1"), 0, []

    def decide(at_s: float) -> None:
        nonlocal head
        at_ms = T0 + int(at_s * 1_000)
        found = switch(head, head.member_count, rules, stamp, at_ms)
        if found is not None:
            head = found.after
            switched.append(Switched(at_s, head.mode, head.mode_reason))

    def sweep(start_s: float, end_s: float) -> None:
        at_s = (start_s // sweep_s + 1) * sweep_s
        while head.mode is Mode.READ and at_s < end_s:
            decide(at_s)
            at_s += sweep_s

    last_s = 0.0
    for at_s, members in messages:
        if at_s >= until_s:
            break
        sweep(last_s, at_s)
        last_s, stamp = at_s, stamp + 1
        head = replace(head, member_count=members)
        head = observe(head, rules, stamp, T0 + int(at_s * 1_000))
        if head.mode.diffuses:
            decide(at_s)
    sweep(last_s, until_s)
    return switched


def steady(gap_s: float, members: int, start_s: float = 0.0) -> Iterator[tuple[float, int]]:
    at_s = start_s
    while True:
        yield at_s, members
        at_s += gap_s


def swinging(period_s: float, low: float, high: float, members: int) -> Iterator[tuple[float, int]]:
    """Messages at a rate that swings between two: one each time its integral has grown by one."""
    at_s, owed = 0.0, 0.0
    while True:
        swing = (1 - math.cos(2 * math.pi * at_s / period_s)) / 2
        rate = low + (high - low) * swing
        # Never past a part of the period, or a low rate would sleep through the high one.
        step_s = min((1 - owed) / rate, max(period_s / 8, 10.0))
        at_s += step_s
        owed += step_s * rate
        if owed > 0.999:
            owed = 0.0
            yield at_s, members


def bursts(
    period_s: float, share: float, gap_s: float, members: int
) -> Iterator[tuple[float, int]]:
    """Silence, and then, for a share of each period, messages at a constant rate."""
    start_s = 0.0
    while True:
        at_s = start_s
        while at_s < start_s + period_s * share:
            yield at_s, members
            at_s += gap_s
        start_s += period_s


def log_floats(low: float, high: float) -> st.SearchStrategy[float]:
    """As many drawn between 1 and 10 as between 10 and 100."""
    return st.floats(math.log(low), math.log(high)).map(math.exp)


sizes = st.integers(RULES.small_members + 1, RULES.members_max)
gaps_s = log_floats(1.0, 12 * HOUR_S)
periods_s = log_floats(30.0, DAY_S)
sweeps_s = st.sampled_from([30.0, 300.0])
# Dearer marks than rows are no marks: a mark folds into a row that is written anyway.
prices = st.builds(
    with_,
    st.just(COSTS),
    mark_cost=log_floats(0.001, 0.9),
    check_cost=log_floats(0.05, 5.0),
    sync_rate=log_floats(0.5, 60.0).map(lambda per_hour: per_hour / HOUR_S),
)
ordinary_or_not = st.one_of(st.just(RULES), prices.map(lambda costs: ordinary(costs=costs)))
few = settings(max_examples=40, deadline=None)


def lasting_s(gap_s: float) -> float:
    """Three days, or as many messages as a test has time for."""
    return min(3 * DAY_S, MESSAGES_MAX * gap_s)


def check(switched: list[Switched], until_s: float, rules: Rules) -> None:
    for (before_s, _, _), (at_s, _, reason) in pairwise(switched):
        assert reason in CAPS or at_s - before_s >= rules.dwell_s
    if not any(one.reason in CAPS for one in switched):
        assert len(switched) <= 1 + until_s / rules.dwell_s
    # Whatever sends it away, it does not come back within the dwell: caps only send away here.
    for before, now in pairwise(switched):
        assert now.mode is Mode.READ or now.at_s - before.at_s >= rules.dwell_s


@few
@given(gaps_s, sizes, ordinary_or_not, sweeps_s, st.floats(0, 600))
def test_at_a_constant_rate_it_switches_at_most_twice(
    gap_s: float, members: int, rules: Rules, sweep_s: float, start_s: float
) -> None:
    until_s = lasting_s(gap_s)
    switched = course(steady(gap_s, members, start_s), until_s, rules, sweep_s)
    check(switched, until_s, rules)
    assert len(switched) <= 2


@few
@given(periods_s, log_floats(1e-5, 0.01), log_floats(1e-4, 2.0), sizes, ordinary_or_not, sweeps_s)
def test_however_the_rate_swings_switches_are_a_dwell_apart(
    period_s: float, low: float, high: float, members: int, rules: Rules, sweep_s: float
) -> None:
    until_s = min(3 * DAY_S, 2 * MESSAGES_MAX / (low + high))
    switched = course(swinging(period_s, low, low + high, members), until_s, rules, sweep_s)
    check(switched, until_s, rules)


@few
@given(periods_s, st.floats(0.01, 0.9), log_floats(0.5, 600.0), sizes, ordinary_or_not, sweeps_s)
def test_however_bursts_come_switches_are_a_dwell_apart(
    period_s: float, share: float, gap_s: float, members: int, rules: Rules, sweep_s: float
) -> None:
    until_s = min(
        3 * DAY_S, MESSAGES_MAX * max(gap_s, period_s) / max(1.0, period_s * share / gap_s)
    )
    switched = course(bursts(period_s, share, gap_s, members), until_s, rules, sweep_s)
    check(switched, until_s, rules)


@few
@given(periods_s, st.floats(0.01, 0.9), log_floats(0.5, 600.0), sizes, sweeps_s, log_floats(0.1, 8))
def test_a_bound_on_rows_sends_away_at_once_and_brings_nobody_back_before_the_dwell(
    period_s: float, share: float, gap_s: float, members: int, sweep_s: float, rows: float
) -> None:
    rules = ordinary(rows_per_second_max=rows)
    until_s = min(DAY_S, MESSAGES_MAX * gap_s)
    switched = course(bursts(period_s, share, gap_s, members), until_s, rules, sweep_s)
    check(switched, until_s, rules)
    assert len(switched) <= 2 * (1 + until_s / rules.dwell_s)


@few
@given(log_floats(1.0, 600.0), st.lists(st.integers(-1, 1), min_size=100, max_size=400))
def test_a_group_at_the_edge_of_its_size_does_not_switch_with_every_join(
    gap_s: float, steps: list[int]
) -> None:
    rules = ordinary(members_max=50, members_return=40)
    members, messages = 50, []
    for number, step in enumerate(steps):
        members = max(41, members + step)
        messages.append((number * gap_s, members))
    switched = course(messages, len(steps) * gap_s, rules, 30.0)
    assert [one for one in switched if one.reason is ModeReason.MEMBERS][1:] == []


@few
@given(gaps_s, sizes, st.lists(log_floats(1, 6 * HOUR_S), min_size=1, max_size=40))
def test_irregular_messages_are_no_exception(gap_s: float, members: int, gaps: list[float]) -> None:
    times, at_s = [], 0.0
    for number in range(400):
        at_s += gaps[number % len(gaps)] + gap_s / 10
        times.append((at_s, members))
    switched = course(times, at_s, RULES, 300.0)
    check(switched, at_s, RULES)


def test_the_courses_do_switch() -> None:
    """Else the laws above would say nothing."""
    busy = course(steady(1.0, 100), HOUR_S, RULES, 30.0)
    assert [one.mode for one in busy] == [Mode.READ]
    day = course(bursts(DAY_S / 2, 0.05, 5.0, 100), 3 * DAY_S, RULES, 30.0)
    assert [one.mode for one in day] == [Mode.READ, Mode.WRITE] * 6
    assert {one.reason for one in day} == {ModeReason.COST}
    large = course(steady(1.0, 4_000), HOUR_S, ordinary(rows_per_second_max=1.0), 30.0)
    assert large[0].reason is ModeReason.ROWS


def test_without_the_dwell_it_would_flap() -> None:
    """The law bites: dear looks, dear marks and bursts that come every two minutes."""
    costs = with_(COSTS, mark_cost=0.5, check_cost=5.0, sync_rate=60 / HOUR_S)
    messages = list(itertools.takewhile(lambda one: one[0] < HOUR_S, bursts(120, 0.4, 1.0, 100)))
    hasty = course(messages, HOUR_S, ordinary(costs=costs, dwell_s=0), 30.0)
    assert len(hasty) > 2 * HOUR_S / RULES.dwell_s
    with pytest.raises(AssertionError):
        check(hasty, HOUR_S, RULES)
    check(course(messages, HOUR_S, ordinary(costs=costs), 30.0), HOUR_S, RULES)
