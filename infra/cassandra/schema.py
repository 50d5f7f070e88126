"""The schema: numbered migrations, forward only, one number a release.

`SCHEMA_VERSION` is what this code needs. Tables of the next number are used, too, so that programs
of two neighbouring releases run side by side; older ones, and newer by more, are refused.
`SCHEMA_COMPAT_VERSION` is the oldest code version that may still run against the tables: from
version 4 on the one before, at most.

So that old programs live with new tables, a migration only adds: tables, and columns which programs
that do not know them leave alone and whose absence means what it meant before. What is to go is
first no longer read or written by a release, and goes with the one after that. A migration that was
released is not changed any more (tests hold the files to that), and its statements may be repeated,
so that a migration which was interrupted is begun anew.

1: the first tables. 2: activity of conversations. 3: pinned lists, notes of devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Final

from infra.cassandra import schema_lock
from infra.cassandra.session import Session
from infra.settings import CassandraSettings
from schemas.errors import PermanentError

SCHEMA_VERSION: Final = 3
SCHEMA_COMPAT_VERSION: Final = 3

NEWER_MAX: Final = 1
"""How many versions ahead of this code the tables may be. What is added may be there unused; what
this code uses may be gone two releases later."""

SELECT_VERSION: Final = "SELECT version, compat_version FROM ks.schema_versions WHERE id = 1"

_FILE: Final = re.compile(r"(\d{3})_[a-z_]+\.cql")


class SchemaError(PermanentError):
    """The keyspace is older or newer than this code can use."""


def migrations() -> list[tuple[int, list[str]]]:
    """All migrations, in order: number and statements."""
    found: list[tuple[int, list[str]]] = []
    for entry in files("infra.cassandra").joinpath("migrations").iterdir():
        match = _FILE.fullmatch(entry.name)
        if match:
            found.append((int(match[1]), _statements(entry.read_text())))
    return sorted(found)


def migrate(settings: CassandraSettings, on_progress: Callable[[str], None]) -> int:
    """Create the keyspace and bring it to `SCHEMA_VERSION`; returns the version found before.

    Two at once do it once. Raises `RetryableError` when Cassandra is away or its nodes do not
    agree.
    """
    session = Session(settings)
    try:
        session.run_ddl(
            f"CREATE KEYSPACE IF NOT EXISTS {settings.keyspace} WITH replication = "
            f"{{'class': 'NetworkTopologyStrategy', '{settings.local_datacenter}': "
            f"{settings.replication_factor}}}"
        )
        session.run_ddl(schema_lock.create(settings.keyspace))
        with schema_lock.held(session, on_progress) as keep:
            return _migrate(session, settings.keyspace, keep, on_progress)
    finally:
        session.close()


def _migrate(
    session: Session, keyspace: str, keep: Callable[[], None], on_progress: Callable[[str], None]
) -> int:
    session.run_ddl(
        f"CREATE TABLE IF NOT EXISTS {keyspace}.schema_versions "
        "(id int PRIMARY KEY, version int, compat_version int)"
    )
    before = _version(session)
    # Migrations name their tables without a keyspace; only this session, which ends here, uses one.
    session.run_ddl(f"USE {keyspace}")
    for number, statements in migrations():
        if number <= before:
            continue
        on_progress(f"migration {number:03}")
        for statement in statements:
            keep()
            session.run_ddl(statement)
        session.run_ddl(
            f"INSERT INTO {keyspace}.schema_versions (id, version, compat_version) "
            f"VALUES (1, {number}, {SCHEMA_COMPAT_VERSION})"
        )
    return before


def open_session(settings: CassandraSettings) -> Session:
    """Connect with the keyspace set; raises `SchemaError` if the tables are not those of this
    code.
    """
    session = Session(settings)
    try:
        _check(session, settings)
    except BaseException:
        session.close()
        raise
    return session


def _check(session: Session, settings: CassandraSettings) -> None:
    known = session.run_ddl(
        "SELECT keyspace_name FROM system_schema.tables WHERE keyspace_name = "
        f"'{settings.keyspace}' AND table_name = 'schema_versions'"
    )
    if not known:
        raise SchemaError(
            f"Keyspace {settings.keyspace} has no tables yet. Run `diffusion migrate` once."
        )
    rows = session.read(SELECT_VERSION)
    version, compat = rows[0] if rows else (0, 0)
    reason = refusal(version, compat)
    if reason is not None:
        raise SchemaError(f"Keyspace {settings.keyspace} is at schema version {version}, {reason}")


def refusal(version: int, compat_version: int) -> str | None:
    """Why this program does not use tables of these versions, and what to do; None if it does."""
    if version < SCHEMA_VERSION:
        return f"this program needs {SCHEMA_VERSION}. Run `diffusion migrate`."
    if version > SCHEMA_VERSION + NEWER_MAX or compat_version > SCHEMA_VERSION:
        return (
            f"this program knows {SCHEMA_VERSION}, and is too old for it. Upgrade this program; to "
            "go through several releases without a stop, take them one by one."
        )
    return None


def _version(session: Session) -> int:
    rows = session.read(SELECT_VERSION)
    return int(rows[0][0]) if rows else 0


def _statements(text: str) -> list[str]:
    """Split a migration into statements: comments are whole lines, statements end in `;`."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]
