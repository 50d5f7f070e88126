"""Cassandra as far as we rest on it: how cells merge, and expire, in a dictionary.

It knows one law. Of two writes to a cell the greater timestamp wins. Of equal timestamps the
greater value wins, or, for cells with a TTL, the one that expires later, which here is the one
written later (`ties`). Keys and columns come from the migrations, so that a statement which does
not fit the tables fails. Statements are those of the modules of `infra.cassandra`, and no others.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from infra.cassandra.schema import migrations

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(")
_ALTER = re.compile(r"ALTER TABLE (\w+) ADD IF NOT EXISTS \(")
_COLUMN = re.compile(r"^    (\w+) (?:text|bigint|int|tinyint|boolean|double)\b", re.MULTILINE)
_LITERALS: Final = {"true": True, "false": False}
_KEY = re.compile(r"PRIMARY KEY \(\((.+)\)$", re.MULTILINE)
_INLINE_KEY = re.compile(r"(\w+) \w+ PRIMARY KEY")
_UPDATE = re.compile(r"UPDATE ks\.(\w+) USING (.+?) SET (.+?) WHERE (.+)")
_SELECT = re.compile(
    r"SELECT (.+?) FROM ks\.(\w+) WHERE (.+?)(?: LIMIT (\?|\d+))?( ALLOW FILTERING)?"
)
_INSERT = re.compile(r"INSERT INTO ks\.(\w+) \((.+?)\) VALUES \((.+?)\) IF NOT EXISTS")
_COUNT = re.compile(r"count\((\w+)\)")
_TERM = re.compile(r"(\w+) (=|>=|>|IN) (?:\?|1)")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
    "IN": lambda left, right: left in right,
}


class Bound(NamedTuple):
    """A statement as our modules bind it."""

    cql: str
    values: tuple[Any, ...]


class Cell(NamedTuple):
    """A cell; `expires_ms` None: never."""

    stamp: int
    value: Any
    ttl_s: int | None = None
    expires_ms: int | None = None


class Table(NamedTuple):
    """Columns, partition key, primary key, and which of its columns are ordered down."""

    columns: tuple[str, ...]
    partition: str
    key: tuple[str, ...]
    descending: frozenset[str]


def _tables() -> dict[str, Table]:
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
            assert match is not None, statement
            found[match[1]] = _table(statement)
    return found


def _table(statement: str) -> Table:
    listed, inline = _KEY.search(statement), _INLINE_KEY.search(statement)
    if listed is None:
        assert inline is not None, statement
        key: tuple[str, ...] = (inline[1],)
    else:
        key = tuple(listed[1].replace(")", "").split(", "))
    columns = tuple(_COLUMN.findall(statement))
    return Table(columns, key[0], key, frozenset(re.findall(r"(\w+) DESC", statement)))


TABLES: Final = _tables()
"""The tables of the migrations, by name."""


def written(statement: Bound) -> tuple[str, dict[str, Any], dict[str, Any], int, int | None]:
    """Take an UPDATE apart: table, cells, key, timestamp, TTL."""
    match = _UPDATE.fullmatch(statement.cql)
    assert match is not None, statement.cql
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


@cache
def _update(
    cql: str,
) -> tuple[str, tuple[int, ...], tuple[tuple[str, int], ...], int, tuple[tuple[str, bool], ...]]:
    """Where in the values of an UPDATE its parts are: table, key, cells, timestamp, literals."""
    marks = Bound(cql, tuple(range(cql.count("?"))))
    name, cells, key, stamp, _ = written(marks)
    placed = tuple((c, v) for c, v in cells.items() if not isinstance(v, bool))
    literals = tuple((c, v) for c, v in cells.items() if isinstance(v, bool))
    return name, tuple(key.values()), placed, stamp, literals


@cache
def _select(
    cql: str,
) -> tuple[str, str, tuple[tuple[str, str], ...], str | None, bool]:
    """Parts of a SELECT: columns, table, terms, limit, whether it filters."""
    match = _SELECT.fullmatch(cql)
    assert match is not None, cql
    columns, name, where, limit, filtering = match.groups()
    terms = tuple((column, how) for column, how in _TERM.findall(where))
    assert terms[0][0] == TABLES[name].partition
    return columns, name, terms, limit, bool(filtering)


def partition_key(statement: Bound) -> tuple[str, Any]:
    """Table and partition key of an UPDATE: what Cassandra applies at once shares both, or at
    least the key.
    """
    name, key, _, _, _ = _update(statement.cql)
    return name, statement.values[key[0]]


class Cells:
    """Rows by table and key. `clock` tells milliseconds, for cells that expire; None: none does."""

    def __init__(
        self,
        ties: Literal["greater", "later"] = "later",
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], dict[str, Cell]]] = {name: {} for name in TABLES}
        self.ties = ties
        self._clock = clock

    # As `infra.cassandra.session.Session` has them.

    def bind(self, cql: str, values: Sequence[Any]) -> Bound:
        """Bind."""
        return Bound(cql, tuple(values))

    @staticmethod
    def batch(statements: Iterable[Bound]) -> list[Bound]:
        """Put statements into one request."""
        return list(statements)

    def replica_set(self, _partition_key: bytes) -> object:
        """There is one set of replicas."""
        return None

    # The law.

    def apply(self, statement: Bound) -> None:
        """Write."""
        values = statement.values
        name, key, cells, stamp, literals = _update(statement.cql)
        row = self.rows[name].setdefault(tuple([values[place] for place in key]), {})
        ttl_s = values[0] if "TTL" in statement.cql else None
        expires_ms = None
        if ttl_s is not None and self._clock is not None:
            expires_ms = self._clock() + ttl_s * 1_000
        for column, value in (*((c, values[place]) for c, place in cells), *literals):
            new = Cell(values[stamp], value, ttl_s, expires_ms)
            row[column] = self._merged(row.get(column), new)

    def _merged(self, held: Cell | None, new: Cell) -> Cell:
        if held is None or new.stamp > held.stamp:
            return new
        if new.stamp < held.stamp:
            return held
        if self.ties == "later" and new.ttl_s is not None:
            return new
        return max(held, new, key=lambda cell: cell.value)

    def read(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT, or an INSERT that is conditional."""
        insert = _INSERT.fullmatch(cql)
        if insert is not None:
            return self._insert(insert, values)
        assert cql.count("?") == len(values), (cql, values)
        columns, name, terms, limit, filtering = _select(cql)
        rows = self._matching(name, terms, values, filtering=filtering)
        if limit:
            rows = rows[: values[-1] if limit == "?" else int(limit)]
        counted = _COUNT.fullmatch(columns)
        if counted is not None:
            return [(sum(row.get(counted[1]) is not None for row in rows),)]
        return [tuple([row.get(column) for column in columns.split(", ")]) for row in rows]

    def table(self, name: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows by key, each the values of its cells."""
        return {key: self._live(row) for key, row in self.rows[name].items()}

    def _live(self, row: dict[str, Cell]) -> dict[str, Any]:
        if self._clock is None:
            return {column: cell.value for column, cell in row.items()}
        now_ms = self._clock()
        return {
            column: cell.value
            for column, cell in row.items()
            if cell.expires_ms is None or cell.expires_ms > now_ms
        }

    def _matching(
        self,
        name: str,
        terms: tuple[tuple[str, str], ...],
        values: Sequence[Any],
        *,
        filtering: bool,
    ) -> list[dict[str, Any]]:
        table = TABLES[name]
        wanted = values[0] if terms[0][1] == "IN" else (values[0] if values else 1,)
        rows = []
        for key, row in self.rows[name].items():
            if key[0] in wanted:
                cells = self._live(row)
                if cells or not row:
                    rows.append(dict(zip(table.key, key, strict=True)) | cells)
        for (column, how), value in zip(terms[1:], values[1:], strict=False):
            assert filtering or column in table.key, "only keys are looked up"
            compare, bound = _COMPARE[how], _bytes(value)
            rows = [
                row
                for row in rows
                if row.get(column) is not None and compare(_bytes(row[column]), bound)
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


def _bytes(value: Any) -> Any:
    """Text is ordered by its bytes."""
    if isinstance(value, list):
        return [_bytes(one) for one in value]
    return value.encode() if isinstance(value, str) else value
