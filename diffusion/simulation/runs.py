"""Many worlds, in as many processes as there are cores, and what came of them.

Seeds are run by processes of their own whose hashes are not drawn: the order of a set of names is
part of a world.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from diffusion.pool import spawned
from diffusion.simulation.laws import LAWS
from diffusion.simulation.mutations import MUTATIONS
from diffusion.simulation.world import Outcome, run
from infra.clock import monotonic_s
from schemas.errors import PermanentError

SEEDS_PER_TASK: Final = 10
FIXED_HASHES: Final = "0"
SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """What `diffusion simulate --json` prints. `broken`: (seed, law, what was seen)."""

    worlds: int
    events: int
    faults: int
    syncs: int
    broken: tuple[tuple[int, str, str], ...]
    seconds: float
    mutation: str

    @property
    def seeds(self) -> list[int]:
        """Seeds of the worlds in which a law was broken."""
        return sorted({seed for seed, _, _ in self.broken})

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "worlds": self.worlds,
            "events": self.events,
            "faults": self.faults,
            "syncs": self.syncs,
            "seconds": round(self.seconds, 1),
            "mutation": self.mutation,
            "broken": {law: sum(one[1] == law for one in self.broken) for law in LAWS},
            "seeds": self.seeds[:SHOWN_MAX],
            "first": list(self.broken[0]) if self.broken else None,
            "held": not self.broken,
        }


def simulate(
    seeds: Sequence[int],
    *,
    mutation: str = "none",
    minutes: float | None = None,
    until: Collection[str] = (),
    on_world: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Run worlds: all of these seeds, as many as `minutes` allow, or until one of the laws
    `until` is broken.
    """
    if mutation not in MUTATIONS:
        raise PermanentError(f"There is no mutation {mutation}. There are: {', '.join(MUTATIONS)}.")
    began_s = monotonic_s()
    found: list[Outcome] = []
    with _pool() as pool:
        begins = range(0, len(seeds), SEEDS_PER_TASK)
        waiting = {
            pool.submit(_some, seeds[begin : begin + SEEDS_PER_TASK], mutation) for begin in begins
        }
        for done in as_completed(waiting):
            found += done.result()
            on_world(len(found))
            late = minutes is not None and monotonic_s() - began_s > minutes * 60
            if late or any(law in until for one in found for law, _ in one.broken):
                pool.shutdown(cancel_futures=True)
                break
    found.sort(key=lambda one: one.seed)
    return Summary(
        worlds=len(found),
        events=sum(one.events for one in found),
        faults=sum(one.faults for one in found),
        syncs=sum(one.syncs for one in found),
        broken=tuple((one.seed, law, what) for one in found for law, what in one.broken),
        seconds=monotonic_s() - began_s,
        mutation=mutation,
    )


def outcomes(wanted: Sequence[tuple[str, int]]) -> list[Outcome]:
    """Run worlds, each with a mutation of its own: (mutation, seed), in their order."""
    with _pool() as pool:
        waiting = [pool.submit(_some, [seed], mutation) for mutation, seed in wanted]
        return [outcome for done in waiting for outcome in done.result()]


def show(found: Summary) -> None:
    """Print what came of it."""
    console = Console(highlight=False)
    console.print(
        f"{found.worlds:,} worlds in {found.seconds:.0f} s: {found.events:,} events, "
        f"{found.faults:,} faults, {found.syncs:,} answers."
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("law")
    table.add_column("broken", justify="right")
    for law, count in found.as_json()["broken"].items():
        table.add_row(law, f"{count:,}")
    console.print(table)
    for seed, law, what in found.broken[:SHOWN_MAX]:
        console.print(f"seed {seed}: {law}: {what}", markup=False)


def _some(seeds: Sequence[int], mutation: str) -> list[Outcome]:
    # What goes wrong on purpose is no news.
    logging.disable(logging.CRITICAL)
    return [run(seed, MUTATIONS[mutation]) for seed in seeds]


@contextmanager
def _pool() -> Iterator[ProcessPoolExecutor]:
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = FIXED_HASHES
    try:
        with spawned() as pool:
            yield pool
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
