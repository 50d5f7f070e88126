"""The laws hold in some worlds, the same seed makes the same world, and each planted fault is found.

`DIFFUSION_WORLDS=10000` makes the long run; `diffusion simulate` is the same by hand.
"""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from diffusion.simulation import runs
from diffusion.simulation.laws import LAWS
from diffusion.simulation.mutations import MUTATIONS, law_of
from diffusion.simulation.world import Outcome
from schemas.errors import PermanentError

WORLDS = int(os.environ.get("DIFFUSION_WORLDS", "30"))

CAUGHT_IN = {
    "records-acknowledged-before-their-effects": 11,
    "offsets-committed-before-rows": 4,
    "later-batch-first": 2,
    "rows-of-a-user-one-by-one": 11,
    "changes-before-heads": 311,
    "members-before-changes": 104,
    "switch-without-a-fence": 11,
    "switch-closed-before-its-fence": 16,
    "cache-kept-over-a-rebalance": 111,
    "last-writer-wins": 3,
    "deletion-one-short": 10,
    "cursor-before-rows": 10,
    "rows-without-the-queue": 0,
    "entries-replace-what-is-held": 69,
    "cursors-not-bound-to-users": 1,
    "who-left-sees-more": 3,
    "limits-of-an-answer-forgotten": 12,
}
"""A world in which each planted fault breaks its law. Other worlds come of other code: where it does
so no longer, all of `WORLDS_MAX` are looked through.
"""

BROKE = {
    "a message behind its sender's leave was read by him in one mode only": (
        2071,
        2315,
        2667,
        3356,
    ),
    "the backend wrote a message behind the leaves of those who may see it": (2107,),
    "a commit that a rebalance refused was forgotten with it, and never made again": (6932, 9773),
    "a commit of a batch from before two moves of its partition took a later one back": (2321,),
}
"""Worlds in which a law was broken once, by what was wrong then: with the engine, or with a model of its
surroundings."""

WORLDS_MAX = 1_000


@pytest.fixture(scope="module")
def planted() -> dict[str, Outcome]:
    """The worlds of `CAUGHT_IN`."""
    found = runs.outcomes(list(CAUGHT_IN.items()))
    return dict(zip(CAUGHT_IN, found, strict=True))


def test_no_law_is_broken() -> None:
    found = runs.simulate(range(WORLDS))
    assert found.worlds == WORLDS
    assert found.broken == ()
    assert found.faults > WORLDS, "something goes wrong in every world"


@pytest.mark.parametrize("wrong", BROKE)
def test_what_broke_a_law_once_does_not_any_more(wrong: str) -> None:
    found = runs.outcomes([("none", seed) for seed in BROKE[wrong]])
    assert [(one.seed, one.broken) for one in found if one.broken] == []


def test_the_same_seed_makes_the_same_world() -> None:
    found = runs.outcomes([("none", seed) for seed in (1, 1, 2, 2)])
    courses = [one.digest for one in found]
    assert [a == b for a, b in pairwise(courses)] == [True, False, True]


@pytest.mark.parametrize("mutation", CAUGHT_IN)
def test_a_planted_fault_is_found(planted: dict[str, Outcome], mutation: str) -> None:
    broken = {law for law, _ in planted[mutation].broken}
    if not broken & law_of(mutation):
        found = runs.simulate(range(WORLDS_MAX), mutation=mutation, until=law_of(mutation))
        broken = {law for _, law, _ in found.broken}
        seeds = [seed for seed, law, _ in found.broken if law in law_of(mutation)]
        print(f"{mutation} is found in world {min(seeds, default=None)} now")
    assert broken & law_of(mutation)


def test_without_it_nothing_is_found_in_the_same_worlds() -> None:
    found = runs.outcomes([("none", seed) for seed in sorted(set(CAUGHT_IN.values()))])
    assert [one.seed for one in found if one.broken] == []


def test_each_law_has_a_planted_fault_that_breaks_it() -> None:
    assert set(CAUGHT_IN) == set(MUTATIONS) - {"none"}
    assert {law for mutation in CAUGHT_IN for law in law_of(mutation)} == set(LAWS)


def test_an_unknown_mutation_is_a_sentence() -> None:
    with pytest.raises(PermanentError, match="There is no mutation nonsense"):
        runs.simulate(range(1), mutation="nonsense")
