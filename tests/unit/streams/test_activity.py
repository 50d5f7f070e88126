"""The account of a conversation: what is counted, when, and that nothing is counted twice."""

from __future__ import annotations

import math
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from schemas.heads import Activity, Head, Mode
from schemas.versions import window_start
from streams import policy
from streams.activity import RATE_TAU_S, VOLUME_TAU_S, Costs, advance, observe
from tests.unit.streams.support import COSTS, T0, WINDOW_MS, ordinary, stamp

HOUR_MS = 3_600_000
MEMBERS = 10
LOOKS_PER_HOUR = MEMBERS * COSTS.check_cost * COSTS.sync_rate * 3_600
RULES = ordinary()

spans_ms = st.integers(1, 3 * HOUR_MS)
sides = st.booleans()
activities = st.builds(
    Activity,
    at_ms=st.just(T0),
    stamp=st.just(7),
    window_ms=st.sampled_from([T0 - WINDOW_MS, T0]),
    rate=st.floats(0, 100),
    volume=st.floats(0, 100),
    excess=st.floats(0, 1e6),
)
gaps_ms = st.lists(st.integers(0, 2 * WINDOW_MS), min_size=1, max_size=30)


def later(activity: Activity, ms: int, *, diffused: bool = False) -> Activity:
    return advance(activity, COSTS, diffused=diffused, members=MEMBERS, now_ms=activity.at_ms + ms)


def counted(activity: Activity, number: int = 1, *, diffused: bool = True) -> Activity:
    return observe(activity, COSTS, diffused=diffused, members=MEMBERS, stamp=stamp(number))


def same(one: Activity, other: Activity) -> bool:
    return asdict(one) == pytest.approx(asdict(other), rel=1e-9, abs=1e-9)


# Time.


def test_time_begins_with_the_first_event() -> None:
    """What went before is not known, and is no hour since 1970 in which everybody looked."""
    begun = advance(Activity(), COSTS, diffused=False, members=MEMBERS, now_ms=T0)
    assert begun == Activity(at_ms=T0)


def test_both_rates_decay_with_their_own_time() -> None:
    busy = Activity(at_ms=T0, rate=1.0, volume=1.0)
    assert later(busy, int(RATE_TAU_S * 1_000)).rate == pytest.approx(1 / math.e)
    assert later(busy, int(VOLUME_TAU_S * 1_000)).volume == pytest.approx(1 / math.e)


@given(activities, sides, st.integers(0, HOUR_MS))
def test_an_earlier_time_changes_nothing(activity: Activity, diffused: bool, ms: int) -> None:
    assert later(activity, -ms, diffused=diffused) == activity


@given(activities, spans_ms)
def test_reading_adds_every_look_of_every_member(activity: Activity, ms: int) -> None:
    grown = later(activity, ms, diffused=False).excess - activity.excess
    assert grown == pytest.approx(LOOKS_PER_HOUR * ms / HOUR_MS, rel=1e-6, abs=1e-6)


@given(activities, spans_ms)
def test_diffusing_is_credited_with_the_looks_it_saves(activity: Activity, ms: int) -> None:
    saved = LOOKS_PER_HOUR * ms / HOUR_MS
    left = later(activity, ms, diffused=True).excess
    assert left == pytest.approx(max(0.0, activity.excess - saved), rel=1e-6, abs=1e-6)


@given(activities, sides, st.lists(spans_ms, min_size=1, max_size=8))
def test_however_time_is_cut_it_counts_the_same(
    activity: Activity, diffused: bool, cuts: list[int]
) -> None:
    """A sweep that looks in between, a switch, a replay: none may change what is owed."""
    at_once = later(activity, sum(cuts), diffused=diffused)
    in_pieces = reduce(lambda a, ms: later(a, ms, diffused=diffused), cuts, activity)
    assert same(at_once, in_pieces)


# Messages.


def test_the_first_message_of_a_window_is_a_row_and_a_mark_the_others_a_mark() -> None:
    activity, paid = Activity(at_ms=T0), []
    for number, at_ms in enumerate((T0, T0, T0 + WINDOW_MS - 1, T0 + WINDOW_MS), 1):
        # No time passes for the account, so that only the messages show in it.
        before = replace(activity, at_ms=at_ms)
        activity = counted(before, number)
        paid.append(activity.excess - before.excess)
    row, mark = MEMBERS * COSTS.row_cost, MEMBERS * COSTS.mark_cost
    assert paid == pytest.approx([row + mark, mark, mark, row + mark])


@given(st.lists(st.integers(0, 5 * WINDOW_MS), min_size=1, max_size=30).map(sorted))
def test_rows_are_as_many_as_windows_with_a_message_and_marks_as_messages(ats: list[int]) -> None:
    activity = Activity()
    for number, at_ms in enumerate(ats, 1):
        activity = counted(replace(activity, at_ms=T0 + at_ms), number)
    windows = {window_start(T0 + at_ms, WINDOW_MS) for at_ms in ats}
    each = COSTS.row_cost * len(windows) + COSTS.mark_cost * len(ats)
    assert activity.excess == pytest.approx(MEMBERS * each)


def test_a_message_of_a_read_conversation_is_what_was_saved() -> None:
    owing = Activity(at_ms=T0, excess=100.0)
    assert counted(owing, diffused=False).excess == pytest.approx(
        100.0 - MEMBERS * (COSTS.row_cost + COSTS.mark_cost)
    )


@given(activities, st.lists(st.tuples(st.integers(0, HOUR_MS), sides), max_size=30))
def test_nothing_is_ever_below_zero(activity: Activity, steps: list[tuple[int, bool]]) -> None:
    """A long time in the right mode is no credit for a long time in the wrong one."""
    for number, (ms, diffused) in enumerate(steps, 8):
        activity = counted(later(activity, ms, diffused=diffused), number, diffused=diffused)
        assert min(activity.rate, activity.volume, activity.excess) >= 0


@pytest.mark.parametrize("gap_ms", [1_000, 10_000, 60_000])
def test_a_constant_rate_is_what_the_averages_come_to(gap_ms: int) -> None:
    activity = Activity(at_ms=T0)
    for number in range(1, 8 * int(VOLUME_TAU_S * 1_000) // gap_ms):
        activity = counted(later(activity, gap_ms), number)
    # Right after a message an average stands above the mean, by half a message.
    assert activity.rate - 0.5 / RATE_TAU_S == pytest.approx(1_000 / gap_ms, rel=0.02)
    assert activity.volume - 0.5 / VOLUME_TAU_S == pytest.approx(1_000 / gap_ms, rel=0.02)


# Costs.


@given(st.floats(0, 1e3), st.floats(0, 1e3))
def test_pushing_costs_a_row_a_window_at_most(rate: float, more: float) -> None:
    assert COSTS.push(rate) <= COSTS.push(rate + more) <= 1_000 / WINDOW_MS


def test_a_switch_costs_two_rows_a_member_and_two_heads() -> None:
    assert Costs(row_cost=3.0, mark_cost=1.0, check_cost=1.0, sync_rate=1.0, window_ms=1).switch(
        5
    ) == 3.0 * (2 * 5 + 2)


@pytest.mark.parametrize(
    ("rate", "volume", "pays"),
    [
        (0.0, 0.0, True),
        (COSTS.check_cost * COSTS.sync_rate, 0.0, False),  # as dear as looking is no gain
        (COSTS.check_cost * COSTS.sync_rate * 0.99, 0.0, True),
        (1e6, 0.0, False),
        (0.0, COSTS.check_cost * COSTS.sync_rate / COSTS.mark_cost, False),
        (0.0, COSTS.check_cost * COSTS.sync_rate / COSTS.mark_cost * 0.99, True),
    ],
)
def test_pushing_pays_while_rows_and_marks_are_cheaper_than_looks(
    rate: float, volume: float, pays: bool
) -> None:
    assert COSTS.pushing_pays(Activity(rate=rate, volume=volume)) is pays


# As the policy counts: by head, once a stamp.


def read(head: Head, number: int, at_ms: int) -> Head:
    return policy.observe(head, RULES, stamp(number), at_ms)


@given(sides, gaps_ms, st.data())
def test_a_replay_counts_nothing_twice(
    diffused: bool, gaps: list[int], data: st.DataObject
) -> None:
    mode = Mode.WRITE if diffused else Mode.READ
    events = [(number, T0 + sum(gaps[:number])) for number in range(1, len(gaps) + 1)]
    first = Head("sg_1", mode=mode, member_count=MEMBERS)
    for event in events:
        first = read(first, *event)
    again = first
    for event in events[data.draw(st.integers(0, len(events))) :]:
        again = read(again, *event)
    assert again is first


@given(sides, gaps_ms, st.data())
def test_a_worker_that_reads_the_head_again_counts_as_the_one_that_held_it(
    diffused: bool, gaps: list[int], data: st.DataObject
) -> None:
    """Cassandra does not keep which window had the last message. Two workers that count otherwise
    decide otherwise on the same events, and the fence of the one then stands against the mode that
    the other holds.
    """
    held = Head("sg_1", mode=Mode.WRITE if diffused else Mode.READ, member_count=MEMBERS)
    at_ms = T0
    for number, gap_ms in enumerate(gaps, 1):
        at_ms += gap_ms
        found = held
        if data.draw(st.booleans()):
            found = replace(held, activity=replace(held.activity, window_ms=0))
        held, found = read(held, number, at_ms), read(found, number, at_ms)
        assert found == held


def test_of_small_conversations_no_activity_is_kept() -> None:
    few = Head("sg_1", member_count=RULES.small_members)
    assert read(few, 1, T0) is few
    assert read(replace(few, member_count=RULES.small_members + 1), 1, T0).activity.stamp


def test_a_message_out_of_order_counts_at_the_time_already_reached() -> None:
    head = read(Head("sg_1", member_count=MEMBERS), 1, T0 + 5_000)
    found = read(head, 2, T0).activity
    assert (found.at_ms, found.stamp) == (T0 + 5_000, stamp(2))
    assert found.rate == pytest.approx(2 / RATE_TAU_S)
