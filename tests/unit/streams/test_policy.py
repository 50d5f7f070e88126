"""The policy: the fences are a table, and a group at the edge does not switch with every join."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.heads import Head, Mode, ModeReason
from streams.policy import (
    FENCES,
    UNFINISHED,
    WRITE_MEMBERS_MAX,
    Fence,
    switch,
    wanted,
)
from tests.unit.streams.support import sizes

RULES = sizes(5, 3)
STABLE = (Mode.WRITE, Mode.READ)

overrides = st.sampled_from(["auto", "always_write", "always_read"])
counts = st.integers(0, WRITE_MEMBERS_MAX + 10)


def head(mode: Mode, **fields: object) -> Head:
    """A conversation in READ is there for its size, unless a test says otherwise."""
    return Head("sg_1", mode=mode, **{"mode_reason": ModeReason.MEMBERS, **fields})


def test_the_fences_lead_from_each_stable_mode_to_the_other() -> None:
    assert set(FENCES) == {(a, b) for a in STABLE for b in STABLE if a is not b}
    for (_, after), fence in FENCES.items():
        assert fence.after is after


def test_every_mode_is_stable_or_a_fence_and_every_fence_can_be_finished() -> None:
    assert set(Mode) == set(STABLE) | set(UNFINISHED)
    assert {fence.during for fence in FENCES.values()} == set(UNFINISHED)


@pytest.mark.parametrize("fence", FENCES.values(), ids=lambda fence: fence.during.name)
def test_in_between_both_is_done(fence: Fence) -> None:
    assert fence.during.diffuses
    assert fence.during not in STABLE


@pytest.mark.parametrize("fence", FENCES.values(), ids=lambda fence: fence.during.name)
def test_the_fence_says_where_members_find_messages_after_it(fence: Fence) -> None:
    assert fence.read_side is fence.after.on_read_side
    assert fence.read_side is fence.during.on_read_side


@given(st.sampled_from(STABLE), counts, overrides, st.integers(0, 1_000))
def test_a_switch_goes_to_what_is_wanted_through_its_fence(
    mode: Mode, members: int, override: str, epoch: int
) -> None:
    before = head(mode, mode_epoch=epoch, diffusion=override)
    target = wanted(before, members, RULES, 7)[0]
    found = switch(before, members, RULES, 1, 7)
    if target is mode:
        assert found is None
        return
    assert found is not None
    fence = FENCES[mode, target]
    assert (found.during.mode, found.after.mode) == (fence.during, target)
    assert (found.during.mode_epoch, found.after.mode_epoch) == (epoch + 1, epoch + 2)
    assert (found.during.mode_since_ms, found.after.mode_since_ms) == (7, 7)


@given(st.sampled_from(sorted(UNFINISHED)), counts, overrides)
def test_an_unfinished_switch_is_finished_whatever_is_wanted_by_now(
    mode: Mode, members: int, override: str
) -> None:
    before = head(mode, mode_epoch=9, diffusion=override)
    found = switch(before, members, RULES, 1, 7)
    assert found is not None
    assert found.during == before, "it is persisted already, and a fence sent twice is the same"
    assert found.after.mode is UNFINISHED[mode].after
    assert found.after.mode_epoch == 10
    assert found.read_side is UNFINISHED[mode].read_side


@given(st.sampled_from(STABLE), st.lists(st.integers(4, 5), min_size=1))
def test_a_group_between_the_bounds_never_switches(mode: Mode, found: list[int]) -> None:
    assert all(switch(head(mode), members, RULES, 1, 0) is None for members in found)


@given(st.lists(st.integers(0, 9), max_size=60))
def test_two_switches_are_never_nearer_than_the_hysteresis(crowd: list[int]) -> None:
    state, switched_at = head(Mode.WRITE), None
    for members in crowd:
        found = switch(state, members, RULES, 1, 0)
        if found is None:
            continue
        if switched_at is not None:
            assert abs(members - switched_at) > RULES.members_max - RULES.members_return
        state, switched_at = found.after, members


@pytest.mark.parametrize(
    ("mode", "members", "target"),
    [
        (Mode.WRITE, 5, Mode.WRITE),
        (Mode.WRITE, 6, Mode.READ),
        (Mode.READ, 4, Mode.READ),
        (Mode.READ, 3, Mode.WRITE),
    ],
)
def test_the_bounds_are_inclusive(mode: Mode, members: int, target: Mode) -> None:
    assert wanted(head(mode), members, RULES, 0)[0] is target


@given(st.sampled_from(STABLE), st.integers(0, WRITE_MEMBERS_MAX))
def test_an_override_stands_above_the_sizes(mode: Mode, members: int) -> None:
    assert wanted(head(mode, diffusion="always_write"), members, RULES, 0)[0] is Mode.WRITE
    assert wanted(head(mode, diffusion="always_read"), members, RULES, 0)[0] is Mode.READ


@given(st.sampled_from(STABLE), st.integers(WRITE_MEMBERS_MAX + 1, 10**6), overrides)
def test_no_override_diffuses_beyond_the_bound(mode: Mode, members: int, override: str) -> None:
    rules = sizes(WRITE_MEMBERS_MAX, 1)
    assert wanted(head(mode, diffusion=override), members, rules, 0)[0] is Mode.READ


@pytest.mark.parametrize(
    ("members_max", "members_return"), [(3, 3), (3, 4), (3, 0), (WRITE_MEMBERS_MAX + 1, 3)]
)
def test_limits_without_hysteresis_or_bound_are_a_programming_error(
    members_max: int, members_return: int
) -> None:
    with pytest.raises(AssertionError):
        sizes(members_max, members_return)


def test_the_mode_epoch_tells_the_mode() -> None:
    """What orders the flags of the read side: equal epochs can only mean equal modes."""
    state, seen = head(Mode.WRITE), [Mode.WRITE]
    for members in (9, 1, 9, 1):
        found = switch(state, members, RULES, 1, 0)
        assert found is not None
        seen += [found.during.mode, found.after.mode]
        state = found.after
        assert state.mode_epoch == len(seen) - 1
    assert all(mode is seen[epoch % 4] for epoch, mode in enumerate(seen))
