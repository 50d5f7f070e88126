"""A file that cannot be the store is set aside, and a new store begun. Nothing is ever deleted.

Opening sets aside a file that is damaged, or that is something else than a store; `replace` does so
with one that proved damaged in use. What is another user's, of a newer client, locked, or not to be
read or written is an error and stays where it is.

The file is renamed to `<name>.aside-<UTC time>-<n>`, with what SQLite keeps beside it. The name is
taken first, by an empty file that only one process can have made, so nothing is ever overwritten;
where that fails (no room, no right to write), nothing was renamed. The order, and dying in between:

1. `-wal`, because SQLite would play a log that is left behind into a new file of that name. Killed
   after it, the file is there without its newest transactions: a store of an earlier time, which a
   sync brings up to date, or damaged still, and the next opening sets it aside under another name;
2. `-journal`, for the same reason: a new file would be rolled back to pages of the old one. Killed
   after it, a transaction may be half in the file, which was damaged, or no store, before;
3. `-shm`, an index of the log that SQLite makes anew when it is missing;
4. the file. Killed after it, the store is new, and the drafts are in the file that was set aside.

Two processes may find the damage at once. Who comes second finds another file (by device and inode)
than the one he looked at, and takes that. Between this look and the renames another moment is left,
in which a store that was just begun can be set aside: also that loses nothing. A process that goes
on with the old file writes to the one set aside, until it looks.

The new store knows whose it is, and fetches everything with the next sync. Drafts are nowhere else,
so those that can be read are carried over, unless the file was another user's, or nobody's.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sdk.client import database
from sdk.client.errors import StoreDamagedError, StoreError
from sdk.client.events import StoreSetAside
from sdk.client.limits import DRAFT_CHARS_MAX, STORE_OPENINGS_MAX

COMPANIONS: Final = ("-wal", "-journal", "-shm")
"""What SQLite keeps beside a file, in the order in which it is moved."""

_ASIDES_MAX: Final = 1_000
"""Files set aside in one second; more is a loop, and must not fill the folder."""

_DRAFT_TYPES: Final = (str, str, int)


@dataclass(slots=True)
class Opened:
    """A store that is open: its connection, whose it is, and what was set aside for it."""

    db: sqlite3.Connection
    path: str
    user_id: str
    device_id: str
    file: tuple[int, int] | None
    set_aside: StoreSetAside | None = None


@dataclass(slots=True)
class _Kept:
    """What can still be read of a file that was set aside."""

    user_id: str | None = None
    device_id: str | None = None
    drafts: list[tuple[str, str, int]] = field(default_factory=list)


def open_or_replace(path: str, user_id: str | None, device_id: str | None, now_ms: int) -> Opened:
    """Open a store; if the file is damaged or no store, set it aside and begin a new one.

    Raises `StoreError` for what else is wrong; nothing is then renamed.
    """
    if database.is_file(path):
        # SQLite follows links, and keeps its companions where they end.
        path = os.path.realpath(path)
        aside = _set_stray_log_aside(path, now_ms)
    else:
        aside = None
    found = _file_at(path)
    try:
        opened = _open(path, user_id, device_id)
    except StoreDamagedError as error:
        return _replace(path, found, str(error), user_id, device_id, now_ms)
    opened.set_aside = aside
    return opened


def replace(opened: Opened, why: str, now_ms: int) -> Opened:
    """Set aside a store that proved damaged in use, and begin a new one of the same user.

    The connection is closed first, also when this raises. On closing, SQLite may move transactions
    from the log into the file, where they belong.
    """
    with contextlib.suppress(sqlite3.Error):
        opened.db.close()
    user_id = opened.user_id or None
    return _replace(opened.path, opened.file, why, user_id, opened.device_id, now_ms)


def _open(path: str, user_id: str | None, device_id: str | None) -> Opened:
    db = database.connect(path, user_id)
    try:
        owner, device = database.bind(db, user_id, device_id)
    except database.FAILURES as error:
        db.close()
        if database.is_damage(error):
            raise StoreDamagedError(f"the store {path!r} is damaged: {error}") from error
        raise StoreError(f"the store {path!r} cannot be used: {error}") from error
    except BaseException:
        db.close()
        raise
    return Opened(db, path, owner, device, _file_at(path))


def _replace(
    path: str,
    found: tuple[int, int] | None,
    why: str,
    user_id: str | None,
    device_id: str | None,
    now_ms: int,
) -> Opened:
    for _ in range(STORE_OPENINGS_MAX):
        aside = ""
        kept = _Kept()
        if found is not None and _file_at(path) == found:
            aside = _set_aside(path, now_ms)
            kept = _read_aside(aside, user_id)
        found = _file_at(path)
        try:
            opened = _open(path, user_id or kept.user_id, device_id or kept.device_id)
        except StoreDamagedError as error:
            why = str(error)
            continue
        try:
            drafts = _carry_drafts(opened.db, kept.drafts)
        except BaseException:
            opened.db.close()
            raise
        opened.set_aside = StoreSetAside(aside, why, drafts)
        return opened
    raise StoreError(f"new stores at {path!r} are damaged, too: {why}; look at the disk")


def _set_stray_log_aside(path: str, now_ms: int) -> StoreSetAside | None:
    """Save a log whose file is gone: SQLite deletes it when it makes a new file."""
    # First the log, then the file: a process that makes a store at this moment begins the log last.
    if _size(path + "-wal") == 0 or _size(path) > 0:
        return None
    aside = _new_name(path, now_ms)
    _rename(path + "-wal", aside + "-wal")
    return StoreSetAside(aside + "-wal", f"{path!r} was gone, and only its log was left", 0)


def _set_aside(path: str, now_ms: int) -> str:
    if not Path(path).is_file():
        raise StoreError(f"{path!r} is no file: name another one for the store")
    aside = _new_name(path, now_ms)
    for companion in COMPANIONS:
        if Path(path + companion).exists():
            _rename(path + companion, aside + companion)
    _rename(path, aside)
    return aside


def _rename(old: str, new: str) -> None:
    """Rename a file to a name that was taken for it."""
    try:
        Path(old).replace(new)
    except FileNotFoundError:
        # Another process was quicker, or closed the store.
        return
    except OSError as error:
        raise StoreError(f"{old!r} is damaged, and cannot be set aside: {error}") from error


def _new_name(path: str, now_ms: int) -> str:
    """Take a name that nobody has, by making an empty file."""
    second = datetime.fromtimestamp(now_ms // 1_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(1, _ASIDES_MAX + 1):
        name = f"{path}.aside-{second}-{number}"
        if any(os.path.lexists(name + companion) for companion in COMPANIONS):
            continue
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(f"{path!r} is damaged, and cannot be set aside: {error}") from error
        return name
    raise StoreError(f"{_ASIDES_MAX:,} files beside {path!r} were set aside in one second")


def _read_aside(aside: str, user_id: str | None) -> _Kept:
    """Read what can be read; nothing of another user's, or of a file of something else."""
    kept = _Kept()
    # Without a log nothing but the file is to be read, and none is to be made beside it.
    alone = "" if Path(aside + "-wal").exists() else "&immutable=1"
    address = f"file:{quote(aside)}?mode=ro{alone}"
    with (
        contextlib.suppress(*database.FAILURES, StoreDamagedError),
        contextlib.closing(sqlite3.connect(address, uri=True)) as old,
    ):
        (application,) = old.execute("PRAGMA application_id").fetchone()
        identity = old.execute("SELECT user_id, device_id FROM sync_state").fetchone()
        owner, device = database.intact(identity or (None, None), (str, str))
        if application != database.APPLICATION_ID or user_id not in {None, owner}:
            return kept
        kept.user_id, kept.device_id = owner or None, device or None
        for row in old.execute("SELECT conversation_id, draft, written_at_ms FROM drafts"):
            conversation_id, draft, written_at_ms = database.intact(row, _DRAFT_TYPES)
            if len(draft) <= DRAFT_CHARS_MAX:
                kept.drafts.append((conversation_id, draft, written_at_ms))
    return kept


def _carry_drafts(db: sqlite3.Connection, drafts: list[tuple[str, str, int]]) -> int:
    carried = 0
    if drafts:
        with database.transaction(db):
            for row in drafts:
                carried += db.execute(
                    "INSERT OR IGNORE INTO drafts (conversation_id, draft, written_at_ms)"
                    " VALUES (?, ?, ?)",
                    row,
                ).rowcount
    return carried


def _file_at(path: str) -> tuple[int, int] | None:
    """Which file has this name now; None for none, and for what is not in a file."""
    if not database.is_file(path):
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
