"""Table `changes_by_user`: the change index. One row per user, window and conversation.

Each kind of change has its own columns, so that a read marker written later never hides the message
before it from an older cursor. `row_stamp` orders the cells of a row by sequence, not by version: a
worker that was replaced without knowing may repeat an old message at a newer version, and would
otherwise cover the newer message for every cursor that is older than both.
"""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from infra.cassandra.session import Row, Session, Statement
from schemas.limits import SEQ_MAX
from schemas.rows import ChangeRow

_COLUMNS: Final = (
    "window_ms, conversation_id, message_version, max_seq, active_at_ms, read_version, read_seq, "
    "state_version"
)
SELECT_SINCE: Final = (
    f"SELECT {_COLUMNS} FROM ks.changes_by_user WHERE user_id = ? AND window_ms >= ? LIMIT ?"
)
SELECT_NEWER: Final = tuple(
    f"SELECT {_COLUMNS} FROM ks.changes_by_user WHERE user_id = ? AND window_ms >= ? "
    f"AND {kind} > ? LIMIT ? ALLOW FILTERING"
    for kind in ("message_version", "read_version", "state_version")
)
"""One for each kind of change. They filter inside one partition, which costs Cassandra as much as
sending all of its rows in these windows would, and the client of it nothing."""
_UPDATE: Final = "UPDATE ks.changes_by_user USING TTL ? AND TIMESTAMP ? SET "
_WHERE: Final = " WHERE user_id = ? AND window_ms = ? AND conversation_id = ?"
_MESSAGE: Final = "message_version = ?, max_seq = ?, active_at_ms = ?"
_READ: Final = "read_version = ?, read_seq = ?"
UPDATE_MESSAGE: Final = _UPDATE + _MESSAGE + _WHERE
UPDATE_OWN_MESSAGE: Final = _UPDATE + _MESSAGE + ", " + _READ + _WHERE
UPDATE_READ: Final = _UPDATE + _READ + _WHERE
UPDATE_STATE: Final = _UPDATE + "state_version = ?" + _WHERE

RANK_BITS: Final = 53
"""A sequence or a version: both are below 2^53."""

AGE_MS: Final = 30 * 86_400_000
"""Stamps rise with the age of the window in steps of 30 days. Cassandra drops an expired cell only
when its timestamp is below all others it might cover; were stamps bare sequences, every new
conversation (sequence 1) would keep the expired cells of its members for ever. 30 days, because
2^10 of them fit beside the rank: stamps last until 2104."""

AGE_ORIGIN_MS: Final = 1_577_836_800_000
"""2020-01-01."""

assert SEQ_MAX < 2**RANK_BITS


def row_stamp(window_ms: int, rank: int) -> int:
    """Write timestamp of a cell: inside a row, and so inside a window, the greater rank wins.

    `rank` is the sequence for message and read cells, the version for the state cell.
    """
    age = max(0, window_ms - AGE_ORIGIN_MS) // AGE_MS
    return (age << RANK_BITS) | rank


class RowKey(Struct, frozen=True, gc=False):
    """Primary key of a row."""

    user_id: str
    window_ms: int
    conversation_id: str


def read_all(session: Session, user_id: str, limit: int) -> list[ChangeRow]:
    """Rows of all windows, newest window first; blocks."""
    return [_row(row) for row in session.read(SELECT_SINCE, (user_id, 0, limit))]


async def read_since(session: Session, user_id: str, window_ms: int, limit: int) -> list[ChangeRow]:
    """Rows of the windows from `window_ms` inclusive on, newest window first, at most `limit`."""
    rows = await session.aread(SELECT_SINCE, (user_id, window_ms, limit))
    return [_row(row) for row in rows]


async def read_newer(
    session: Session, user_id: str, window_ms: int, version: int, limit: int
) -> list[ChangeRow]:
    """Rows with a change above `version` of the windows from `window_ms` on, at most `limit` for
    each kind of change. They are three reads, and so no snapshot; a row may come up to three times.
    """
    found = await asyncio.gather(
        *(session.aread(cql, (user_id, window_ms, version, limit)) for cql in SELECT_NEWER)
    )
    return [_row(row) for rows in found for row in rows]


def message(
    session: Session, key: RowKey, ttl_s: int, *, version: int, max_seq: int, active_at_ms: int
) -> Statement:
    """Index a message of somebody else."""
    stamp = row_stamp(key.window_ms, max_seq)
    values = (ttl_s, stamp, version, max_seq, active_at_ms, *_key(key))
    return session.bind(UPDATE_MESSAGE, values)


def own_message(
    session: Session, key: RowKey, ttl_s: int, *, version: int, max_seq: int, active_at_ms: int
) -> Statement:
    """Index a message the user sent: he has read up to it by sending it."""
    stamp = row_stamp(key.window_ms, max_seq)
    values = (ttl_s, stamp, version, max_seq, active_at_ms, version, max_seq, *_key(key))
    return session.bind(UPDATE_OWN_MESSAGE, values)


def read_marker(
    session: Session, key: RowKey, ttl_s: int, *, version: int, read_seq: int
) -> Statement:
    """Index a read marker."""
    stamp = row_stamp(key.window_ms, read_seq)
    return session.bind(UPDATE_READ, (ttl_s, stamp, version, read_seq, *_key(key)))


def state(session: Session, key: RowKey, ttl_s: int, *, version: int) -> Statement:
    """Index a change of the user's own state; the state itself is in the inbox."""
    stamp = row_stamp(key.window_ms, version)
    return session.bind(UPDATE_STATE, (ttl_s, stamp, version, *_key(key)))


def _row(row: Row) -> ChangeRow:
    window_ms, conversation_id, message, max_seq, active_at_ms, read, read_seq, state = row
    return ChangeRow(
        window_ms,
        conversation_id,
        message or 0,
        max_seq or 0,
        active_at_ms or 0,
        read or 0,
        read_seq or 0,
        state or 0,
    )


def _key(key: RowKey) -> tuple[str, int, str]:
    return key.user_id, key.window_ms, key.conversation_id
