"""Table `log_positions`: how far each partition of the change log is being applied.

Written *before* the rows of a batch, so that no row a reader sees lies above it. A cursor above it
was not issued on this data; a log that ends below it has lost records.
"""

from __future__ import annotations

from typing import Final

from infra.cassandra.session import Session, Statement

UPDATE_REACHED: Final = (
    "UPDATE ks.log_positions USING TIMESTAMP ? SET reached_offset = ?, reached_at_ms = ? "
    "WHERE epoch = ? AND partition = ?"
)
SELECT_REACHED: Final = "SELECT partition, reached_offset FROM ks.log_positions WHERE epoch = ?"
SELECT_ONE: Final = "SELECT reached_offset FROM ks.log_positions WHERE epoch = ? AND partition = ?"


def reached(session: Session, epoch: int, partition: int, offset: int, at_ms: int) -> Statement:
    """Say that records up to `offset` inclusive are about to be applied."""
    return session.bind(UPDATE_REACHED, (offset + 1, offset, at_ms, epoch, partition))


def all_reached(session: Session, epoch: int) -> dict[int, int]:
    """Offset reached, by partition; a partition nothing was applied from is absent."""
    return dict(session.read(SELECT_REACHED, (epoch,)))


async def areached(session: Session, epoch: int, partition: int) -> int | None:
    """Offset reached in one partition, None for none yet."""
    rows = await session.aread(SELECT_ONE, (epoch, partition))
    return rows[0][0] if rows else None
