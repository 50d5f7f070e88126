"""Cassandra as one process sees it: round trips that take time, fail, and are applied all the same.

Cells are one copy, read and written at one instant: what a quorum of replicas amounts to. A write
that timed out may have been applied, and may be applied later, up to `LATE_S`; ours are repeated
until they are acknowledged, as `infra.cassandra.session` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from diffusion.simulation.cells import Bound, Cells, partition_key
from diffusion.simulation.fate import Fate
from infra.cassandra.session import StoreUnavailable

LATE_S: Final = 100.0
"""Below the deadline of a write, after which no copy of it is under way any more."""

LATE_SHARE: Final = 0.03
AWAY_SHARE: Final = 0.01


class Store:
    """Stands for `infra.cassandra.session.Session`."""

    def __init__(self, cells: Cells, fate: Fate) -> None:
        self.cells = cells
        self.fate = fate
        self.bind = cells.bind
        self.batch = cells.batch
        self.replica_set = cells.replica_set

    async def aprepare(self, _cql: str) -> None:
        """Statements are not prepared."""

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read at one instant of a round trip."""
        await self.fate.trip()
        if self.fate.happens(AWAY_SHARE):
            raise StoreUnavailable("Cassandra did not answer in time.")
        rows = self.cells.read(cql, values)
        await self.fate.trip()
        return rows

    async def awrite(self, statements: Sequence[Any], *, in_flight: int) -> None:
        """Write in any order, each until it is acknowledged."""
        assert in_flight > 0
        pieces = list(pieces_of(statements))
        self.fate.rng.shuffle(pieces)
        for piece in pieces:
            await self.fate.trip()
            self.put(piece)
            if self.fate.happens(LATE_SHARE):
                self.fate.later(LATE_S, partial(self.put, piece))
        if pieces:
            await self.fate.trip()

    async def awrite_once(self, statement: Any) -> None:
        """Write without a second try."""
        await self.awrite([statement], in_flight=1)

    def put(self, piece: Iterable[Bound]) -> None:
        """Apply what Cassandra applies at once."""
        for statement in piece:
            self.cells.apply(statement)


class Notebook(Store):
    """For a program that blocks: what it writes is noted, and done afterwards, in its order. It may
    do so because it reads nothing.
    """

    def __init__(self, cells: Cells, fate: Fate) -> None:
        super().__init__(cells, fate)
        self.rounds: list[list[Any]] = []

    def write(self, statements: Sequence[Any], *, in_flight: int) -> None:
        """Note one round: each is begun when the one before is acknowledged."""
        assert in_flight > 0
        self.rounds.append(list(statements))


def pieces_of(statements: Iterable[Any]) -> Iterable[list[Bound]]:
    """Take requests apart by partition key: what is applied at once."""
    for one in statements:
        if isinstance(one, Bound):
            yield [one]
            continue
        pieces: dict[Any, list[Bound]] = {}
        for statement in one:
            _, key = partition_key(statement)
            pieces.setdefault(key, []).append(statement)
        yield from pieces.values()
