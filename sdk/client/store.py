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

Rows are looked at before they are believed (`database.intact`): a value that the opening's check
did not see is `StoreDamagedError` here, and no `TypeError` in the course of a sync.

All methods may be called from any thread; one at a time is let in. None waits for the network.
There is one connection: the longest wait for it, an answer of 1,000 conversations, is some 20 ms.
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
from sdk.client import database, pending, recovery
from sdk.client.apply import apply
from sdk.client.errors import StoreDamagedError, StoreError
from sdk.client.events import StoreSetAside
from sdk.client.limits import LEASE_MS_DEFAULT
from sdk.client.ops import Applied, StoredState, StoreOps
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.recovery import Opened
from sdk.client.rows import (
    SELECT_ALL,
    SELECT_LIST,
    SELECT_VIEW,
    STATE_WIDTH,
    ConversationView,
    state_of,
    view_of,
)

_UNREAD_TOTAL: Final = (
    "SELECT coalesce(sum(unread), 0) FROM conversations"
    " WHERE listed = 1 AND muted = 0 AND unread > 0"
)
_STATE_TYPES: Final = (str, *(int,) * (STATE_WIDTH - 1))
_VIEW_TYPES: Final = (str, *(int,) * 9, str)
_LOADED_TYPES: Final = (
    *(str | None, str | None, int, int, str | None, int | None),
    *(int, int | None, int | None),
)


class Store:
    """The open file. Raises `StoreError` and its kinds; `close` it when done.

    `user_id` None is whoever owns it, and may be said later (`bind`); `device_id` None is the one
    stored, or, in a new store, one that is drawn. A file that is damaged, or no store, is set aside
    and a new one begun: `set_aside` says so, and `now_ms` is the time in the name it gets.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        user_id: str | None = None,
        device_id: str | None = None,
        *,
        now_ms: int = 0,
    ) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._take(recovery.open_or_replace(os.fspath(path), user_id, device_id, now_ms))

    @property
    def user_id(self) -> str | None:
        """Whose the store is; None while nobody said."""
        return self._opened.user_id or None

    @property
    def device_id(self) -> str:
        """What names this device to the server."""
        return self._opened.device_id

    @property
    def set_aside(self) -> StoreSetAside | None:
        """What became of the file that was there before, if it could not be used.

        Of the last opening, or the last `rebuild`.
        """
        return self._opened.set_aside

    def bind(self, user_id: str) -> None:
        """Say whose the store is; raises `StoreOwnerError` if it is another's."""
        with self._use() as db:
            self._opened.user_id, _ = database.bind(db, user_id, None)

    def rebuild(self, now_ms: int) -> StoreSetAside:
        """Set aside a file that proved damaged in use, and begin a new one for the same user.

        If another process was first, take what that began. After an error the store is closed, and
        this may be called again.
        """
        with self._lock:
            self._take(recovery.replace(self._opened, "it proved damaged in use", now_ms))
            assert self._opened.set_aside is not None
            return self._opened.set_aside

    def close(self) -> None:
        """Close the file. What was committed stays; nothing else exists."""
        with self._lock:
            self._closed = True
            self._db.close()

    def load(self) -> StoredState:
        """Read where the sync stands."""
        with self._use() as db:
            row = db.execute(
                "SELECT cursor, page, generation, revision, reset_reason, total, done,"
                " full_at_ms, verified_at_ms FROM sync_state"
            ).fetchone()
            return StoredState(*database.intact(row, _LOADED_TYPES))

    def apply(self, ops: StoreOps, now_ms: int) -> Applied:
        """Do all that `ops` says in one transaction, or nothing of it.

        Raises `StoreConflictError` when the store no longer stands where the session began.
        """
        try:
            with self._use() as db, database.transaction(db):
                applied = apply(db, ops, now_ms)
        except OverflowError as error:
            # What the server sends is bounded, so only a row that is held has such a number.
            raise StoreDamagedError(f"the store is damaged: {error}") from error
        if ops.remove_older:
            with self._use() as db:
                database.shrink_log(db)
        return applied

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
        return [view_of(database.intact(row, _VIEW_TYPES)) for row in rows]

    def conversation(self, conversation_id: str) -> ConversationView | None:
        """Read one conversation, whether it is listed or not."""
        with self._use() as db:
            row = db.execute(SELECT_VIEW, (conversation_id,)).fetchone()
        return None if row is None else view_of(database.intact(row, _VIEW_TYPES))

    def unread_total(self) -> int:
        """Add up unread messages of listed conversations that are not muted."""
        with self._use() as db:
            return int(db.execute(_UNREAD_TOTAL).fetchone()[0])

    def states(self) -> list[ConversationState]:
        """Read the state of every conversation."""
        with self._use() as db:
            rows = db.execute(SELECT_ALL)
            return [state_of(database.intact(row, _STATE_TYPES)) for row in rows]

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

    def note_verified(self, now_ms: int) -> None:
        """Note that all that is held was seen to be what the server has."""
        with self._use() as db:
            db.execute("UPDATE sync_state SET verified_at_ms = ?", (now_ms,))

    def pending(
        self, limit: int, now_ms: int, lease_ms: int = LEASE_MS_DEFAULT
    ) -> list[PendingEntry]:
        """Claim due conversations: pinned first, then the most recently active.

        They are nobody else's for `lease_ms`; with 0, this is a look. Raises `ValueError` for more
        than `LEASE_MS_MAX`.
        """
        with self._use() as db, database.transaction(db):
            return pending.claim_conversations(db, limit, now_ms, lease_ms)

    def pending_items(
        self, limit: int, now_ms: int, lease_ms: int = LEASE_MS_DEFAULT
    ) -> list[PendingItem]:
        """Claim due module items likewise, in the order in which they changed."""
        with self._use() as db, database.transaction(db):
            return pending.claim_items(db, limit, now_ms, lease_ms)

    def next_due_ms(self, now_ms: int) -> int | None:
        """When the earliest entry or item that is not due now will be; None if none waits."""
        with self._use() as db:
            return pending.next_due_ms(db, now_ms)

    def pending_count(self) -> int:
        """Count conversations in the queue: ready, waiting and leased."""
        with self._use() as db:
            return pending.count(db)

    def failing(self, limit: int) -> list[PendingEntry]:
        """Read conversations whose processing failed, those that failed most often first."""
        with self._use() as db:
            return pending.failing(db, limit)

    def ack(self, entry: PendingEntry | PendingItem) -> bool:
        """Remove an entry up to the change that was claimed; see `sdk.client.pending`."""
        with self._use() as db, database.transaction(db):
            return pending.ack(db, entry)

    def retry(
        self, entry: PendingEntry | PendingItem, error: str, now_ms: int, jitter: float
    ) -> None:
        """Keep an entry whose processing failed; see `sdk.client.pending`."""
        with self._use() as db, database.transaction(db):
            pending.retry(db, entry, error, now_ms, jitter)

    def _take(self, opened: Opened) -> None:
        self._opened = opened
        self._db = opened.db

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Let one thread in, and turn SQLite's errors into this package's."""
        with self._lock:
            try:
                yield self._db
            except database.FAILURES as error:
                path = self._opened.path
                if self._closed:
                    raise StoreError("the store is closed, with its client") from error
                if isinstance(error, sqlite3.ProgrammingError):
                    # Only `rebuild` closes it otherwise, and failed then: it is to be done again.
                    raise StoreDamagedError(f"the store could not be rebuilt: {error}") from error
                if database.is_damage(error) or database.is_marked_read_only(error, path):
                    raise StoreDamagedError(
                        f"the store is damaged: {error}; sync, and a new one is begun"
                    ) from error
                raise StoreError(
                    f"the store failed: {error}; nothing was changed: try again, and if it stays"
                    " so, delete the file, and the next sync fetches everything again"
                ) from error
