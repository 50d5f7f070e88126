"""What one answer does to the rows. SQL on an open transaction; the course of the sync is not here.

The entries of an answer become rows, what they changed goes into the pending queue, and the state
of the sync moves on: all with one connection, before one COMMIT, which is the store's.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from schemas.conversations import ConversationState, is_listed
from schemas.ids import is_notification
from schemas.protocol import ConversationEntry, merge
from sdk.client import pending
from sdk.client.errors import StoreConflictError
from sdk.client.kinds import Kinds, difference
from sdk.client.ops import StoreOps
from sdk.client.pending import CONVERSATION, REFRESH, Change
from sdk.client.rows import SELECT_ONE, STATE_WIDTH, UPSERT, row_of, state_of

_SELECT_MODULE: Final = "SELECT item_version, version FROM modules WHERE module = ? AND item_id = ?"
_UPSERT_MODULE: Final = (
    "INSERT INTO modules (module, item_id, op, item_version, version) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (module, item_id) DO UPDATE SET op = excluded.op,"
    " item_version = excluded.item_version, version = excluded.version"
)
_DELETE_PENDING_OLDER: Final = (
    "DELETE FROM pending WHERE module = '' AND item_id IN"
    " (SELECT conversation_id FROM conversations WHERE generation < ?)"
)
_USER_TABLES: Final = ("conversations", "drafts", "modules", "pending")


@dataclass(frozen=True, slots=True)
class Applied:
    """What a transaction did: entries put into the queue, and conversations that are gone."""

    enqueued: int
    removed: int


def apply(db: sqlite3.Connection, ops: StoreOps, now_ms: int) -> Applied:
    """Do all that `ops` says; the caller commits, or takes all of it back when this raises.

    Raises `StoreConflictError` when the store no longer stands where the session began.
    """
    revision, ticket = db.execute("SELECT revision, ticket FROM sync_state").fetchone()
    if revision != ops.revision:
        raise StoreConflictError("another process synced this store meanwhile: sync again")
    if ops.forget:
        for table in _USER_TABLES:
            db.execute(f"DELETE FROM {table}")  # noqa: S608 (names from the tuple above)
    if ops.reset is not None:
        ticket = _doubt_modules(db, ticket, now_ms)
    changes = _write_conversations(db, ops) + _write_modules(db, ops)
    ticket = pending.put(db, changes, ticket, now_ms)
    removed = _remove_older(db, ops.generation) if ops.remove_older else 0
    db.execute(
        "UPDATE sync_state SET cursor = ?, page = ?, generation = ?, revision = ?,"
        " ticket = ?, reset_reason = coalesce(?, reset_reason), synced_at_ms = ?",
        (
            ops.after.cursor,
            ops.after.page,
            ops.after.generation,
            ops.after.revision,
            ticket,
            ops.reset and ops.reset.value,
            now_ms,
        ),
    )
    return Applied(enqueued=len(changes), removed=removed)


def _write_conversations(db: sqlite3.Connection, ops: StoreOps) -> list[Change]:
    """Write the entries of an answer; return the changes that the app has to hear of."""
    changes: list[Change] = []
    for entry in ops.entries:
        held, generation = _held(db, entry)
        # A page tells the whole state of a row, also where the server has less than before; but if
        # an answer names a conversation twice, both times count.
        replaced = ops.replace and generation < ops.generation
        state = merge(None if replaced else held, entry)
        db.execute(UPSERT, row_of(state, ops.generation))
        kinds = difference(held, state)
        if kinds and (not ops.replace or _concerns(held, state)):
            changes.append(Change(CONVERSATION, entry.conversation_id, entry.version, kinds))
    return changes


def _held(db: sqlite3.Connection, entry: ConversationEntry) -> tuple[ConversationState | None, int]:
    row = db.execute(SELECT_ONE, (entry.conversation_id,)).fetchone()
    return (None, 0) if row is None else (state_of(row), row[STATE_WIDTH])


def _concerns(held: ConversationState | None, state: ConversationState) -> bool:
    """Say whether a change found by a full correction is one for the app.

    A conversation off the list that stays off it is not. Notifications never show, but they must be
    pulled.
    """
    before = held is not None and is_listed(held)
    return before or is_listed(state) or is_notification(state.conversation_id)


def _doubt_modules(db: sqlite3.Connection, ticket: int, now_ms: int) -> int:
    """Have all modules fetched anew, because the pages of a correction do not tell of them.

    At the first page and not at the last: the cursor was fixed before it, so what changes from now
    on comes with the next delta.
    """
    db.execute("DELETE FROM modules")
    pending.forget_items(db)
    return pending.put(db, [REFRESH], ticket, now_ms)


def _write_modules(db: sqlite3.Connection, ops: StoreOps) -> list[Change]:
    """Write the module items of an answer: of one item the greatest `item_version` wins.

    Of equal ones the later change does, for backends that do not count versions of items.
    """
    changes: list[Change] = []
    for item in ops.modules:
        held = db.execute(_SELECT_MODULE, (item.module, item.item_id)).fetchone()
        told = (item.item_version, item.version)
        if held is not None and (held == told or (held > told and not ops.replace)):
            continue
        db.execute(
            _UPSERT_MODULE, (item.module, item.item_id, item.op, item.item_version, item.version)
        )
        changes.append(Change(item.module, item.item_id, item.version, Kinds.ITEM))
    return changes


def _remove_older(db: sqlite3.Connection, generation: int) -> int:
    """Drop what no page of the correction named, with what is pending of it.

    The app can do nothing for a conversation that the server does not give to this user.
    """
    db.execute(_DELETE_PENDING_OLDER, (generation,))
    return db.execute("DELETE FROM conversations WHERE generation < ?", (generation,)).rowcount
