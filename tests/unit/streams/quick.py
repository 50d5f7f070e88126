"""What makes thousands of worlds affordable: cells that look up quickly, and coroutines that run
without a loop, because nothing in a world ever waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar
from unittest.mock import patch

from tests.unit.infra.cassandra.support import (
    _COUNT,
    _SELECT,
    _TERM,
    TABLES,
    Bound,
    Cell,
    Cells,
    written,
)

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


@cache
def _update(cql: str) -> tuple[str, tuple[int, ...], tuple[tuple[str, int], ...], int, Any]:
    """Where in the values of an UPDATE its parts are: table, key, cells, timestamp, literals."""
    marks = Bound(cql, tuple(range(cql.count("?"))))
    name, cells, key, stamp, _ = written(marks)
    placed = {c: v for c, v in cells.items() if not isinstance(v, bool)}
    literals = {c: v for c, v in cells.items() if isinstance(v, bool)}
    return name, tuple(key.values()), tuple(placed.items()), stamp, literals


@cache
def _select(
    cql: str,
) -> tuple[tuple[str, ...], str, tuple[tuple[str, str], ...], str | None, bool]:
    """Parts of a SELECT: columns, table, terms, limit, whether it filters."""
    match = _SELECT.fullmatch(cql)
    assert match is not None
    columns, name, where, limit, filtering = match.groups()
    terms = tuple((column, how) for column, how in _TERM.findall(where))
    assert terms[0][0] == TABLES[name].partition
    return tuple(columns.split(", ")), name, terms, limit, bool(filtering)


class QuickCells(Cells):
    """The same law, for tests that go through thousands of worlds: each statement is taken apart
    once, only its own partition is looked through, and nothing is kept of what was asked. No
    crashes inside of a write.
    """

    def write(self, statements: Sequence[Bound | list[Bound]], *, in_flight: int) -> None:
        assert self.crash_in is None
        for one in statements:
            for statement in [one] if isinstance(one, Bound) else one:
                self.apply(statement)

    def apply(self, statement: Bound) -> None:
        values = statement.values
        name, key, cells, stamp, literals = _update(statement.cql)
        row = self.rows[name].setdefault(tuple([values[place] for place in key]), {})
        ttl_s = values[0] if "TTL" in statement.cql else None
        for column, value in (*((c, values[place]) for c, place in cells), *literals.items()):
            row[column] = self._merged(row.get(column), Cell(values[stamp], value, ttl_s))

    def read(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if not cql.startswith("SELECT"):
            return super().read(cql, values)
        columns, name, terms, limit, filtering = _select(cql)
        wanted = values[0] if terms[0][1] == "IN" else (values[0],)
        whole = self.rows[name]
        # A dictionary of one partition, where there would be all of them.
        self.rows[name] = {key: row for key, row in whole.items() if key[0] in wanted}
        found = list(zip(terms, values, strict=False))
        rows = self._select(TABLES[name], name, found, filtering=filtering)
        self.rows[name] = whole
        if limit:
            rows = rows[: values[-1] if limit == "?" else int(limit)]
        counted = _COUNT.fullmatch(columns[0])
        if counted:
            return [(sum(row.get(counted[1]) is not None for row in rows),)]
        return [tuple([row.get(column) for column in columns]) for row in rows]
