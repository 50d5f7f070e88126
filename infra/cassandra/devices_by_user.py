"""Table `devices_by_user`: the last cursor each device of a user sent back, and so has stored.

For operators and metrics, never truth: notes are throttled, may be lost, and expire. Nothing that a
client is told may rest on them.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from infra.cassandra.session import Session, Statement

SELECT_SOME: Final = (
    "SELECT device_id, epoch, version, issued_at_ms, seen_at_ms FROM ks.devices_by_user "
    "WHERE user_id = ? LIMIT ?"
)
UPDATE_SEEN: Final = (
    "UPDATE ks.devices_by_user USING TTL ? AND TIMESTAMP ? SET epoch = ?, version = ?, "
    "issued_at_ms = ?, seen_at_ms = ? WHERE user_id = ? AND device_id = ?"
)

DEVICES_READ_MAX: Final = 1_000
"""Ids of devices are chosen by clients; who has more makes them up, and is not read to the end."""


class Device(Struct, frozen=True, gc=False):
    """A row: the numbers of a cursor, and when it came back. Times in ms since 1970."""

    device_id: str
    epoch: int
    version: int
    issued_at_ms: int
    seen_at_ms: int


async def read(session: Session, user_id: str) -> list[Device]:
    """Devices of a user that were noted and have not expired, by id, at most `DEVICES_READ_MAX`."""
    rows = await session.aread(SELECT_SOME, (user_id, DEVICES_READ_MAX))
    return [Device(*row) for row in rows]


def seen(session: Session, user_id: str, device: Device, ttl_s: int) -> Statement:
    """Note what a device sent back; of two notes the one seen later wins. The row expires after
    `ttl_s` without another.
    """
    # A cell here is ordered by time and by nothing else, so it has Cassandra's own microseconds.
    values = (
        ttl_s,
        device.seen_at_ms * 1_000,
        device.epoch,
        device.version,
        device.issued_at_ms,
        device.seen_at_ms,
        user_id,
        device.device_id,
    )
    return session.bind(UPDATE_SEEN, values)
