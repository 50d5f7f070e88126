"""Migrations on a real Cassandra: several at once, one that was interrupted, and tables of others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.cassandra.schema import (
    SCHEMA_COMPAT_VERSION,
    SCHEMA_VERSION,
    SchemaError,
    migrate,
    migrations,
    open_session,
)
from infra.cassandra.session import Session
from infra.settings import CassandraSettings, Settings

AT_ONCE = 4
ALL = [f"migration {number:03}" for number in range(1, SCHEMA_VERSION + 1)]


@pytest.fixture
def settings(servers: Settings, unique: Callable[[str], str]) -> Iterator[CassandraSettings]:
    keyspace = unique("migrated").replace("-", "_")
    made = servers.cassandra.model_copy(update={"keyspace": keyspace})
    yield made
    session = Session(made)
    session.run_ddl(f"DROP KEYSPACE IF EXISTS {keyspace}")
    session.close()


@pytest.fixture
def session(settings: CassandraSettings) -> Iterator[Session]:
    made = Session(settings)
    yield made
    made.close()


def set_version(session: Session, version: int, compat_version: int = 1) -> None:
    session.run_ddl(
        f"INSERT INTO {session.settings.keyspace}.schema_versions (id, version, compat_version) "
        f"VALUES (1, {version}, {compat_version})"
    )


def columns(session: Session) -> list[tuple[str, str, str]]:
    """Table, column and type of all there are."""
    return sorted(
        session.run_ddl(
            "SELECT table_name, column_name, type FROM system_schema.columns "
            f"WHERE keyspace_name = '{session.settings.keyspace}'"
        )
    )


def test_of_several_at_once_one_makes_the_tables_and_the_others_wait(
    settings: CassandraSettings, session: Session
) -> None:
    together = threading.Barrier(AT_ONCE)
    said: list[str] = []

    def run() -> int:
        together.wait()
        return migrate(settings, said.append)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        before = [done.result() for done in [pool.submit(run) for _ in range(AT_ONCE)]]
    assert sorted(before) == [0, *[SCHEMA_VERSION] * (AT_ONCE - 1)]
    assert [line for line in said if line in ALL] == ALL
    open_session(settings).close()
    # A row whose one cell was taken back is none.
    assert session.run_ddl(f"SELECT owner FROM {settings.keyspace}.schema_locks") == []


def test_a_migration_that_was_interrupted_is_taken_up_again(
    settings: CassandraSettings, session: Session
) -> None:
    """Wherever it was: every statement is repeated over what all of them have left."""
    migrate(settings, lambda _: None)
    whole = columns(session)
    for number, _ in migrations():
        set_version(session, number - 1)
        with pytest.raises(SchemaError, match=r"Run `diffusion migrate`"):
            open_session(settings)
        said: list[str] = []
        assert migrate(settings, said.append) == number - 1
        assert said == ALL[number - 1 :]
        assert columns(session) == whole
    open_session(settings).close()


def test_tables_of_the_next_version_are_used_and_later_ones_refused(
    settings: CassandraSettings, session: Session
) -> None:
    migrate(settings, lambda _: None)
    set_version(session, SCHEMA_VERSION + 1, SCHEMA_COMPAT_VERSION)
    open_session(settings).close()
    assert migrate(settings, lambda _: None) == SCHEMA_VERSION + 1
    open_session(settings).close()
    for version, compat_version in ((2, 0), (1, 1)):
        set_version(session, SCHEMA_VERSION + version, SCHEMA_COMPAT_VERSION + compat_version)
        with pytest.raises(SchemaError, match="Upgrade this program"):
            open_session(settings)


def test_a_keyspace_that_was_dropped_is_made_anew(
    settings: CassandraSettings, session: Session
) -> None:
    """Its lock has the same id then."""
    migrate(settings, lambda _: None)
    session.run_ddl(f"DROP KEYSPACE {settings.keyspace}")
    said: list[str] = []
    assert migrate(settings, said.append) == 0
    assert said == ALL
    open_session(settings).close()
