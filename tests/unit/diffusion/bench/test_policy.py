"""The yardsticks of the policy's cost: by hand, against every course there is, and each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.bench.policy import SIZE_ONLY_MEMBERS, Costed, _Account, _Live, cost, fixed, optimum
from diffusion.bench.worlds import DAY_S, MADE, Message, World, steady
from streams.activity import Costs
from streams.policy import Rules

WINDOW_S = 600.0
RATE = 0.01
COSTS = Costs(row_cost=1.0, mark_cost=0.05, check_cost=0.5, sync_rate=RATE, window_ms=600_000)
SYNCS = steady(RATE)
SWEEP_S = 30.0


def rules(small_members: int = 1, dwell_s: float = 0.0) -> Rules:
    return Rules(
        members_max=10_000,
        members_return=9_999,
        small_members=small_members,
        rows_per_second_max=1e9,
        dwell_s=dwell_s,
        costs=COSTS,
    )


RULES, NEVER = rules(), rules(small_members=9_999)
"""By cost alone; and never anything but diffused."""

gaps_s = st.one_of(st.integers(0, 60), st.integers(0, 5_000), st.just(600))
sizes = st.sampled_from([2, 10, 50, 600])


@st.composite
def courses(draw: st.DrawFn, longest: int) -> tuple[list[Message], float]:
    """Messages in order of time, sizes as they come, and how long the conversation is watched."""
    gaps = draw(st.lists(gaps_s, min_size=1, max_size=longest))
    times = list(itertools.accumulate(gaps))
    crowd = draw(st.one_of(sizes.map(lambda n: [n] * len(gaps)), lists_of(len(gaps))))
    messages = [(float(at_s), members) for at_s, members in zip(times, crowd, strict=True)]
    return messages, messages[-1][0] + draw(gaps_s)


def lists_of(length: int) -> st.SearchStrategy[list[int]]:
    return st.lists(sizes, min_size=length, max_size=length)


def live(messages: Sequence[Message], until_s: float, by: Rules) -> tuple[float, int]:
    """What the engine's own decision costs, and its switches."""
    account = _Account(by, SYNCS)
    course = _Live(by, account, SWEEP_S)
    course.play(messages, until_s)
    return account.total, course.switches


def every_course(messages: Sequence[Message], until_s: float, *, row_once: bool) -> float:
    """Least cost over all courses of modes: one for each message, one for the time behind it.

    `row_once`: a window's row is due at its first message or never, as the optimum has it; else
    with the first that is diffused, as it truly is.
    """
    least = math.inf
    ends = [*(at_s for at_s, _ in messages[1:]), until_s]
    for course in itertools.product("WR", repeat=2 * len(messages)):
        total, mode = 0.0, "W"
        seen: set[int] = set()
        for number, ((at_s, members), end_s) in enumerate(zip(messages, ends, strict=True)):
            on_message, behind = course[2 * number : 2 * number + 2]
            total += COSTS.switch(members) * ((mode != on_message) + (on_message != behind))
            mode = behind
            window = int(at_s // WINDOW_S)
            if on_message == "W":
                rows = 0 if window in seen else members
                total += COSTS.row_cost * rows + COSTS.mark_cost * members
            if on_message == "W" or row_once:
                seen.add(window)
            if behind == "R":
                total += COSTS.check_cost * members * SYNCS(at_s, end_s)
        least = min(least, total)
    return least


def unpaid(messages: Sequence[Message], members_max: float) -> float:
    """The switches that a fixed bound makes and is not charged with; all begin diffused."""
    sides = [False, *(members > members_max for _, members in messages)]
    return sum(
        COSTS.switch(members)
        for (_, members), before, now in zip(messages, sides, sides[1:], strict=False)
        if before is not now
    )


# By hand.

TALK: list[Message] = [(0.0, 10), (30.0, 10), (700.0, 10)]


def test_always_diffused_is_a_row_a_window_and_a_mark_a_message() -> None:
    found = fixed(TALK, 1_000.0, RULES, SYNCS, members_max=math.inf)
    assert found == pytest.approx(2 * 10 * 1.0 + 3 * 10 * 0.05)


def test_never_diffused_is_every_look_from_the_first_message_on() -> None:
    found = fixed(TALK, 1_000.0, RULES, SYNCS, members_max=0)
    assert found == pytest.approx(10 * 0.5 * RATE * 1_000)


def test_a_bound_diffuses_up_to_it_inclusive() -> None:
    growing = [(0.0, 10), (100.0, 11), (400.0, 10)]
    found = fixed(growing, 1_000.0, RULES, SYNCS, members_max=10)
    looks = 11 * 0.5 * RATE * 300
    assert found == pytest.approx(10 * 1.05 + looks + 10 * 0.05)


def test_the_optimum_stays_where_a_switch_would_not_be_earned() -> None:
    assert optimum(TALK, 1_000.0, RULES, SYNCS) == pytest.approx(21.5)


def test_the_optimum_leaves_what_is_busy_and_is_back_for_the_silence() -> None:
    """A thousand messages in an hour, then a day of nothing; 36 syncs an hour and member."""
    busy = [(3.6 * n, 10) for n in range(1_000)]
    switch = 1.0 * (2 * 10 + 2)
    looks_of_the_hour = 10 * 0.5 * RATE * 3.6 * 999
    diffused = 6 * 10 + 1_000 * 10 * 0.05
    assert optimum(busy, 3_600.0 + DAY_S, RULES, SYNCS) == pytest.approx(
        2 * switch + looks_of_the_hour
    )
    assert 2 * switch + looks_of_the_hour < diffused


def test_a_world_is_the_sum_of_its_conversations() -> None:
    small, large = [(0.0, 10), (50.0, 10)], [(0.0, SIZE_ONLY_MEMBERS + 1)]
    world = World("hand", MADE, [small, large], [100.0, 200.0], SYNCS)
    found = cost(world, NEVER, SWEEP_S)
    looks = 0.5 * RATE
    size = SIZE_ONLY_MEMBERS + 1
    assert (found.conversations, found.messages, found.switches) == (2, 3, 0)
    assert found.always_write == pytest.approx(10 * 1.1 + size * 1.05, abs=0.1)
    assert found.always_read == pytest.approx(10 * looks * 100 + size * looks * 200, abs=0.1)
    assert found.size_only == pytest.approx(10 * 1.1 + size * looks * 200, abs=0.1)
    assert found.cost == found.always_write


def test_ratios_are_against_the_optimum_and_the_better_static_way() -> None:
    found = Costed("hand", MADE, 1, 1, 30.0, 10.0, 60.0, 20.0, 25.0, 2)
    assert (found.ratio, found.ratio_static) == (3.0, 1.5)
    assert not found.held, "half as much again as never diffusing"
    assert Costed("hand", MADE, 1, 1, 22.0, 10.0, 60.0, 20.0, 25.0, 2).held
    assert not Costed("hand", not MADE, 1, 1, 22.0, 10.0, 60.0, 20.0, 25.0, 2).held
    assert found.as_json()["ratio"] == 3.0


# Against each other.


@given(courses(longest=4))
def test_the_optimum_is_the_best_of_all_courses(course: tuple[list[Message], float]) -> None:
    messages, until_s = course
    found = optimum(messages, until_s, RULES, SYNCS)
    assert found == pytest.approx(every_course(messages, until_s, row_once=True))
    assert found <= every_course(messages, until_s, row_once=False) + 1e-9


@given(courses(longest=60))
def test_nothing_is_below_the_optimum(course: tuple[list[Message], float]) -> None:
    """A fixed bound is not charged with its switches: with them it is no exception."""
    messages, until_s = course
    best = optimum(messages, until_s, RULES, SYNCS) - 1e-6
    assert best <= live(messages, until_s, RULES)[0]
    for bound in (math.inf, SIZE_ONLY_MEMBERS, 0):
        sized = fixed(messages, until_s, RULES, SYNCS, members_max=bound)
        assert best <= sized + unpaid(messages, bound)


@given(courses(longest=60))
def test_who_never_switches_pays_for_diffusing_always(
    course: tuple[list[Message], float],
) -> None:
    messages, until_s = course
    always = fixed(messages, until_s, NEVER, SYNCS, members_max=math.inf)
    assert live(messages, until_s, NEVER) == (pytest.approx(always), 0)


@given(st.integers(2, 300), st.floats(0.5, 4_000), st.floats(600, 40_000))
def test_the_live_account_is_at_most_three_times_the_optimum_and_three_switches(
    members: int, gap_s: float, until_s: float
) -> None:
    """The bound of the rule, and what the end of the world leaves unfinished: a switch that has
    not paid off yet, its waiting, and the last message.
    """
    count = min(2_000, int(until_s / gap_s) + 1)
    messages = [(number * gap_s, members) for number in range(count)]
    end_s = messages[-1][0] + gap_s
    total, _ = live(messages, end_s, RULES)
    spare = 3 * COSTS.switch(members)
    assert total <= 3 * optimum(messages, end_s, RULES, SYNCS) + spare


def test_the_live_account_does_switch() -> None:
    """Else the comparisons would say nothing."""
    busy = [(3.6 * n, 100) for n in range(1_000)]
    total, switches = live(busy, 3_600.0 + DAY_S, RULES)
    assert switches == 2
    assert total < fixed(busy, 3_600.0 + DAY_S, RULES, SYNCS, members_max=math.inf)
