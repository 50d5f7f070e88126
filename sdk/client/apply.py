"""What one answer does to the rows. SQL on an open transaction; the course of the sync is not here.

The entries of an answer become rows, what they changed goes into the pending queue, and the state
of the sync moves on: all with one connection, before one COMMIT, which is the store's.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from msgspec.structs import replace

from schemas.conversations import ConversationState, activity_ms, is_listed
from schemas.ids import is_notification
from schemas.protocol import ALL_MODULES, merge
from sdk.client import pending
from sdk.client.database import intact
from sdk.client.errors import StoreConflictError
from sdk.client.kinds import Kinds, difference
from sdk.client.ops import Applied, StoreOps
from sdk.client.pending import CONVERSATION, Change, rank_of
from sdk.client.rows import SELECT_ONE, SELECT_PINNED, STATE_WIDTH, UPSERT, row_of, state_of

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
_DELETE_ONE: Final = "DELETE FROM conversations WHERE conversation_id = ?"
_USER_TABLES: Final = ("conversations", "drafts", "modules", "pending")
_HELD_TYPES: Final = (str, *(int,) * STATE_WIDTH)


def apply(db: sqlite3.Connection, ops: StoreOps, now_ms: int) -> Applied:
    """Do all that `ops` says; the caller commits, or takes all of it back when this raises.

    Raises `StoreConflictError` when the store no longer stands where the session began, and
    `StoreDamagedError` when rows in its way are none that a client wrote.
    """
    row = db.execute("SELECT revision, ticket FROM sync_state").fetchone()
    revision, ticket = intact(row, (int, int))
    if revision != ops.revision:
        raise StoreConflictError("another process synced this store meanwhile: sync again")
    if ops.forget:
        for table in _USER_TABLES:
            db.execute(f"DELETE FROM {table}")  # noqa: S608 (names from the tuple above)
    ticket = pending.put(db, _reset_modules(db, ops.module_resets), ticket, now_ms)
    changes = _write_conversations(db, ops) + _write_modules(db, ops)
    ticket = pending.put(db, changes, ticket, now_ms)
    removed = _remove(db, ops.remove)
    removed += _remove_older(db, ops.generation) if ops.remove_older else 0
    after = ops.after
    db.execute(
        "UPDATE sync_state SET cursor = ?, page = ?, generation = ?, revision = ?,"
        " reset_reason = ?, total = ?, done = ?, ticket = ?, synced_at_ms = ?,"
        " full_at_ms = CASE WHEN ? THEN ? ELSE full_at_ms END,"
        " verified_at_ms = CASE WHEN ? THEN ? ELSE verified_at_ms END",
        (
            after.cursor,
            after.page,
            after.generation,
            after.revision,
            after.reason,
            after.total,
            after.done,
            ticket,
            now_ms,
            *(ops.begins, now_ms),
            *(ops.remove_older, now_ms),
        ),
    )
    return Applied(enqueued=len(changes), removed=removed)


class _Written:
    """Conversations that one answer changed: as they were before it, and as they are now."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._before: dict[str, ConversationState | None] = {}
        self._after: dict[str, tuple[ConversationState, int]] = {}

    def put(
        self,
        held: ConversationState | None,
        state: ConversationState,
        generation: int,
        version: int,
    ) -> None:
        """Write a row in place of `held`; `version` is 0 if the change has none."""
        conversation_id = state.conversation_id
        self._db.execute(UPSERT, row_of(state, generation))
        self._before.setdefault(conversation_id, held)
        _, earlier = self._after.get(conversation_id, (state, 0))
        self._after[conversation_id] = (state, max(earlier, version))

    def changes(self, *, listed_only: bool) -> list[Change]:
        """What the app has to hear of, one change a conversation.

        By what is there before and after all of the answer: an entry may unpin what the list of
        pinned conversations then pins again. What it need not hear of may still be pending from
        before, and moves in the queue: whatever changes a rank changes a kind.
        """
        changes, moved = [], []
        for conversation_id, (state, version) in self._after.items():
            held = self._before[conversation_id]
            kinds = difference(held, state)
            if not kinds:
                continue
            rank = rank_of(pinned=state.own.pinned, activity_ms=activity_ms(state))
            if not listed_only or _concerns(held, state):
                changes.append(Change(CONVERSATION, conversation_id, version, kinds, rank))
            else:
                moved.append((conversation_id, rank))
        pending.rerank(self._db, moved)
        return changes


def _write_conversations(db: sqlite3.Connection, ops: StoreOps) -> list[Change]:
    """Write entries and pins of an answer; return the changes that the app has to hear of."""
    written = _Written(db)
    for entry in ops.entries:
        held, generation = _held(db, entry.conversation_id)
        # A page tells the whole state of a row, also where the server has less than before; but if
        # an answer names a conversation twice, both times count. So do the pages of a correction
        # together: the first names the newest, which come again in their place.
        replaced = ops.replace and generation < ops.generation
        state = merge(None if replaced else held, entry)
        written.put(held, state, ops.generation, entry.version)
    if ops.pinned is not None:
        _write_pins(db, frozenset(ops.pinned), written)
    return written.changes(listed_only=ops.replace)


def _held(db: sqlite3.Connection, conversation_id: str) -> tuple[ConversationState | None, int]:
    row = db.execute(SELECT_ONE, (conversation_id,)).fetchone()
    if row is None:
        return None, 0
    return state_of(intact(row, _HELD_TYPES)), row[STATE_WIDTH]


def _write_pins(db: sqlite3.Connection, pinned: frozenset[str], written: _Written) -> None:
    """Pin the conversations of the list that are held, and unpin the others.

    The rows keep their generations: a list of pins says nothing else of a conversation.
    """
    rows = {row[0]: row for row in db.execute(SELECT_PINNED).fetchall()}
    wrong = [row for conversation_id, row in rows.items() if conversation_id not in pinned]
    for conversation_id in sorted(pinned - rows.keys()):
        wrong += db.execute(SELECT_ONE, (conversation_id,)).fetchall()
    for row in wrong:
        held = state_of(intact(row, _HELD_TYPES))
        state = replace(held, own=replace(held.own, pinned=not held.own.pinned))
        written.put(held, state, row[STATE_WIDTH], 0)


def _concerns(held: ConversationState | None, state: ConversationState) -> bool:
    """Say whether a change found by a correction is one for the app.

    A conversation off the list that stays off it is not. Notifications never show, but they must be
    pulled.
    """
    before = held is not None and is_listed(held)
    return before or is_listed(state) or is_notification(state.conversation_id)


def _reset_modules(db: sqlite3.Connection, names: tuple[str, ...]) -> list[Change]:
    """Forget what is known of modules that the server cannot tell the changes of.

    Before the items of the same answer, and not when the modules were fetched: the cursor was fixed
    before the server made this answer, so what changes from now on comes with the next delta.
    """
    if ALL_MODULES in names:
        names = (ALL_MODULES,)
    for name in names:
        if name == ALL_MODULES:
            db.execute("DELETE FROM modules")
        else:
            db.execute("DELETE FROM modules WHERE module = ?", (name,))
        pending.forget_items(db, name)
    return [pending.refresh(name) for name in names]


def _write_modules(db: sqlite3.Connection, ops: StoreOps) -> list[Change]:
    """Write the module items of an answer: of one item the greatest `item_version` wins.

    Of equal ones the later change does, for backends that do not count versions of items.
    """
    changes: list[Change] = []
    for item in ops.modules:
        held = db.execute(_SELECT_MODULE, (item.module, item.item_id)).fetchone()
        told = (item.item_version, item.version)
        if held is not None and intact(held, (int, int)) >= told:
            continue
        db.execute(
            _UPSERT_MODULE, (item.module, item.item_id, item.op, item.item_version, item.version)
        )
        changes.append(Change(item.module, item.item_id, item.version, Kinds.ITEM))
    return changes


def _remove(db: sqlite3.Connection, conversation_ids: tuple[str, ...]) -> int:
    """Drop conversations that the server does not have, with what is pending of them.

    The app can do nothing for a conversation that the server does not give to this user.
    """
    removed = 0
    for conversation_id in conversation_ids:
        pending.forget_conversation(db, conversation_id)
        removed += db.execute(_DELETE_ONE, (conversation_id,)).rowcount
    return removed


def _remove_older(db: sqlite3.Connection, generation: int) -> int:
    """Drop likewise what no page of a full correction named."""
    db.execute(_DELETE_PENDING_OLDER, (generation,))
    return db.execute("DELETE FROM conversations WHERE generation < ?", (generation,)).rowcount
