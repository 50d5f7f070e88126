"""The laws hold in some worlds, the same seed makes the same world, and each planted fault is found.

`DIFFUSION_WORLDS=10000` makes the long run; `diffusion simulate` is the same by hand.
"""

from __future__ import annotations

import os

import pytest

from diffusion.simulation import runs
from diffusion.simulation.mutations import MUTATIONS, law_of
from schemas.errors import PermanentError

WORLDS = int(os.environ.get("DIFFUSION_WORLDS", "40"))

SOON_CAUGHT = {
    "records-acknowledged-before-their-effects": range(10, 20),
    "offsets-committed-before-rows": range(10, 20),
    "later-batch-first": range(10),
    "rows-of-a-user-one-by-one": range(10, 20),
    "switch-without-a-fence": range(10, 20),
}
"""Seeds among which a mutation is found; the others by `DIFFUSION_WORLDS`."""


def test_no_law_is_broken() -> None:
    found = runs.simulate(range(WORLDS))
    assert found.worlds == WORLDS
    assert found.broken == ()
    assert found.faults > WORLDS, "something goes wrong in every world"


def test_the_same_seed_makes_the_same_world() -> None:
    once, again = (runs.courses(range(3)) for _ in range(2))
    assert once == again
    assert len(set(once)) == 3


@pytest.mark.parametrize("mutation", [one for one in MUTATIONS if one != "none"])
def test_a_planted_fault_is_found(mutation: str) -> None:
    seeds = SOON_CAUGHT.get(mutation, range(1_000) if WORLDS >= 1_000 else None)
    if seeds is None:
        pytest.skip("takes many worlds: set DIFFUSION_WORLDS=1000")
    found = runs.simulate(seeds, mutation=mutation, until=law_of(mutation))
    assert {law for _, law, _ in found.broken} & law_of(mutation)


def test_an_unknown_mutation_is_a_sentence() -> None:
    with pytest.raises(PermanentError, match="There is no mutation nonsense"):
        runs.simulate(range(1), mutation="nonsense")
