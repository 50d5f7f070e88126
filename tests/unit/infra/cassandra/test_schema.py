"""The schema: migrations are numbered without a gap, and taken apart into whole statements."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import infra.cassandra
from infra.cassandra import yardstick
from infra.cassandra.schema import (
    SCHEMA_COMPAT_VERSION,
    SCHEMA_VERSION,
    _statements,
    migrations,
)
from tests.unit.infra.cassandra.support import TABLES


def test_migrations_are_numbered_from_one_to_the_version_of_this_code() -> None:
    assert [number for number, _ in migrations()] == list(range(1, SCHEMA_VERSION + 1))
    assert 1 <= SCHEMA_COMPAT_VERSION <= SCHEMA_VERSION


def test_every_statement_makes_something_and_none_takes_away() -> None:
    for _, statements in migrations():
        assert statements
        for statement in statements:
            assert re.match(r"(CREATE TABLE IF NOT EXISTS|ALTER TABLE \w+ ADD)\b", statement)


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
    if "UPDATE" in cql:
        assert "TIMESTAMP ?" in cql
    if "INSERT" in cql:
        assert cql.endswith("IF NOT EXISTS"), "only epochs are inserted, once"


@pytest.mark.parametrize(("name", "cql"), list(texts()), ids=lambda value: value[:50])
def test_every_statement_names_a_table_and_columns_that_there_are(name: str, cql: str) -> None:
    table = re.search(r" ks\.(\w+)", cql)[1]
    if table == "schema_versions":
        return
    known = {*TABLES[table].columns, *TABLES[table].key}
    words = set(re.findall(r"\b[a-z_]+\b", cql)) - {table, "ks", "true", "false", "count"}
    assert words <= known
