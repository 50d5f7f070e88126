"""The pending queue: what changed and was not yet processed by the app. SQL on an open transaction.

An entry is one conversation (or one item of a user module), however often it changed. It is put in
by the transaction that stores the change, handed out when it is due, and leaves by `ack` only:

    put ──> due ──claim──> the app works ──ack──> gone
             ^                  │
             │                  ├── fails: `retry`: due again after a pause
             │                  └── dies: nothing was written, so it is still due
             └── a newer change: due at once, attempts kept

Handing out writes nothing: whoever asks again before `ack` or `retry` gets the same entries again,
also after a crash. So an entry may be processed twice and is never skipped.

`ack` names the *ticket* that was handed out, not the version: every change gets a ticket of its
own, never used again in this store, while a head that comes from the read side may bring news
without a new version. An entry whose ticket is newer than the one named has changed meanwhile, and
stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schemas.protocol import ALL_MODULES
from sdk.client.kinds import Kinds
from sdk.client.limits import (
    DETAIL_CHARS_MAX,
    RETRY_BASE_MS,
    RETRY_DOUBLINGS_MAX,
    RETRY_MAX_MS,
)

CONVERSATION: Final = ""
"""What stands in the column `module` for a conversation."""

# A pause is at most RETRY_MAX_MS, so a time further ahead was written before the device's clock was
# set back; waiting for it could take years.
_DUE: Final = "(p.next_retry_at_ms <= :now_ms OR p.next_retry_at_ms > :now_ms + :pause_max_ms)"

_ENTRY: Final = (
    "SELECT p.item_id, p.version, p.ticket, p.kinds, p.enqueued_at_ms, p.attempts, p.last_error"
)
_SELECT_CONVERSATIONS: Final = (
    f"{_ENTRY} FROM pending p JOIN conversations c ON c.conversation_id = p.item_id"
    f" WHERE p.module = '' AND {_DUE}"
    " ORDER BY c.pinned DESC, c.activity_ms DESC, c.conversation_id LIMIT :limit"
)
_SELECT_ITEMS: Final = (
    f"{_ENTRY}, p.module, coalesce(m.op, 'refresh'), coalesce(m.item_version, 0)"
    " FROM pending p LEFT JOIN modules m ON m.module = p.module AND m.item_id = p.item_id"
    f" WHERE p.module <> '' AND {_DUE} ORDER BY p.ticket LIMIT :limit"
)
_PUT: Final = (
    "INSERT INTO pending (module, item_id, version, ticket, kinds, enqueued_at_ms)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (module, item_id) DO UPDATE SET"
    " version = max(version, excluded.version), ticket = excluded.ticket,"
    " kinds = kinds | excluded.kinds, next_retry_at_ms = 0"
)


@dataclass(frozen=True, slots=True)
class Change:
    """A change to put into the queue."""

    module: str
    item_id: str
    version: int
    kinds: Kinds


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A conversation that changed. `ticket` is what `ack` and `retry` name; leave it as it is.

    `version` is the newest change told by the server, `enqueued_at_ms` when the oldest change that
    is not processed came, `attempts` how often processing failed and `last_error` how.
    """

    conversation_id: str
    version: int
    ticket: int
    kinds: Kinds
    enqueued_at_ms: int
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class PendingItem:
    """An item of a user module that changed; the other fields are those of `PendingEntry`.

    `op` is `insert`, `update` or `delete`, or `refresh`: the module is to be fetched anew, because
    the server cannot tell what changed in it. `item_id` is then empty, and `module` may be `*`
    (`schemas.protocol.ALL_MODULES`): all modules. It comes before items that changed later.
    """

    module: str
    item_id: str
    op: str
    item_version: int
    version: int
    ticket: int
    kinds: Kinds
    enqueued_at_ms: int
    attempts: int
    last_error: str | None


def refresh(module: str) -> Change:
    """Have a module (`ALL_MODULES`: all) fetched anew. No item has the empty id, so it is none."""
    return Change(module, "", 0, Kinds.ITEM)


def put(db: sqlite3.Connection, changes: Iterable[Change], ticket: int, now_ms: int) -> int:
    """Put changes into the queue; return the last ticket given, `ticket` being the one before.

    An entry that waits after a failure becomes due: a new change is a new reason to try. Its
    attempts stay, so that the next failure waits longer still.
    """
    rows = [
        (change.module, change.item_id, change.version, number, change.kinds.value, now_ms)
        for number, change in enumerate(changes, ticket + 1)
    ]
    db.executemany(_PUT, rows)
    return ticket + len(rows)


def forget_items(db: sqlite3.Connection, module: str) -> None:
    """Take out what is due of a module (`ALL_MODULES`: of all), a refresh included."""
    if module == ALL_MODULES:
        db.execute("DELETE FROM pending WHERE module <> ''")
    else:
        db.execute("DELETE FROM pending WHERE module = ?", (module,))


def forget_conversation(db: sqlite3.Connection, conversation_id: str) -> None:
    """Take out a conversation: the app can do nothing for one that this user does not have."""
    db.execute("DELETE FROM pending WHERE module = '' AND item_id = ?", (conversation_id,))


def due_conversations(db: sqlite3.Connection, limit: int, now_ms: int) -> list[PendingEntry]:
    """Read due conversations: pinned first, then the most recently active."""
    rows = db.execute(_SELECT_CONVERSATIONS, _due_arguments(limit, now_ms))
    return [
        PendingEntry(item_id, version, ticket, Kinds(kinds), *rest)
        for item_id, version, ticket, kinds, *rest in rows
    ]


def due_items(db: sqlite3.Connection, limit: int, now_ms: int) -> list[PendingItem]:
    """Read due module items, in the order in which they changed."""
    rows = db.execute(_SELECT_ITEMS, _due_arguments(limit, now_ms))
    return [
        PendingItem(module, item_id, op, item_version, version, ticket, Kinds(kinds), *rest)
        for item_id, version, ticket, kinds, *rest, module, op, item_version in rows
    ]


def ack(db: sqlite3.Connection, entry: PendingEntry | PendingItem) -> bool:
    """Remove an entry that was processed; False: it changed meanwhile and stays, or is gone."""
    cursor = db.execute(
        "DELETE FROM pending WHERE module = ? AND item_id = ? AND ticket <= ?",
        (*_key(entry), entry.ticket),
    )
    return cursor.rowcount == 1


def retry(
    db: sqlite3.Connection,
    entry: PendingEntry | PendingItem,
    error: str,
    now_ms: int,
    jitter: float,
) -> None:
    """Keep an entry whose processing failed, and make it due after a pause."""
    row = db.execute(
        "SELECT attempts FROM pending WHERE module = ? AND item_id = ?", _key(entry)
    ).fetchone()
    if row is None:
        # Acknowledged by another worker, or the conversation is gone: nothing is left to do.
        return
    attempts = row[0] + 1
    db.execute(
        "UPDATE pending SET attempts = ?, next_retry_at_ms = ?, last_error = ?"
        " WHERE module = ? AND item_id = ?",
        (
            attempts,
            now_ms + pause_ms(attempts, jitter),
            error[:DETAIL_CHARS_MAX],
            *_key(entry),
        ),
    )


def pause_ms(attempts: int, jitter: float) -> int:
    """Pause after that many failures: `jitter` (0 to 1) of the doubled, capped base.

    "Full jitter", so that devices which failed together do not come back together (M. Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    doublings = min(attempts - 1, RETRY_DOUBLINGS_MAX)
    return int(jitter * min(RETRY_MAX_MS, RETRY_BASE_MS << doublings))


def _due_arguments(limit: int, now_ms: int) -> dict[str, int]:
    return {"limit": limit, "now_ms": now_ms, "pause_max_ms": RETRY_MAX_MS}


def _key(entry: PendingEntry | PendingItem) -> tuple[str, str]:
    if isinstance(entry, PendingItem):
        return entry.module, entry.item_id
    return CONVERSATION, entry.conversation_id
