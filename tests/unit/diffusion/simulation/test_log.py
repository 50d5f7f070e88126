"""The modelled log: whose commits count."""

from __future__ import annotations

from diffusion.simulation.log import Group

PLACE = ("changes", 0)


def test_a_commit_counts_from_the_owner_only() -> None:
    group = Group()
    group.share([PLACE], ["a", "b"])
    assert not group.commit("b", {PLACE: 3})
    assert group.commit("a", {PLACE: 2})
    assert group.committed == {PLACE: 2}


def test_a_commit_of_what_was_taken_before_the_partition_went_and_came_back_does_not() -> None:
    group = Group()
    group.share([PLACE], ["a", "b"])
    taken_in = group.generation
    group.share([PLACE], ["b", "a"])
    assert group.commit("b", {PLACE: 21})
    group.share([PLACE], ["a", "b"])
    assert not group.commit("a", {PLACE: 20}, taken_in)
    assert group.committed == {PLACE: 21}
    assert group.commit("a", {PLACE: 22}, group.generation)


def test_a_partition_that_stays_over_a_rebalance_may_be_committed() -> None:
    group = Group()
    group.share([PLACE], ["a"])
    taken_in = group.generation
    group.share([PLACE], ["a", "b"])
    assert group.commit("a", {PLACE: 1}, taken_in)
