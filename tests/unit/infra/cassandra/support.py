"""`Cells`: how cells merge, in a dictionary, behind our own `Session`.

It is no Cassandra: it knows one law, the one that the tables rest on. Of two writes to a cell the
greater timestamp wins. Of equal timestamps the greater value wins, or, for cells with a TTL, the one
that expires later, which here is the one written later (`ties`). Keys and columns come from the
migrations, so that a statement which does not fit the tables fails.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from infra.cassandra.schema import migrations

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(")
_ALTER = re.compile(r"ALTER TABLE (\w+) ADD \(")
_COLUMN = re.compile(r"^    (\w+) (?:text|bigint|int|tinyint|boolean|double)\b", re.MULTILINE)
_LITERALS = {"true": True, "false": False}
_KEY = re.compile(r"PRIMARY KEY \(\((.+)\)$", re.MULTILINE)
_INLINE_KEY = re.compile(r"(\w+) \w+ PRIMARY KEY")
_UPDATE = re.compile(r"UPDATE ks\.(\w+) USING (.+?) SET (.+?) WHERE (.+)")
_SELECT = re.compile(
    r"SELECT (.+?) FROM ks\.(\w+) WHERE (.+?)(?: LIMIT (\?|\d+))?( ALLOW FILTERING)?"
)
_INSERT = re.compile(r"INSERT INTO ks\.(\w+) \((.+?)\) VALUES \((.+?)\) IF NOT EXISTS")
_COUNT = re.compile(r"count\((\w+)\)")
_TERM = re.compile(r"(\w+) (=|>=|>|IN) (?:\?|1)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
    "IN": lambda left, right: left in right,
}


class Killed(Exception):
    """The process ended here; what it had in memory is gone."""


class Bound(NamedTuple):
    """A statement as our modules bind it."""

    cql: str
    values: tuple[Any, ...]


class Cell(NamedTuple):
    stamp: int
    value: Any
    ttl_s: int | None = None


class Table(NamedTuple):
    columns: tuple[str, ...]
    partition: str
    key: tuple[str, ...]
    descending: frozenset[str]


def tables() -> dict[str, Table]:
    """The tables of the migrations: columns, partition key, primary key, what is ordered down."""
    found: dict[str, Table] = {}
    for _, statements in migrations():
        for statement in statements:
            more = _ALTER.match(statement)
            if more:
                table = found[more[1]]
                added = tuple(_COLUMN.findall(statement))
                found[more[1]] = table._replace(columns=table.columns + added)
                continue
            match = _TABLE.match(statement)
            assert match, statement
            listed = _KEY.search(statement)
            inline = _INLINE_KEY.search(statement)
            assert listed or inline, statement
            key = (inline[1],) if inline else tuple(listed[1].replace(")", "").split(", "))
            columns = tuple(_COLUMN.findall(statement))
            found[match[1]] = Table(
                columns, key[0], key, frozenset(re.findall(r"(\w+) DESC", statement))
            )
    return found


TABLES = tables()


def written(statement: Bound) -> tuple[str, dict[str, Any], dict[str, Any], int, int | None]:
    """An UPDATE taken apart: table, cells, key, timestamp, TTL."""
    match = _UPDATE.fullmatch(statement.cql)
    assert match, statement.cql
    name, using, cells, where = match.groups()
    assert statement.cql.count("?") == len(statement.values), statement
    terms = [*using.split(" AND "), *cells.split(", "), *where.split(" AND ")]
    values = iter(statement.values)
    bound = {
        term.split()[0]: next(values) if term.endswith("?") else _LITERALS[term.split()[-1]]
        for term in terms
    }
    table = TABLES[name]
    key = {column: bound.pop(column) for column in table.key}
    stamp, ttl_s = bound.pop("TIMESTAMP"), bound.pop("TTL", None)
    assert set(bound) <= set(table.columns), bound
    assert None not in bound.values(), "a null is a tombstone"
    return name, bound, key, stamp, ttl_s


class Cells:
    """What tests give as a `Session`. `crash_in`: pieces of work that still succeed, then `Killed`.

    A piece is what Cassandra applies at once: all statements of a batch for one partition key.
    """

    def __init__(self, ties: Literal["greater", "later"] = "greater") -> None:
        self.rows: dict[str, dict[tuple[Any, ...], dict[str, Cell]]] = {name: {} for name in TABLES}
        self.ties = ties
        self.crash_in: int | None = None
        self.writes: list[Bound] = []
        self.reads: list[Bound] = []
        self.rounds: list[list[list[Bound]]] = []
        """Calls of `write`: batches of statements."""
        self.closed = False

    # As `Session` has them.

    def join_loop(self) -> None:
        pass

    async def aprepare(self, cql: str) -> None:
        pass

    def bind(self, cql: str, values: Sequence[Any]) -> Bound:
        return Bound(cql, tuple(values))

    @staticmethod
    def batch(statements: Iterable[Bound]) -> list[Bound]:
        return list(statements)

    def replica_set(self, partition_key: bytes) -> object:
        return None

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
        insert = _INSERT.fullmatch(cql)
        if insert:
            return self._insert(insert, values)
        match = _SELECT.fullmatch(cql)
        assert match, cql
        columns, name, where, limit, filtering = match.groups()
        terms = _TERM.findall(where)
        bound = list(values)
        assert cql.count("?") == len(bound), (cql, bound)
        found = list(zip(terms, bound, strict=False))
        rows = self._select(TABLES[name], name, found, filtering=bool(filtering))
        if limit:
            rows = rows[: bound[-1] if limit == "?" else int(limit)]
        counted = _COUNT.fullmatch(columns)
        if counted:
            return [(sum(row.get(counted[1]) is not None for row in rows),)]
        return [tuple(row.get(column) for column in columns.split(", ")) for row in rows]

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.read(cql, values)

    def close(self) -> None:
        self.closed = True

    # The law.

    def apply(self, statement: Bound) -> None:
        self.writes.append(statement)
        name, cells, key, stamp, ttl_s = written(statement)
        row = self.rows[name].setdefault(tuple(key.values()), {})
        for column, value in cells.items():
            new = Cell(stamp, value, ttl_s)
            row[column] = self._merged(row.get(column), new)

    def _merged(self, held: Cell | None, new: Cell) -> Cell:
        if held is None or new.stamp > held.stamp:
            return new
        if new.stamp < held.stamp:
            return held
        if self.ties == "later" and new.ttl_s is not None:
            return new
        return max(held, new, key=lambda cell: cell.value)

    def table(self, name: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows by key, each the values of its cells."""
        return {
            key: {column: cell.value for column, cell in row.items()}
            for key, row in self.rows[name].items()
        }

    def _select(
        self,
        table: Table,
        name: str,
        terms: list[tuple[tuple[str, str], Any]],
        *,
        filtering: bool,
    ) -> list[dict[str, Any]]:
        rows = [
            dict(zip(table.key, key, strict=True)) | cells
            for key, cells in self.table(name).items()
        ]
        for (column, how), value in terms:
            assert filtering or column in table.key, "only keys are looked up"
            rows = [
                row
                for row in rows
                if row.get(column) is not None and _COMPARE[how](_bytes(row[column]), _bytes(value))
            ]
        for column in reversed(table.key):
            rows.sort(key=lambda row: _bytes(row[column]), reverse=column in table.descending)
        return rows

    def _insert(self, match: re.Match[str], values: Sequence[Any]) -> list[tuple[Any, ...]]:
        name, columns, _ = match.groups()
        bound = dict(zip(columns.split(", "), values, strict=True))
        key = tuple(bound.pop(column) for column in TABLES[name].key)
        if key in self.rows[name]:
            return [(False,)]
        self.rows[name][key] = {column: Cell(0, value) for column, value in bound.items()}
        return [(True,)]

    @staticmethod
    def _pieces(batch: list[Bound]) -> list[list[Bound]]:
        pieces: dict[Any, list[Bound]] = {}
        for statement in batch:
            name, _, key, _, _ = written(statement)
            pieces.setdefault(key[TABLES[name].partition], []).append(statement)
        return list(pieces.values())


def _bytes(value: Any) -> Any:
    """Text is ordered by its bytes."""
    if isinstance(value, list):
        return [_bytes(one) for one in value]
    return value.encode() if isinstance(value, str) else value
