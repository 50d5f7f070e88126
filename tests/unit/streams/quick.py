"""What makes thousands of worlds affordable: cells that look up quickly, and coroutines that run
without a loop, because nothing in a world ever waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

from diffusion.simulation import cells
from tests.unit.infra.cassandra.support import Bound, Cells

T = TypeVar("T")


def straight(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end what never waits, without a loop: see `in_turn`."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


@contextmanager
def in_turn() -> Iterator[None]:
    """Gather by doing one after the other. Cells answer at once, so a loop has nothing to do but to
    take most of the time of a test that goes through thousands of worlds.
    """

    async def gather(*works: Awaitable[Any]) -> list[Any]:
        return [await work for work in works]

    with patch.object(asyncio, "gather", gather):
        yield


class QuickCells(Cells):
    """For tests that go through thousands of worlds: nothing is kept of what was asked. No crashes
    inside of a write.
    """

    def write(self, statements: Sequence[Bound | list[Bound]], *, in_flight: int) -> None:
        assert self.crash_in is None
        for one in statements:
            for statement in [one] if isinstance(one, Bound) else one:
                cells.Cells.apply(self, statement)

    def read(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return cells.Cells.read(self, cql, values)
