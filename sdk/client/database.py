"""The SQLite file: opening, settings, migrations, and whose it is. No rows of the sync in here.

A store has a version (`PRAGMA user_version`: the number of the last migration that ran) and a
compat version (`schema_compat`: the oldest client version that can still use it). Older files are
migrated forward; newer ones are used as long as their compat version allows; others are refused.
Nothing is migrated back.

Durability. `synchronous=NORMAL` with WAL is enough, and here is why. A transaction is in the WAL
(written to the operating system) before COMMIT returns, so killing the process at any instruction
loses none. A power cut may lose the *last* transactions, always a suffix, never the middle of one.
Data, cursor and pending queue of an answer are one transaction, so what is left is the store as it
was after some earlier answer, with the cursor of that answer, and the next sync brings the rest
again. A lost acknowledgement only means that an entry is processed twice, which processing must
bear anyway. `FULL` would pay one fsync per answer and per acknowledgement for nothing but the last
draft.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Final

from sdk.client.errors import StoreError, StoreOwnerError, StoreVersionError
from sdk.client.limits import STORE_BUSY_MS

APPLICATION_ID: Final = 0x57444631
"""`WDF1`: tells this store from any other SQLite file."""

SCHEMA_VERSION: Final = 3
"""Number of the newest migration.

1: sync state, conversations, drafts, modules, pending;
2: the number of conversations, as told by the server;
3: when everything was fetched and compared; order and leases of the pending queue.
"""

SQLITE_VERSION_MIN: Final = (3, 24, 0)
"""The first release with `INSERT ... ON CONFLICT DO UPDATE`."""


def connect(path: str) -> sqlite3.Connection:
    """Open the file at `path` (or `:memory:`) in its newest form; raises `StoreError`."""
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.24 or newer is needed")
    try:
        # One connection for all threads; `sdk.client.store` lets one of them in at a time.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StoreError(f"the store {path!r} cannot be opened: {error}") from error
    try:
        db.execute(f"PRAGMA busy_timeout = {STORE_BUSY_MS}")
        _migrate(db, path)
        (journal,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        # Some network file systems cannot do WAL. A rollback journal is safe with FULL only.
        db.execute(f"PRAGMA synchronous = {'NORMAL' if journal == 'wal' else 'FULL'}")
    except sqlite3.Error as error:
        db.close()
        raise StoreError(
            f"the store {path!r} cannot be used: {error}; if it is damaged, delete it, and the next"
            " sync fetches everything again"
        ) from error
    except BaseException:
        db.close()
        raise
    return db


def bind(db: sqlite3.Connection, user_id: str, device_id: str) -> None:
    """Make the store this user's, or check that it is; raises `StoreOwnerError`.

    The device id may change: it names the device to the server, and no row depends on it.
    """
    with transaction(db):
        row = db.execute("SELECT user_id FROM sync_state").fetchone()
        if row is None:
            db.execute(
                "INSERT INTO sync_state (id, user_id, device_id) VALUES (1, ?, ?)",
                (user_id, device_id),
            )
        elif row[0] != user_id:
            raise StoreOwnerError(
                f"the store belongs to user {row[0]!r}, not to {user_id!r}:"
                " give every user a store of his own"
            )
        else:
            db.execute("UPDATE sync_state SET device_id = ?", (device_id,))


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all of the block or nothing of it.

    The write lock is taken at the start, so that what the block reads is still so when it writes.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        # A failed COMMIT (disk full) may have ended the transaction already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _migrate(db: sqlite3.Connection, path: str) -> None:
    if _version(db, path) >= SCHEMA_VERSION:
        return
    with transaction(db):
        # Read again under the write lock: another process may have migrated in between.
        for number in range(_version(db, path) + 1, SCHEMA_VERSION + 1):
            for statement in _statements(_script(number)):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _version(db: sqlite3.Connection, path: str) -> int:
    """Version of the file; 0 for an empty one. Refuses files that this client must not touch."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (empty and version == 0 and application == 0):
        raise StoreError(f"{path!r} is a database of something else: name another file")
    if version > SCHEMA_VERSION:
        compat = int(db.execute("SELECT compat_version FROM schema_compat").fetchone()[0])
        if compat > SCHEMA_VERSION:
            raise StoreVersionError(
                f"the store {path!r} needs client schema {compat}, this is {SCHEMA_VERSION}:"
                " update the app, or delete the file, and the next sync fetches everything again"
            )
    return version


def _script(number: int) -> str:
    folder = resources.files("sdk.client").joinpath("migrations")
    (name,) = (item for item in folder.iterdir() if item.name.startswith(f"{number:03}_"))
    return name.read_text(encoding="utf-8")


def _statements(script: str) -> Iterator[str]:
    """Cut a script into statements; `executescript` would commit before it begins."""
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        if sqlite3.complete_statement("\n".join(lines)):
            yield "\n".join(lines)
            lines.clear()
