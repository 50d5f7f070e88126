"""The pending queue: what changed and was not yet processed by the app. SQL on an open transaction.

An entry is one conversation (or one item of a user module), however often it changed. It is put in
by the transaction that stores the change, claimed with a lease, and leaves by `ack` only:

    put ──> ready ──claim──> leased ──ack──> gone, or ready if it changed meanwhile
              ^                 │
              │                 ├── fails: `retry`: ready again after a pause
              │                 └── dies: ready again when the lease ends
              └── a newer change ends the pause, but not a lease: attempts kept

**Processing is at least once.** A claim writes until when the entry is the claimer's, and nothing
else. Killed between processing and `ack`, the app gets the entry again when the lease ends; so it
does when it works longer than its lease. Processing must bear that: pull by sequence, and store by
id. No entry is ever skipped.

An entry that fails waits outside of the order in which entries are handed out, and so does one that
is leased: however many of them there are and wherever they stand, the next one is as near. Two
indexes hold the ready entries, one those that wait (migration 003); a claim first moves those whose
time has come.

`ack` names the *ticket* that was handed out, not the version: every change gets a ticket of its
own, never used again in this store, while a head that comes from the read side may bring news
without a new version. An entry whose ticket is newer than the one named has changed meanwhile, and
stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from schemas.protocol import ALL_MODULES
from sdk.client.backoff import pause_ms
from sdk.client.database import intact
from sdk.client.kinds import Kinds
from sdk.client.limits import DETAIL_CHARS_MAX, LEASE_MS_MAX, RETRY_BASE_MS, RETRY_MAX_MS

CONVERSATION: Final = ""
"""What stands in the column `module` for a conversation."""

_PINNED_RANK: Final = 2**53
"""More than any time, so that every pinned conversation comes before every other."""

_ALL_KINDS: Final = sum(kind.value for kind in Kinds)

_ENTRY: Final = (
    "SELECT p.item_id, p.version, p.ticket, p.kinds, p.enqueued_at_ms, p.attempts, p.last_error,"
    " p.leased_until_ms"
)
_ENTRY_TYPES: Final = (str, int, int, int, int, int, str | None, int)
_ITEM_TYPES: Final = (*_ENTRY_TYPES, str, str, int)
_READY: Final = "next_retry_at_ms = 0 AND leased_until_ms = 0"

# Without a name the planner takes the primary key and sorts all that is pending.
SELECT_READY_CONVERSATIONS: Final = (
    f"{_ENTRY} FROM pending p INDEXED BY pending_by_rank WHERE module = '' AND {_READY}"
    " ORDER BY rank DESC, item_id LIMIT ?"
)
SELECT_READY_ITEMS: Final = (
    f"{_ENTRY}, p.module, coalesce(m.op, 'refresh'), coalesce(m.item_version, 0)"
    " FROM pending p INDEXED BY pending_by_ticket"
    " LEFT JOIN modules m ON m.module = p.module AND m.item_id = p.item_id"
    f" WHERE p.module <> '' AND {_READY} ORDER BY p.ticket LIMIT ?"
)
_SELECT_FAILING: Final = (
    f"{_ENTRY} FROM pending p WHERE module = '' AND attempts > 0"
    " ORDER BY attempts DESC, item_id LIMIT ?"
)
_COUNT: Final = "SELECT count(*) FROM pending WHERE module = ''"
_LEASE: Final = "UPDATE pending SET leased_until_ms = ? WHERE module = ? AND item_id = ?"

# What waits does so until the later of two times. A time further ahead than any that is written
# counts as over: it is from before the device's clock was set back, and waiting could take years.
_WAITS_UNTIL: Final = "max(next_retry_at_ms, leased_until_ms)"
_IS_OVER: Final = (
    "(next_retry_at_ms <= :now_ms OR next_retry_at_ms > :now_ms + :pause_max_ms)"
    " AND (leased_until_ms <= :now_ms OR leased_until_ms > :now_ms + :lease_max_ms)"
)
_WAKE: Final = (
    "UPDATE pending SET next_retry_at_ms = 0, leased_until_ms = 0"  # noqa: S608 (constants)
    f" WHERE {_WAITS_UNTIL}"
)
WAKE_OVER: Final = f"{_WAKE} <> 0 AND {_WAITS_UNTIL} <= :now_ms"
WAKE_FAR: Final = f"{_WAKE} <> 0 AND {_WAITS_UNTIL} > :now_ms + :pause_max_ms AND {_IS_OVER}"
SELECT_NEXT_DUE: Final = (
    f"SELECT {_WAITS_UNTIL} FROM pending"  # noqa: S608 (constants)
    f" WHERE {_WAITS_UNTIL} <> 0 AND {_WAITS_UNTIL} > :now_ms"
    f" AND NOT ({_IS_OVER}) ORDER BY {_WAITS_UNTIL} LIMIT 1"
)

_PUT: Final = (
    "INSERT INTO pending (module, item_id, version, ticket, kinds, enqueued_at_ms, rank)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (module, item_id) DO UPDATE SET"
    " version = max(version, excluded.version), ticket = excluded.ticket,"
    " kinds = kinds | excluded.kinds, rank = excluded.rank, next_retry_at_ms = 0"
)
_RERANK: Final = "UPDATE pending SET rank = ? WHERE module = '' AND item_id = ? AND rank <> ?"
_ACK_PART: Final = (
    "UPDATE pending SET leased_until_ms = 0, attempts = 0, last_error = NULL"
    " WHERE module = ? AND item_id = ?"
    " AND (leased_until_ms = ? OR leased_until_ms = 0 AND next_retry_at_ms = 0)"
)


class Change(Struct, frozen=True):
    """A change to put into the queue; `rank` is the place of a conversation, see `rank_of`."""

    module: str
    item_id: str
    version: int
    kinds: Kinds
    rank: int = 0


class PendingEntry(Struct, frozen=True):
    """A conversation that changed. `ticket` is what `ack` and `retry` name; leave it as it is.

    `version` is the newest change told by the server, `enqueued_at_ms` when the oldest change that
    is not processed came, `attempts` how often processing failed and `last_error` how. Until
    `leased_until_ms` nobody else is given it; 0 if it was only looked at.
    """

    conversation_id: str
    version: int
    ticket: int
    kinds: Kinds
    enqueued_at_ms: int
    attempts: int
    last_error: str | None
    leased_until_ms: int


class PendingItem(Struct, frozen=True):
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
    leased_until_ms: int


def rank_of(*, pinned: bool, activity_ms: int) -> int:
    """Place of a conversation: the greatest is handed out first."""
    return activity_ms + pinned * _PINNED_RANK


def refresh(module: str) -> Change:
    """Have a module (`ALL_MODULES`: all) fetched anew. No item has the empty id, so it is none."""
    return Change(module, "", 0, Kinds.ITEM)


def put(db: sqlite3.Connection, changes: Iterable[Change], ticket: int, now_ms: int) -> int:
    """Put changes into the queue; return the last ticket given, `ticket` being the one before.

    An entry that waits after a failure becomes due: a new change is a new reason to try. Its
    attempts stay, so that the next failure waits longer still. A lease stays too, lest a second
    worker begins where the first has not ended; its `ack` will find the newer ticket.
    """
    rows = [
        (
            change.module,
            change.item_id,
            change.version,
            number,
            change.kinds.value,
            now_ms,
            change.rank,
        )
        for number, change in enumerate(changes, ticket + 1)
    ]
    db.executemany(_PUT, rows)
    return ticket + len(rows)


def rerank(db: sqlite3.Connection, ranks: Iterable[tuple[str, int]]) -> None:
    """Move entries of conversations that changed in a way the app need not hear of."""
    db.executemany(_RERANK, [(rank, conversation_id, rank) for conversation_id, rank in ranks])


def forget_items(db: sqlite3.Connection, module: str) -> None:
    """Take out what is due of a module (`ALL_MODULES`: of all), a refresh included."""
    if module == ALL_MODULES:
        db.execute("DELETE FROM pending WHERE module <> ''")
    else:
        db.execute("DELETE FROM pending WHERE module = ?", (module,))


def forget_conversation(db: sqlite3.Connection, conversation_id: str) -> None:
    """Take out a conversation: the app can do nothing for one that this user does not have."""
    db.execute("DELETE FROM pending WHERE module = '' AND item_id = ?", (conversation_id,))


def claim_conversations(
    db: sqlite3.Connection, limit: int, now_ms: int, lease_ms: int
) -> list[PendingEntry]:
    """Hand out due conversations: pinned first, then the most recently active.

    Nobody else is given them for `lease_ms`; with 0, this is a look. Raises `ValueError` for a
    lease longer than `LEASE_MS_MAX`.
    """
    rows = _claim(db, SELECT_READY_CONVERSATIONS, limit, now_ms, lease_ms)
    return [_entry(intact(row, _ENTRY_TYPES)) for row in rows]


def claim_items(
    db: sqlite3.Connection, limit: int, now_ms: int, lease_ms: int
) -> list[PendingItem]:
    """Hand out due module items likewise, in the order in which they changed."""
    rows = _claim(db, SELECT_READY_ITEMS, limit, now_ms, lease_ms)
    return [
        PendingItem(module, item_id, op, item_version, version, ticket, _kinds(kinds), *rest)
        for row in rows
        for item_id, version, ticket, kinds, *rest, module, op, item_version in [
            intact(row, _ITEM_TYPES)
        ]
    ]


def ack(db: sqlite3.Connection, entry: PendingEntry | PendingItem) -> bool:
    """Remove an entry that was processed; False: it changed meanwhile and stays, or is gone.

    One that stays is ready again, with a clean record, because what was claimed did succeed; unless
    somebody else has claimed the newer change by now, or failed at it: then it is as that left it.
    What was processed counts also when the lease has ended meanwhile.
    """
    key = _key(entry)
    cursor = db.execute(
        "DELETE FROM pending WHERE module = ? AND item_id = ? AND ticket <= ?", (*key, entry.ticket)
    )
    if cursor.rowcount == 1:
        return True
    db.execute(_ACK_PART, (*key, entry.leased_until_ms))
    return False


def retry(
    db: sqlite3.Connection,
    entry: PendingEntry | PendingItem,
    error: str,
    now_ms: int,
    jitter: float,
) -> None:
    """Count a failure, end the lease, and make the entry due after a pause.

    - Acknowledged by another worker, or its conversation gone: nothing is left to do.
    - Leased by another worker since: nothing is done. This one came too late, and the end of that
      work says how the entry fares.
    - Changed since it was claimed: the failure is counted, but brings no pause. It was at what is
      outdated, and the change is a reason to try at once. A pause that a failure at the newer
      change brought stays. So a conversation that always fails costs one attempt a change, and
      otherwise one a pause.
    """
    row = db.execute(
        "SELECT attempts, ticket, leased_until_ms, next_retry_at_ms FROM pending"
        " WHERE module = ? AND item_id = ?",
        _key(entry),
    ).fetchone()
    if row is None:
        return
    attempts, ticket, leased_until_ms, next_retry_at_ms = intact(row, (int, int, int, int))
    is_leased = now_ms < leased_until_ms <= now_ms + LEASE_MS_MAX
    if is_leased and leased_until_ms != entry.leased_until_ms:
        return
    attempts += 1
    if ticket <= entry.ticket:
        pause = pause_ms(attempts, jitter, base_ms=RETRY_BASE_MS, max_ms=RETRY_MAX_MS)
        next_retry_at_ms = now_ms + pause
    db.execute(
        "UPDATE pending SET attempts = ?, next_retry_at_ms = ?, leased_until_ms = 0, last_error = ?"
        " WHERE module = ? AND item_id = ?",
        (attempts, next_retry_at_ms, error[:DETAIL_CHARS_MAX], *_key(entry)),
    )


def next_due_ms(db: sqlite3.Connection, now_ms: int) -> int | None:
    """When the earliest entry or item that is not due now will be; None if none waits.

    Never more than `LEASE_MS_MAX` ahead, so that a clock that was set back costs no more.
    """
    row = db.execute(SELECT_NEXT_DUE, _times(now_ms)).fetchone()
    if row is None:
        return None
    (until_ms,) = intact(row, (int,))
    return min(int(until_ms), now_ms + LEASE_MS_MAX)


def count(db: sqlite3.Connection) -> int:
    """Count conversations in the queue: ready, waiting and leased."""
    return int(db.execute(_COUNT).fetchone()[0])


def failing(db: sqlite3.Connection, limit: int) -> list[PendingEntry]:
    """Read conversations whose processing failed, those that failed most often first."""
    rows = db.execute(_SELECT_FAILING, (limit,)).fetchall()
    return [_entry(intact(row, _ENTRY_TYPES)) for row in rows]


def _claim(
    db: sqlite3.Connection, select: str, limit: int, now_ms: int, lease_ms: int
) -> list[tuple[Any, ...]]:
    """Read what is ready, and lease it; the lease is put in place of the column that was read."""
    if not 0 <= lease_ms <= LEASE_MS_MAX:
        raise ValueError(f"a lease must have 0 to {LEASE_MS_MAX:,} ms, not {lease_ms:,}")
    db.execute(WAKE_OVER, _times(now_ms))
    db.execute(WAKE_FAR, _times(now_ms))
    rows = db.execute(select, (limit,)).fetchall()
    if lease_ms == 0 or not rows:
        return rows
    until_ms, at = now_ms + lease_ms, len(_ENTRY_TYPES) - 1
    # A conversation's row ends with the lease; after it comes an item's module.
    db.executemany(_LEASE, [(until_ms, *(row[at + 1 : at + 2] or ("",)), row[0]) for row in rows])
    return [(*row[:at], until_ms, *row[at + 1 :]) for row in rows]


def _entry(row: tuple[Any, ...]) -> PendingEntry:
    item_id, version, ticket, kinds, *rest = row
    return PendingEntry(item_id, version, ticket, _kinds(kinds), *rest)


def _kinds(bits: int) -> Kinds:
    """Leave out what a newer version of the client may have written, and this one cannot name."""
    return Kinds(bits & _ALL_KINDS)


def _times(now_ms: int) -> dict[str, int]:
    return {"now_ms": now_ms, "pause_max_ms": RETRY_MAX_MS, "lease_max_ms": LEASE_MS_MAX}


def _key(entry: PendingEntry | PendingItem) -> tuple[str, str]:
    if isinstance(entry, PendingItem):
        return entry.module, entry.item_id
    return CONVERSATION, entry.conversation_id
