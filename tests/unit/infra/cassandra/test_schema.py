"""The schema: migrations are numbered without a gap, and taken apart into whole statements."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import infra.cassandra
from infra.cassandra import yardstick
from infra.cassandra.schema import (
    NEWER_MAX,
    SCHEMA_COMPAT_VERSION,
    SCHEMA_VERSION,
    _statements,
    migrations,
    refusal,
)
from tests.unit.infra.cassandra.support import TABLES

ROOT = Path(infra.cassandra.__file__).parents[2]

VERSION_OF_FIRST_RELEASE = 3
"""Nothing older was released, and nothing older can use its tables."""

RELEASED = {
    "001_create_tables.cql": "56c1636f8079ad0ef4834610e1c01d63c90e716fad7108e7f7c4790ec496b9dc",
    "002_add_activity.cql": "b00440434eccdc0ad5524dd43779dadaa6cecc8ef9edbde0f220b896d8136d83",
    "003_add_pins_and_devices.cql": "0207a38b5720c3920138ccb2f4b91c7bf5b1d3cbd8cce1ee62bb1424502006f8",
}
"""SHA-256 of each migration that was released. Released ones never change; new ones are added."""

TAKEN_AWAY: dict[str, str] = {}
"""Statements of migrations that take away, each with the release from which on nobody reads what
goes: the one before the migration's at the latest."""

ADDS = re.compile(
    r"CREATE TABLE IF NOT EXISTS \w+ \(|ALTER TABLE \w+ ADD IF NOT EXISTS \([^()]+\)$"
)

BOOKKEEPING = ("schema_versions", "schema_locks")
"""Tables of no migration: they tell of migrations."""


def test_migrations_are_numbered_from_one_to_the_version_of_this_code() -> None:
    assert [number for number, _ in migrations()] == list(range(1, SCHEMA_VERSION + 1))
    assert 1 <= SCHEMA_COMPAT_VERSION <= SCHEMA_VERSION


def test_from_the_next_version_on_the_programs_of_the_one_before_go_on() -> None:
    before = max(VERSION_OF_FIRST_RELEASE, SCHEMA_VERSION - NEWER_MAX)
    assert before >= SCHEMA_COMPAT_VERSION


def test_every_statement_makes_something_and_none_takes_away() -> None:
    """And may be repeated: a migration that was interrupted is begun anew."""
    for _, statements in migrations():
        assert statements
        for statement in statements:
            assert ADDS.match(statement) or statement in TAKEN_AWAY, statement


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE inbox DROP muted",
        "ALTER TABLE inbox RENAME muted TO quiet",
        "ALTER TABLE inbox ADD IF NOT EXISTS (a int) WITH gc_grace_seconds = 1",
        "ALTER TABLE inbox WITH gc_grace_seconds = 1",
        "ALTER TABLE inbox ADD (starred boolean)",
        "CREATE TABLE things (id int PRIMARY KEY)",
        "DROP TABLE inbox",
        "TRUNCATE inbox",
    ],
)
def test_what_takes_away_or_cannot_be_repeated_would_be_found(statement: str) -> None:
    assert not ADDS.match(statement)


def test_released_migrations_are_as_they_were() -> None:
    folder = files("infra.cassandra").joinpath("migrations")
    found = {
        entry.name: hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in folder.iterdir()
        if entry.name in RELEASED
    }
    assert found == RELEASED, "write a new migration, and leave released ones as they are"
    newer = {number for number, _ in migrations()} - {int(name[:3]) for name in RELEASED}
    assert len(newer) <= NEWER_MAX, "one migration a release: list the released ones"


@pytest.mark.parametrize(
    ("ahead", "compat_ahead", "advice"),
    [
        (0, 0, None),
        (1, 0, None),
        (1, -1, None),
        (1, 1, "Upgrade this program"),
        (2, 0, "Upgrade this program"),
        (-1, -1, "diffusion migrate"),
    ],
)
def test_tables_one_version_ahead_are_used_and_others_are_refused(
    ahead: int, compat_ahead: int, advice: str | None
) -> None:
    reason = refusal(SCHEMA_VERSION + ahead, SCHEMA_VERSION + compat_ahead)
    assert reason is None if advice is None else advice in reason


def test_no_statement_is_cut_in_its_middle() -> None:
    for _, statements in migrations():
        for statement in statements:
            assert statement.count("(") == statement.count(")")
            assert statement.count("'") % 2 == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("-- a comment; with a semicolon\n", []),
        ("A;\nB;", ["A", "B"]),
        ("A\n  b;\n\n-- c\nD;\n", ["A\n  b", "D"]),
        ("A (\n    -- inside; too\n    b\n);", ["A (\n    b\n)"]),
        ("A;;\n;B", ["A", "B"]),
        ("A", ["A"]),
    ],
)
def test_a_migration_is_split_at_semicolons_outside_of_comments(
    text: str, expected: list[str]
) -> None:
    assert _statements(text) == expected


statements = st.lists(
    st.text(st.sampled_from("AB c\n()"), min_size=1).map(str.strip).filter(bool), max_size=5
)


@given(statements)
def test_what_is_joined_is_split_into_the_same(found: list[str]) -> None:
    text = "".join(f"-- note; {number}\n{one};\n" for number, one in enumerate(found))
    assert _statements(text) == found


def texts() -> Iterator[tuple[str, str]]:
    """Every CQL text of the tables' modules; what benchmarks measure against is not of ours."""
    for found in pkgutil.iter_modules(infra.cassandra.__path__):
        if found.name == yardstick.__name__.rpartition(".")[2]:
            continue
        module = importlib.import_module(f"infra.cassandra.{found.name}")
        for name, value in inspect.getmembers(module):
            if name.isupper() and isinstance(value, str) and " ks." in value:
                yield f"{found.name}.{name}", value


@pytest.mark.parametrize(("name", "cql"), list(texts()), ids=lambda value: value[:50])
def test_no_statement_deletes_and_every_write_says_its_timestamp(name: str, cql: str) -> None:
    """A delete at the default timestamp would hide every later write: theirs are sequences."""
    assert "DELETE" not in cql
    assert "TRUNCATE" not in cql
    if "UPDATE" in cql and " ks.schema_locks " not in cql:
        assert "TIMESTAMP ?" in cql
    if "INSERT" in cql:
        assert cql.endswith("IF NOT EXISTS"), "only epochs are inserted, once"


@pytest.mark.parametrize(("name", "cql"), list(texts()), ids=lambda value: value[:50])
def test_every_statement_names_a_table_and_columns_that_there_are(name: str, cql: str) -> None:
    table = re.search(r" ks\.(\w+)", cql)[1]
    if table in BOOKKEEPING:
        return
    known = {*TABLES[table].columns, *TABLES[table].key}
    words = set(re.findall(r"\b[a-z_]+\b", cql)) - {table, "ks", "true", "false", "count"}
    assert words <= known


@pytest.mark.parametrize(("name", "cql"), list(texts()), ids=lambda value: value[:50])
def test_every_statement_names_its_columns(name: str, cql: str) -> None:
    """So that a column which a newer release adds changes nothing for it."""
    assert "*" not in cql
    if "INSERT" in cql:
        assert re.match(r"INSERT INTO ks\.\w+ \([a-z_, ]+\) VALUES", cql)


def test_nobody_else_reads_or_inserts_without_naming_columns() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for package in ("infra", "streams", "consumers", "syncapi", "diffusion", "sdk")
        for path in (ROOT / package).rglob("*.py")
        for match in re.finditer(
            r"(?i:SELECT)\s+\*|INSERT( OR \w+)? INTO \S+ +VALUES", path.read_text()
        )
    ]
    assert found == []
