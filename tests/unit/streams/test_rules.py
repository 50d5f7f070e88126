"""The table of rules, walked from top to bottom; and what a switch does to the account."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.events import DiffusionOverride
from schemas.heads import Activity, Head, Mode, ModeReason
from streams import policy
from streams.activity import Costs
from streams.policy import (
    FENCES,
    ROWS_RETURN_SHARE,
    RULES,
    UNFINISHED,
    WRITE_MEMBERS_MAX,
    Answer,
    Question,
    Rule,
    Rules,
    stays,
    switch,
    wanted,
)
from tests.unit.streams.support import COSTS, T0, WINDOW_MS, ordinary, stamp

SETTINGS = ordinary(
    members_max=100, members_return=60, small_members=5, rows_per_second_max=0.05, dwell_s=300
)
DWELL_MS = 300_000
STABLE = (Mode.WRITE, Mode.READ)
QUIET, BUSY = Activity(at_ms=T0), Activity(at_ms=T0, rate=10.0, volume=10.0)


def asked(
    members: int = 20,
    mode: Mode = Mode.WRITE,
    reason: ModeReason = ModeReason.NEW,
    *,
    activity: Activity = QUIET,
    override: DiffusionOverride = "auto",
    since_ms: int | None = None,
    rules: Rules = SETTINGS,
) -> Question:
    """A question at `T0`; `since_ms`: how long ago the mode was entered, if ever."""
    head = Head(
        "sg_1",
        mode=mode,
        mode_reason=reason,
        mode_epoch=0 if since_ms is None else 2,
        mode_since_ms=0 if since_ms is None else T0 - since_ms,
        member_count=members,
        diffusion=override,
        activity=activity,
    )
    return Question(head, members, rules, T0)


def answer(q: Question) -> Answer:
    return wanted(q.head, q.members, q.rules, q.now_ms)


def owing(members: int, share: float, activity: Activity = QUIET) -> Activity:
    """An excess of `share` switches."""
    return replace(activity, excess=COSTS.switch(members) * share)


WRITE, READ = Mode.WRITE, Mode.READ
OVERRIDE, MEMBERS = ModeReason.OVERRIDE, ModeReason.MEMBERS
ROWS, COST, NEW = ModeReason.ROWS, ModeReason.COST, ModeReason.NEW
MANY = WRITE_MEMBERS_MAX + 1
HALF = int(0.05 * ROWS_RETURN_SHARE * WINDOW_MS / 1_000)
"""Members of a busy conversation that make just the rows at which it may return."""


class Case(NamedTuple):
    says: str
    question: Question
    answer: Answer | None


TABLE: dict[Rule, list[Case]] = {
    policy.too_large_for_any: [
        Case("above the bound", asked(MANY), (READ, MEMBERS)),
        Case("at the bound", asked(WRITE_MEMBERS_MAX), None),
    ],
    policy.overridden: [
        Case("read", asked(override="always_read"), (READ, OVERRIDE)),
        Case("write", asked(override="always_write"), (WRITE, OVERRIDE)),
        Case("none", asked(), None),
    ],
    policy.too_large: [
        Case("above", asked(101), (READ, MEMBERS)),
        Case("at the bound", asked(100), None),
        Case("left for its size", asked(61, READ, MEMBERS), (READ, MEMBERS)),
        Case("small enough to return", asked(60, READ, MEMBERS), None),
        Case("in between, left for something else", asked(61, READ, COST), None),
        Case("in between, came back for its size", asked(61, WRITE, MEMBERS), None),
    ],
    policy.too_many_rows: [
        Case("above", asked(31, activity=BUSY), (READ, ROWS)),
        Case("at the bound", asked(30, activity=BUSY), None),
        Case("left for its rows", asked(HALF + 1, READ, ROWS, activity=BUSY), (READ, ROWS)),
        Case("half of it", asked(HALF, READ, ROWS, activity=BUSY), None),
        Case("left for something else", asked(HALF + 1, READ, COST, activity=BUSY), None),
        Case("quiet", asked(100), None),
    ],
    policy.small: [
        Case("small", asked(5), (WRITE, MEMBERS)),
        Case("one more", asked(6), None),
    ],
    policy.freed: [
        Case("of its size", asked(60, READ, MEMBERS), (WRITE, MEMBERS)),
        Case("of an override", asked(60, READ, OVERRIDE), (WRITE, OVERRIDE)),
        Case("but pushing does not pay", asked(20, READ, MEMBERS, activity=BUSY), None),
        Case("left for its cost", asked(20, READ, COST), None),
        Case("left for its rows", asked(20, READ, ROWS), None),
        Case("is not in READ", asked(20, WRITE, OVERRIDE), None),
    ],
    policy.dwelling: [
        Case("just left", asked(20, READ, COST, since_ms=0), (READ, COST)),
        Case("still", asked(20, WRITE, COST, since_ms=DWELL_MS - 1), (WRITE, COST)),
        Case("long enough", asked(20, READ, COST, since_ms=DWELL_MS), None),
        Case("never switched", asked(20), None),
    ],
    policy.too_costly: [
        Case("diffused", asked(20, activity=owing(20, 1.0)), (READ, COST)),
        Case("read", asked(20, READ, COST, activity=owing(20, 1.0)), (WRITE, COST)),
        Case("just below", asked(20, activity=owing(20, 1 - 1e-9)), None),
        Case("just below", asked(20, READ, COST, activity=owing(20, 1 - 1e-9)), None),
    ],
}
CONTESTED: dict[tuple[Rule, Rule], Question] = {
    (policy.too_large_for_any, policy.overridden): asked(MANY, override="always_write"),
    (policy.overridden, policy.too_large): asked(101, override="always_write"),
    (policy.too_large, policy.too_many_rows): asked(101, activity=BUSY),
    (policy.too_many_rows, policy.small): asked(
        5, activity=BUSY, rules=ordinary(rows_per_second_max=0.005)
    ),
    (policy.small, policy.freed): asked(5, READ, OVERRIDE),
    (policy.freed, policy.dwelling): asked(20, READ, OVERRIDE, since_ms=0),
    (policy.dwelling, policy.too_costly): asked(20, since_ms=0, activity=owing(20, 9.0)),
}
"""Questions that two neighbours of the table answer otherwise: the upper one counts."""


def named(value: Any) -> str | None:
    return value.__name__ if callable(value) else None


def test_every_rule_is_walked() -> None:
    assert tuple(TABLE) == RULES
    assert tuple(CONTESTED) == tuple(pairwise(RULES))


@pytest.mark.parametrize(
    ("rule", "case"),
    [
        pytest.param(rule, case, id=f"{rule.__name__}: {case.says}")
        for rule, cases in TABLE.items()
        for case in cases
    ],
)
def test_a_rule_answers_what_is_its_own_and_nothing_else(rule: Rule, case: Case) -> None:
    assert rule(case.question) == case.answer


@pytest.mark.parametrize(
    "case",
    [case for cases in TABLE.values() for case in cases if case.answer],
    ids=lambda c: c.says,
)
def test_what_a_rule_answers_is_what_is_wanted_where_no_rule_above_it_speaks(case: Case) -> None:
    above = [rule(case.question) for rule in RULES]
    assert answer(case.question) == next(one for one in above if one)
    assert answer(case.question) == case.answer, "the table's own cases are not contested"


@pytest.mark.parametrize(("upper", "lower"), CONTESTED, ids=named)
def test_of_two_answers_the_upper_counts(upper: Rule, lower: Rule) -> None:
    question = CONTESTED[upper, lower]
    assert lower(question) not in {None, upper(question)}, "else nothing is contested"
    assert answer(question) == upper(question)


def test_every_reason_is_reached_in_both_directions_where_there_are_two() -> None:
    found = {case.answer for cases in TABLE.values() for case in cases}
    switches = {(READ, r) for r in (OVERRIDE, MEMBERS, ROWS, COST)} | {
        (WRITE, r) for r in (OVERRIDE, MEMBERS, COST)
    }
    assert switches <= found
    assert not any(one and one[1] is NEW for one in found), "nothing is decided for being new"


def test_without_an_answer_a_conversation_stays_as_it_is() -> None:
    for mode in STABLE:
        assert answer(asked(20, mode, COST)) == (mode, COST)


def test_what_the_table_decides_on_is_as_of_now() -> None:
    """Half an hour of silence, and a busy conversation is freed."""
    busy = asked(20, READ, MEMBERS, activity=replace(BUSY, rate=0.1, volume=0.01)).head
    assert wanted(busy, 20, SETTINGS, T0) == (READ, MEMBERS)
    assert wanted(busy, 20, SETTINGS, T0 + 1_800_000) == (WRITE, MEMBERS)


def test_the_cost_of_time_alone_brings_a_quiet_conversation_back() -> None:
    """What a sweep does: no message, and yet at some moment the looks have cost a switch."""
    quiet = asked(20, READ, COST, since_ms=DWELL_MS).head
    owed_s = COSTS.switch(20) / (20 * COSTS.check_cost * COSTS.sync_rate)
    assert switch(quiet, 20, SETTINGS, 0, T0 + int(owed_s * 1_000) - 1_000) is None
    assert switch(quiet, 20, SETTINGS, 0, T0 + int(owed_s * 1_000) + 1_000) is not None


def test_the_size_that_counts_is_the_one_told_and_not_the_one_stored() -> None:
    """In a batch members are known before their count is written."""
    assert wanted(asked(20).head, 101, SETTINGS, T0) == (READ, MEMBERS)


# Laws over all questions.

questions = st.builds(
    asked,
    st.one_of(st.integers(0, 130), st.just(MANY)),
    st.sampled_from(STABLE),
    st.sampled_from(ModeReason),
    activity=st.builds(
        Activity,
        at_ms=st.just(T0),
        rate=st.floats(0, 10),
        volume=st.floats(0, 10),
        excess=st.floats(0, 1_000),
    ),
    override=st.sampled_from(["auto", "always_write", "always_read"]),
    since_ms=st.none() | st.integers(0, 2 * DWELL_MS),
)


@given(questions)
def test_a_mode_changes_for_a_reason_that_holds(q: Question) -> None:
    mode, reason = answer(q)
    if mode is q.head.mode:
        return
    holds: dict[ModeReason, Callable[[], bool]] = {
        OVERRIDE: lambda: q.head.diffusion != "auto" or q.head.mode_reason is OVERRIDE,
        MEMBERS: lambda: (
            q.members > 100 or q.members <= (5 if q.head.mode_reason is not MEMBERS else 60)
        ),
        ROWS: lambda: mode is READ and q.rows_per_second > 0.05,
        COST: lambda: q.head.activity.excess >= COSTS.switch(q.members),
    }
    assert holds[reason]()


@given(questions)
def test_the_cost_has_no_say_for_a_while_after_a_switch(q: Question) -> None:
    mode, reason = answer(q)
    young = q.head.mode_epoch and T0 - q.head.mode_since_ms < DWELL_MS
    if young and mode is not q.head.mode:
        assert reason is not COST


@given(questions)
def test_what_is_too_large_or_overridden_is_so_whatever_it_costs(q: Question) -> None:
    mode, _ = answer(q)
    if q.members > WRITE_MEMBERS_MAX:
        assert mode is READ
    elif q.head.diffusion != "auto":
        assert mode is (READ if q.head.diffusion == "always_read" else WRITE)
    elif q.members > 100:
        assert mode is READ


@pytest.mark.parametrize(
    "wrong",
    [
        {"small_members": 0},
        {"small_members": 61},
        {"members_return": 100},
        {"members_max": WRITE_MEMBERS_MAX + 1},
    ],
)
def test_rules_out_of_order_are_a_programming_error(wrong: dict[str, int]) -> None:
    given = {"members_max": 100, "members_return": 60, "small_members": 5} | wrong
    with pytest.raises(AssertionError):
        ordinary(**given)


# The account at a switch.

accounts = st.builds(
    Activity,
    at_ms=st.integers(T0 - 3_600_000, T0),
    stamp=st.integers(1, 20),
    window_ms=st.just(T0),
    rate=st.floats(0, 10),
    volume=st.floats(0, 10),
    excess=st.floats(0, 1_000),
)


@given(st.sampled_from(Mode), accounts, st.integers(1, 30))
def test_a_switch_settles_the_account_as_of_now(mode: Mode, before: Activity, at: int) -> None:
    """Time before the switch is the old mode's, whoever carries the switch to its end."""
    override: DiffusionOverride = "always_write" if mode is READ else "always_read"
    head = replace(asked(20, mode, activity=before, override=override).head, mode_epoch=int(mode))
    found = switch(head, 20, SETTINGS, stamp(at), T0)
    assert found is not None
    account = found.after.activity
    assert account.excess == 0
    assert account.at_ms == T0
    assert account.stamp == max(before.stamp, stamp(at))
    advanced = policy.until(head, SETTINGS, T0).activity
    assert (account.rate, account.volume) == (advanced.rate, advanced.volume)


@given(st.sampled_from(STABLE), accounts)
def test_the_message_that_brought_the_switch_about_is_not_counted_in_the_new_mode(
    mode: Mode, before: Activity
) -> None:
    override: DiffusionOverride = "always_write" if mode is READ else "always_read"
    head = asked(20, mode, activity=before, override=override).head
    found = switch(head, 20, SETTINGS, stamp(40), T0)
    assert found is not None
    assert policy.observe(found.after, SETTINGS, stamp(40), T0) is found.after


@pytest.mark.parametrize("mode", Mode)
def test_in_between_the_account_is_that_of_the_mode_to_come(mode: Mode) -> None:
    """Whether the messages behind a switch come in its batch or in the next must not decide what
    they count for: those in its batch would be a claim for the way back.
    """
    head = asked(20, mode, activity=replace(QUIET, excess=100.0)).head
    diffused = UNFINISHED[mode].after.diffuses if mode in UNFINISHED else mode.diffuses
    counted = policy.observe(head, SETTINGS, stamp(9), T0).activity.excess
    assert (counted > 100.0) is diffused
    passed = policy.until(head, SETTINGS, T0 + 60_000).activity.excess
    assert (passed < 100.0) is diffused


@given(questions, st.integers(1, 9))
def test_a_switch_that_was_carried_out_needs_no_other_at_once(q: Question, number: int) -> None:
    found = switch(q.head, q.members, q.rules, stamp(number), T0)
    if found is None:
        return
    assert switch(found.after, q.members, q.rules, stamp(number), T0) is None


@given(questions, st.integers(1, 9))
def test_whoever_finds_it_open_ends_where_the_opener_would_have(q: Question, number: int) -> None:
    found = switch(q.head, q.members, q.rules, stamp(number), T0)
    if found is None:
        return
    again = switch(found.during, q.members, q.rules, stamp(number), T0)
    assert again is not None
    assert again.during == found.during
    assert again.after == found.after
    assert again.read_side is found.read_side
    assert FENCES[q.head.mode, again.after.mode].during is again.during.mode


def test_a_dear_mark_is_dear_for_a_message_that_folds_away() -> None:
    """The message volume of the day counts as well as the rate: marks cost although rows fold."""
    dear = Costs(row_cost=1.0, mark_cost=1.0, check_cost=0.5, sync_rate=4 / 3_600, window_ms=10**12)
    assert not dear.pushing_pays(Activity(volume=0.01))
    assert dear.pushing_pays(Activity(volume=0.0001))


@given(questions)
def test_what_stays_at_a_glance_stays_by_the_table(q: Question) -> None:
    if stays(q.head, q.members, q.rules):
        assert wanted(q.head, q.members, q.rules, q.now_ms)[0] is Mode.WRITE


def test_a_small_conversation_stays_at_a_glance_and_others_do_not() -> None:
    small = Head("sg_1", member_count=5)
    assert stays(small, 5, SETTINGS)
    assert not stays(small, 6, SETTINGS)
    assert not stays(replace(small, diffusion="always_read"), 5, SETTINGS)
    assert not stays(replace(small, activity=BUSY), 5, SETTINGS)
    for mode in set(Mode) - {Mode.WRITE}:
        assert not stays(replace(small, mode=mode), 5, SETTINGS)
