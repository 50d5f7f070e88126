"""The store of one user on one device: applies answers, and reads the list. SQL, no network.

One transaction holds the data of an answer, the cursor (or page token) that says it is here, and
the entries of the pending queue that it causes. That is the whole argument for crashes, at any
point:

- before the transaction, nothing of the answer is here, and the old cursor or page token fetches it
  again;
- inside the transaction, SQLite takes it back when the file is opened next: as before;
- after COMMIT, the answer is here with its cursor, and what it changed is in the queue, from which
  only an acknowledgement takes it.

Between the pages of a full correction the file holds rows of two generations: those that pages
have named already, and older ones. Both show in the list (the union), so that it does not shrink
and grow before the user's eyes. The transaction of the last page drops the older ones and stores
the cursor.

The pages of a delta each leave a cursor that says what is here and what is missing. The answers of
a correction leave the cursor as it is, or a later one: every row that they replace or remove is as
the server has it at that cursor or later, so a correction that is broken off is a store with fewer
wrong rows, and whoever verifies next begins anew.

All methods may be called from any thread; one at a time is let in. None waits for the network.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from schemas.conversations import ConversationState
from schemas.limits import SEQ_MAX
from sdk.client import database, pending
from sdk.client.apply import Applied, apply
from sdk.client.errors import StoreError
from sdk.client.ops import StoredState, StoreOps
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.rows import (
    SELECT_ALL,
    SELECT_LIST,
    SELECT_VIEW,
    ConversationView,
    state_of,
    view_of,
)

_UNREAD_TOTAL: Final = (
    "SELECT coalesce(sum(unread), 0) FROM conversations"
    " WHERE listed = 1 AND muted = 0 AND unread > 0"
)


class Store:
    """The open file. Raises `StoreError` and its kinds; `close` it when done."""

    def __init__(self, path: str | os.PathLike[str], user_id: str, device_id: str) -> None:
        self._lock = threading.RLock()
        self._db = database.connect(os.fspath(path))
        try:
            with self._use() as db:
                database.bind(db, user_id, device_id)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file. What was committed stays; nothing else exists."""
        with self._lock:
            self._db.close()

    def load(self) -> StoredState:
        """Read where the sync stands."""
        with self._use() as db:
            row = db.execute(
                "SELECT cursor, page, generation, revision, reset_reason, total, full_at_ms,"
                " verified_at_ms FROM sync_state"
            ).fetchone()
        return StoredState(*row)

    def apply(self, ops: StoreOps, now_ms: int) -> Applied:
        """Do all that `ops` says in one transaction, or nothing of it.

        Raises `StoreConflictError` when the store no longer stands where the session began.
        """
        with self._use() as db, database.transaction(db):
            return apply(db, ops, now_ms)

    def conversations(self, limit: int, after: ConversationView | None) -> list[ConversationView]:
        """Read the list after a place in it, exclusive; see `SyncClient.conversations`."""
        rows: list[Any] = []
        with self._use() as db:
            for pinned in (1, 0):
                place = (SEQ_MAX + 1, "")
                if after is not None:
                    if after.pinned < pinned:
                        continue
                    if after.pinned == pinned:
                        place = (after.activity_ms, after.conversation_id)
                arguments = (pinned, place[0], *place, limit - len(rows))
                rows += db.execute(SELECT_LIST, arguments).fetchall()
        return [view_of(row) for row in rows]

    def conversation(self, conversation_id: str) -> ConversationView | None:
        """Read one conversation, whether it is listed or not."""
        with self._use() as db:
            row = db.execute(SELECT_VIEW, (conversation_id,)).fetchone()
        return row and view_of(row)

    def unread_total(self) -> int:
        """Add up unread messages of listed conversations that are not muted."""
        with self._use() as db:
            return int(db.execute(_UNREAD_TOTAL).fetchone()[0])

    def states(self) -> list[ConversationState]:
        """Read the state of every conversation."""
        with self._use() as db:
            return [state_of(row) for row in db.execute(SELECT_ALL)]

    def set_draft(self, conversation_id: str, text: str, now_ms: int) -> None:
        """Keep a draft; the empty text removes it."""
        with self._use() as db:
            if text:
                db.execute(
                    "INSERT INTO drafts (conversation_id, draft, written_at_ms) VALUES (?, ?, ?)"
                    " ON CONFLICT (conversation_id) DO UPDATE SET draft = excluded.draft,"
                    " written_at_ms = excluded.written_at_ms",
                    (conversation_id, text, now_ms),
                )
            else:
                db.execute("DELETE FROM drafts WHERE conversation_id = ?", (conversation_id,))

    def pending(self, limit: int, now_ms: int) -> list[PendingEntry]:
        """Claim due conversations: pinned first, then the most recently active."""
        with self._use() as db:
            return pending.due_conversations(db, limit, now_ms)

    def pending_items(self, limit: int, now_ms: int) -> list[PendingItem]:
        """Claim due module items, in the order in which they changed."""
        with self._use() as db:
            return pending.due_items(db, limit, now_ms)

    def ack(self, entry: PendingEntry | PendingItem) -> bool:
        """Remove an entry up to the change that was claimed; see `sdk.client.pending`."""
        with self._use() as db:
            return pending.ack(db, entry)

    def retry(
        self, entry: PendingEntry | PendingItem, error: str, now_ms: int, jitter: float
    ) -> None:
        """Keep an entry whose processing failed; see `sdk.client.pending`."""
        with self._use() as db, database.transaction(db):
            pending.retry(db, entry, error, now_ms, jitter)

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Let one thread in, and turn SQLite's errors into this package's."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise StoreError(
                    f"the store failed: {error}; nothing was changed: try again, and if it stays"
                    " so, delete the file, and the next sync fetches everything again"
                ) from error
