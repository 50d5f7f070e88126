"""Table `conversation_heads`: one row a conversation, written once for a batch of its messages.

Message cells carry the sequence as timestamp, mode cells the mode epoch, the others the stamp of
the source write: the greatest wins, in whatever order writes arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from infra.cassandra import multi_get
from infra.cassandra.session import Row, Session, Statement
from schemas.events import DiffusionOverride
from schemas.heads import Activity, Head, Mode, ModeReason

_COLUMNS: Final = (
    "conversation_id, max_seq, active_at_ms, mode, mode_epoch, mode_since_ms, member_count, "
    "diffusion, updated_at_ms, mode_reason, activity_at_ms, activity_stamp, rate, volume, excess"
)
SELECT_MESSAGES: Final = (
    "SELECT conversation_id, max_seq, active_at_ms FROM ks.conversation_heads "
    "WHERE conversation_id IN ?"
)
SELECT_MANY: Final = f"SELECT {_COLUMNS} FROM ks.conversation_heads WHERE conversation_id IN ?"
UPDATE_MESSAGE: Final = (
    "UPDATE ks.conversation_heads USING TIMESTAMP ? SET max_seq = ?, active_at_ms = ?, "
    "updated_at_ms = ? WHERE conversation_id = ?"
)
UPDATE_MODE: Final = (
    "UPDATE ks.conversation_heads USING TIMESTAMP ? SET mode = ?, mode_epoch = ?, "
    "mode_since_ms = ?, mode_reason = ? WHERE conversation_id = ?"
)
UPDATE_ACTIVITY: Final = (
    "UPDATE ks.conversation_heads USING TIMESTAMP ? SET activity_at_ms = ?, activity_stamp = ?, "
    "rate = ?, volume = ?, excess = ? WHERE conversation_id = ?"
)
UPDATE_MEMBER_COUNT: Final = (
    "UPDATE ks.conversation_heads USING TIMESTAMP ? SET member_count = ? WHERE conversation_id = ?"
)
UPDATE_DIFFUSION: Final = (
    "UPDATE ks.conversation_heads USING TIMESTAMP ? SET diffusion = ? WHERE conversation_id = ?"
)

HEADS_PER_READ: Final = 100
"""Keys in one multi-get: 27 k heads a second at 100, and one slow replica delays no more."""

_MODES: Final = {mode.value: mode for mode in Mode}
_REASONS: Final = {reason.value: reason for reason in ModeReason}
"""Looked up, because calling an enumeration costs as much as the rest of a head."""

_NONE: Final = Activity()
"""Of a conversation whose activity is not kept, as of most."""


async def read(session: Session, conversation_ids: Sequence[str]) -> dict[str, Head]:
    """Heads by conversation id; one that was never written is absent."""
    rows = await multi_get.read(session, SELECT_MANY, (), conversation_ids, HEADS_PER_READ)
    return {row[0]: _head(row) for row in rows}


async def read_messages(session: Session, conversation_ids: Sequence[str]) -> dict[str, Head]:
    """The message cells of heads alone, which is all that a page tells of them: 10,000 take 59 ms
    of CPU, where whole heads take 100.
    """
    rows = await multi_get.read(session, SELECT_MESSAGES, (), conversation_ids, HEADS_PER_READ)
    return {row[0]: Head(row[0], row[1] or 0, row[2] or 0) for row in rows}


def message(
    session: Session, conversation_id: str, max_seq: int, active_at_ms: int, now_ms: int
) -> Statement:
    """Raise `max_seq`, with the time of that message."""
    values = (max_seq, max_seq, active_at_ms, now_ms, conversation_id)
    return session.bind(UPDATE_MESSAGE, values)


def mode(session: Session, head: Head) -> Statement:
    """Persist the mode of `head`; an older mode epoch never covers a newer one."""
    values = (
        head.mode_epoch,
        int(head.mode),
        head.mode_epoch,
        head.mode_since_ms,
        head.mode_reason.value,
        head.conversation_id,
    )
    return session.bind(UPDATE_MODE, values)


def activity(session: Session, conversation_id: str, value: Activity) -> Statement:
    """Write the activity back, as of the last event it counts."""
    values = (
        value.stamp,
        value.at_ms,
        value.stamp,
        value.rate,
        value.volume,
        value.excess,
        conversation_id,
    )
    return session.bind(UPDATE_ACTIVITY, values)


def member_count(session: Session, conversation_id: str, count: int, stamp: int) -> Statement:
    """Set the number of members as of a source stamp."""
    return session.bind(UPDATE_MEMBER_COUNT, (stamp, count, conversation_id))


def diffusion(
    session: Session, conversation_id: str, value: DiffusionOverride, stamp: int
) -> Statement:
    """Set the override of the policy as of a source stamp."""
    return session.bind(UPDATE_DIFFUSION, (stamp, value, conversation_id))


def _head(row: Row) -> Head:
    return Head(
        conversation_id=row[0],
        max_seq=row[1] or 0,
        active_at_ms=row[2] or 0,
        mode=_MODES[row[3] or 0],
        mode_epoch=row[4] or 0,
        mode_since_ms=row[5] or 0,
        member_count=row[6] or 0,
        diffusion=row[7] or "auto",
        updated_at_ms=row[8] or 0,
        mode_reason=_REASONS[row[9]] if row[9] else ModeReason.NEW,
        activity=_NONE if row[11] is None else _activity(row),
    )


def _activity(row: Row) -> Activity:
    return Activity(
        at_ms=row[10] or 0,
        stamp=row[11] or 0,
        rate=row[12] or 0.0,
        volume=row[13] or 0.0,
        excess=row[14] or 0.0,
    )
