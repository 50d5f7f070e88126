"""`Cells` as tests want them: what was written and read is kept, and a process may die in a write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from diffusion.simulation import cells
from diffusion.simulation.cells import TABLES, Bound, Cell, written

__all__ = ["TABLES", "Bound", "Cell", "Cells", "Killed", "written"]


class Killed(Exception):
    """The process ended here; what it had in memory is gone."""


class Cells(cells.Cells):
    """What tests give as a `Session`. `crash_in`: pieces of work that still succeed, then `Killed`.

    A piece is what Cassandra applies at once: all statements of a batch for one partition key.
    """

    def __init__(self, ties: Literal["greater", "later"] = "greater") -> None:
        super().__init__(ties)
        self.crash_in: int | None = None
        self.writes: list[Bound] = []
        self.reads: list[Bound] = []
        self.rounds: list[list[list[Bound]]] = []
        """Calls of `write`: batches of statements."""
        self.closed = False

    def join_loop(self) -> None:
        pass

    async def aprepare(self, cql: str) -> None:
        pass

    def write(self, statements: Sequence[Bound | list[Bound]], *, in_flight: int) -> None:
        assert in_flight > 0
        batches = [[one] if isinstance(one, Bound) else one for one in statements]
        self.rounds.append(batches)
        for batch in batches:
            for piece in self._pieces(batch):
                if self.crash_in is not None:
                    if self.crash_in == 0:
                        raise Killed
                    self.crash_in -= 1
                for statement in piece:
                    self.apply(statement)

    async def awrite_once(self, statement: Bound) -> None:
        self.write([statement], in_flight=1)

    async def awrite(self, statements: Sequence[Bound], *, in_flight: int) -> None:
        self.write(statements, in_flight=in_flight)

    def read(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.reads.append(Bound(cql, tuple(values)))
        return super().read(cql, values)

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.read(cql, values)

    def close(self) -> None:
        self.closed = True

    def apply(self, statement: Bound) -> None:
        self.writes.append(statement)
        written(statement)  # taken apart each time, with all that it asserts
        super().apply(statement)

    @staticmethod
    def _pieces(batch: list[Bound]) -> list[list[Bound]]:
        pieces: dict[Any, list[Bound]] = {}
        for statement in batch:
            name, _, key, _, _ = written(statement)
            pieces.setdefault(key[TABLES[name].partition], []).append(statement)
        return list(pieces.values())
