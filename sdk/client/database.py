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

Integrity. With 50,000 conversations, all unread and all pending (12 MB; SQLite 3.40, x86, the file
in the page cache; milliseconds, the best of several):

    PRAGMA integrity_check(1)                      71 to 130  also compares indexes with tables
    PRAGMA quick_check(1)                          20 to 22   structure of every page, NOT NULL
    PRAGMA quick_check(1), nothing pending         13 to 14
    types of the columns of all conversations            31
    count(*) of both tables                             3.5   sees little
    version, columns, the one row of sync_state         0.4
    all of an opening                                    23   with nothing pending, 14

An opening may take 50, so `quick_check` runs on every one of a store of up to 32 MiB
(`STORE_CHECKED_PAGES_MAX`); of larger ones only version, columns and state are looked at. A mark
that the last process closed the store would save little and say less: on a phone a process is
nearly always killed, which does no harm to a file, and what does (a disk, another program, a backup
of half the files) leaves no mark. What the check does not see comes up in use: SQLite finds a page
that makes no sense, or `intact` a value of another type than its column; both raise
`StoreDamagedError`. Wrong values of the right type are found by comparing digests with the server,
and by nothing here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import UnionType
from typing import Any, Final

from schemas.limits import SEQ_MAX
from sdk.client.errors import (
    StoreDamagedError,
    StoreError,
    StoreOwnerError,
    StoreVersionError,
)
from sdk.client.limits import STORE_BUSY_MS, STORE_CHECKED_PAGES_MAX, STORE_WAL_BYTES_KEPT

APPLICATION_ID: Final = 0x57444631
"""`WDF1`: tells this store from any other SQLite file."""

SCHEMA_VERSION: Final = 3
"""Number of the newest migration.

1: sync state, conversations, drafts, modules, pending;
2: the number of conversations, as told by the server;
3: how far a full correction is, when everything was fetched and compared; order and leases of the
   pending queue.
"""

SQLITE_VERSION_MIN: Final = (3, 24, 0)
"""The first release with `INSERT ... ON CONFLICT DO UPDATE`."""

UNKNOWN_OWNER: Final = ""
"""What stands for the owner until the server, or the app, has said whose the store is."""

_COLUMNS: Final = {
    "schema_compat": "compat_version",
    "sync_state": "user_id, device_id, cursor, page, generation, revision, ticket, reset_reason,"
    " synced_at_ms, total, full_at_ms, verified_at_ms, done",
    "conversations": "conversation_id, max_seq, active_at_ms, read_seq, member, membership_at_ms,"
    " user_max_seq, min_seq, deleted_seq, deleted_at_ms, pinned, muted, listed, last_seq, unread,"
    " activity_ms, generation",
    "drafts": "conversation_id, draft, written_at_ms",
    "modules": "module, item_id, op, item_version, version",
    "pending": "module, item_id, version, ticket, kinds, enqueued_at_ms, attempts,"
    " next_retry_at_ms, last_error, leased_until_ms, rank",
}
"""What must be there, as SQLite understands the schema after the migrations."""

_INDEXES: Final = frozenset(
    {
        "conversations_by_list_order",
        "conversations_unread",
        "pending_by_rank",
        "pending_by_ticket",
        "pending_waiting",
    }
)

_STATE_TYPES: Final = (
    *(str, str, str | None, str | None, int, int, int, str | None),
    *(int | None, int | None, int | None, int | None, int),
)

_DAMAGE_CODES: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG}
)
_DAMAGE_CODES_ON_OPENING: Final = _DAMAGE_CODES | {
    # The statements of an opening are always the same: where they do not fit, the file is not what
    # its version says. In use they depend on arguments, and the fault may be the caller's.
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}


FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a statement may raise. The driver decodes SQLite's message, too, which may quote a file's
damaged bytes."""


def is_file(path: str) -> bool:
    """Say whether a store of that name is in a file: not in memory, nor in an unnamed one."""
    return path not in {"", ":memory:"}


def connect(path: str, user_id: str | None = None) -> sqlite3.Connection:
    """Open the file at `path` (or `:memory:`) in its newest form.

    Raises `StoreDamagedError` if it is damaged or no store, `StoreOwnerError` if it is another's
    than `user_id` (None: anybody's will do), damaged or not, and other `StoreError`s.
    """
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.24 or newer is needed")
    try:
        # One connection for all threads; `sdk.client.store` lets one of them in at a time.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StoreError(f"the store {path!r} cannot be opened: {error}") from error
    try:
        _make_ready(db, path, user_id)
    except FAILURES as error:
        db.close()
        if is_damage(error, _DAMAGE_CODES_ON_OPENING) or is_marked_read_only(error, path):
            raise StoreDamagedError(f"{path!r} is damaged or no store: {error}") from error
        raise StoreError(
            f"the store {path!r} cannot be used: {error}; nothing was changed"
        ) from error
    except BaseException:
        db.close()
        raise
    return db


def bind(db: sqlite3.Connection, user_id: str | None, device_id: str | None) -> tuple[str, str]:
    """Make the store this user's, or check that it is; return owner and device as stored.

    None leaves the owner as he is (`UNKNOWN_OWNER` in a new store), and the device (one drawn at
    random). The device id may change: it names the device to the server, and no row depends on it.
    Raises `StoreOwnerError`. An opening that changes nothing does not wait for another's write.
    """
    told = _merged(_identity(db), user_id, device_id)
    if told != _identity(db):
        with transaction(db):
            told = _merged(_identity(db), user_id, device_id)
            db.execute(
                "INSERT INTO sync_state (id, user_id, device_id) VALUES (1, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id,"
                " device_id = excluded.device_id",
                told,
            )
    return told


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all of the block or nothing of it.

    The write lock is taken at the start, so that what the block reads is still so when it writes.
    """
    try:
        # Inside: whoever is interrupted right after it must not leave it open.
        db.execute("BEGIN IMMEDIATE")
        yield db
        db.execute("COMMIT")
    except BaseException:
        # A failed COMMIT (disk full) may have ended the transaction already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def shrink_log(db: sqlite3.Connection) -> None:
    """Move what was committed from the log into the file, and give back the log's room.

    The log stays as large as the largest transaction otherwise, until another one is written: after
    a full correction half as large as the file. Where it fails, that is all that happens.
    """
    with suppress(*FAILURES):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def intact(row: tuple[Any, ...], types: tuple[type | UnionType, ...]) -> tuple[Any, ...]:
    """Give back a row whose values have the types of its columns; raises `StoreDamagedError`.

    SQLite keeps any type in any column, and does not look when a flipped bit turns one into
    another. Half a microsecond a row.
    """
    if not all(map(isinstance, row, types)):
        raise StoreDamagedError("a row of the store has a value of another type than its column")
    return row


def is_damage(error: Exception, codes: frozenset[int] = _DAMAGE_CODES) -> bool:
    """Say whether one of `FAILURES` means that the file is damaged: not locked, full or away."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in codes
    # Text that is no text is found by the driver, which has no code for it.
    return isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error)


def is_marked_read_only(error: Exception, path: str) -> bool:
    """Say whether only the file itself says so: a damaged header, for we never write that."""
    code = getattr(error, "sqlite_errorcode", None)
    allowed = all(os.access(one, os.W_OK) for one in (path, Path(path).parent))
    return code == sqlite3.SQLITE_READONLY and allowed


def _make_ready(db: sqlite3.Connection, path: str, user_id: str | None) -> None:
    db.execute(f"PRAGMA busy_timeout = {STORE_BUSY_MS}")
    # Before all that may refuse the file, so that another's store is his, damaged or not.
    if _version(db, path) > 0 and user_id is not None:
        _merged(_identity(db), user_id, None)
    _check_structure(db, path)
    _migrate(db, path)
    _check_schema(db, path)
    (journal,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    # Some network file systems cannot do WAL. A rollback journal is safe with FULL only.
    db.execute(f"PRAGMA synchronous = {'NORMAL' if journal == 'wal' else 'FULL'}")
    db.execute(f"PRAGMA journal_size_limit = {STORE_WAL_BYTES_KEPT}")


def _check_structure(db: sqlite3.Connection, path: str) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    if pages > STORE_CHECKED_PAGES_MAX:
        return
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreDamagedError(f"the store {path!r} is damaged: {found}")


def _check_schema(db: sqlite3.Connection, path: str) -> None:
    for table, columns in _COLUMNS.items():
        db.execute(f"SELECT {columns} FROM {table} LIMIT 0")  # noqa: S608 (constants)
    indexes = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    if missing := _INDEXES - indexes:
        raise StoreDamagedError(f"the store {path!r} is damaged: {min(missing)!r} is missing")
    rows = db.execute(f"SELECT {_COLUMNS['sync_state']} FROM sync_state").fetchall()  # noqa: S608
    for row in rows:
        _, _, cursor, page, *numbers = intact(row, _STATE_TYPES)[:7]
        counts = all(0 <= number <= SEQ_MAX for number in numbers)
        if len(rows) > 1 or not counts or None not in {cursor, page}:
            raise StoreDamagedError(f"the store {path!r} is damaged: it stands nowhere")


def _identity(db: sqlite3.Connection) -> tuple[str, str] | None:
    row = db.execute("SELECT user_id, device_id FROM sync_state").fetchone()
    if row is None:
        return None
    user_id, device_id = intact(row, (str, str))
    return user_id, device_id


def _merged(
    held: tuple[str, str] | None, user_id: str | None, device_id: str | None
) -> tuple[str, str]:
    """Owner and device to store; raises `StoreOwnerError` if the store is another's."""
    owner, device = held or (UNKNOWN_OWNER, "")
    if user_id is not None and owner not in {UNKNOWN_OWNER, user_id}:
        raise StoreOwnerError(
            f"the store belongs to user {owner!r}, not to {user_id!r}:"
            " give every user a store of his own"
        )
    return owner or user_id or UNKNOWN_OWNER, device_id or device or os.urandom(8).hex()


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
        raise StoreDamagedError(f"{path!r} is a database of something else")
    if version < 0 or (version > 0 and empty):
        raise StoreDamagedError(f"the store {path!r} is damaged: nothing of its version is there")
    if version > SCHEMA_VERSION:
        (compat,) = intact(
            db.execute("SELECT compat_version FROM schema_compat").fetchone() or (None,), (int,)
        )
        if compat > SCHEMA_VERSION:
            raise StoreVersionError(
                f"the store {path!r} needs client schema {compat}, this is {SCHEMA_VERSION}:"
                " update the app, or delete the file, and the next sync fetches everything again"
            )
    return version


def _script(number: int) -> str:
    # Needed once in the life of a file, and takes 10 ms to import.
    from importlib import resources

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
