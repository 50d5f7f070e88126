"""The schema: numbered migrations, forward only.

`SCHEMA_VERSION` is what this code writes; `SCHEMA_COMPAT_VERSION` the oldest code version that may
still run against it. 1: the first tables. 2: activity of conversations. 3: pinned lists,
notes of devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Final

from infra.cassandra.session import Session
from infra.settings import CassandraSettings
from schemas.errors import PermanentError

SCHEMA_VERSION: Final = 3
SCHEMA_COMPAT_VERSION: Final = 3

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
    """Create the keyspace and bring it to `SCHEMA_VERSION`; returns the version found before."""
    session = Session(settings)
    try:
        session.run_ddl(
            f"CREATE KEYSPACE IF NOT EXISTS {settings.keyspace} WITH replication = "
            f"{{'class': 'NetworkTopologyStrategy', '{settings.local_datacenter}': "
            f"{settings.replication_factor}}}"
        )
        session.run_ddl(
            f"CREATE TABLE IF NOT EXISTS {settings.keyspace}.schema_versions "
            "(id int PRIMARY KEY, version int, compat_version int)"
        )
        before = _version(session)
        # Migrations name their tables without a keyspace; only this session, which ends here, uses
        # one.
        session.run_ddl(f"USE {settings.keyspace}")
        for number, statements in migrations():
            if number <= before:
                continue
            on_progress(f"migration {number:03}")
            for statement in statements:
                session.run_ddl(statement)
            session.run_ddl(
                f"INSERT INTO {settings.keyspace}.schema_versions (id, version, compat_version) "
                f"VALUES (1, {number}, {SCHEMA_COMPAT_VERSION})"
            )
        return before
    finally:
        session.close()


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
    if version < SCHEMA_VERSION or compat > SCHEMA_VERSION:
        advice = "Run `diffusion migrate`." if version < SCHEMA_VERSION else "Update this program."
        raise SchemaError(
            f"Keyspace {settings.keyspace} is at schema version {version}, this program needs "
            f"{SCHEMA_VERSION}. {advice}"
        )


def _version(session: Session) -> int:
    rows = session.read(SELECT_VERSION)
    return int(rows[0][0]) if rows else 0


def _statements(text: str) -> list[str]:
    """Split a migration into statements: comments are whole lines, statements end in `;`."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]
