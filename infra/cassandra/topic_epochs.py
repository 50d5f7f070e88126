"""Table `topic_epochs`: the incarnations of a topic, each with an epoch of its own.

A light-weight transaction takes the next epoch, once for a (topic id, partition count) or when the
log was found to have lost records. It runs when a program starts, never on the way of a write.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from infra.cassandra.session import Row, Session
from schemas.errors import PermanentError
from schemas.limits import EPOCH_MAX, EPOCH_MIN

SELECT_LATEST: Final = (
    "SELECT epoch, topic_id, partitions, window_ms FROM ks.topic_epochs WHERE topic = ? LIMIT 1"
)
INSERT_NEXT: Final = (
    "INSERT INTO ks.topic_epochs (topic, epoch, topic_id, partitions, window_ms, created_at_ms) "
    "VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS"
)


class Epoch(Struct, frozen=True):
    """One incarnation of a topic. `window_ms` is fixed for its life (change log only)."""

    topic: str
    epoch: int
    topic_id: str
    partitions: int
    window_ms: int


def latest(session: Session, topic: str) -> Epoch | None:
    """Newest epoch of a topic, None before the first."""
    return _epoch(topic, session.read(SELECT_LATEST, (topic,)))


async def alatest(session: Session, topic: str) -> Epoch | None:
    """`latest` for an event loop."""
    return _epoch(topic, await session.aread(SELECT_LATEST, (topic,)))


def ensure(session: Session, wanted: Epoch, now_ms: int, *, lost: Epoch | None = None) -> Epoch:
    """Find or take the epoch of a topic's present incarnation (`wanted.epoch` does not matter).

    `lost` names an epoch whose log lost records: it is then followed by a new one.
    Raises `PermanentError` when all epochs are used.
    """
    while True:
        found = latest(session, wanted.topic)
        fits = found is not None and (found.topic_id, found.partitions) == (
            wanted.topic_id,
            wanted.partitions,
        )
        if found is not None and fits and found != lost:
            return found
        number = found.epoch + 1 if found is not None else EPOCH_MIN
        if number > EPOCH_MAX:
            raise PermanentError(
                f"All {EPOCH_MAX} epochs of {wanted.topic} are used. Move to a new keyspace."
            )
        values = (
            wanted.topic,
            number,
            wanted.topic_id,
            wanted.partitions,
            wanted.window_ms,
            now_ms,
        )
        session.read(INSERT_NEXT, values)  # whoever comes second reads what the first took


def _epoch(topic: str, rows: list[Row]) -> Epoch | None:
    if not rows:
        return None
    epoch, topic_id, partitions, window_ms = rows[0]
    return Epoch(topic, epoch, topic_id, partitions, window_ms)
