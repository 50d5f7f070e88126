"""`diffusion sync USER --devices`: which devices of a user came back, and how far behind each is.

`stand` is pure; `fetch` reads the store. What is shown is what was noted: a device that syncs often
is noted once a minute, one with nothing new once a day, and a note may be missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.cassandra import changes_by_user, devices_by_user, topic_epochs
from infra.cassandra.devices_by_user import Device
from infra.cassandra.schema import open_session
from infra.clock import now_ms
from infra.settings import Settings
from schemas.rows import ChangeRow
from schemas.topics import CHANGES
from syncapi.planner import Ground, oldest_valid_ms

BEHIND_MAX: Final = 500
"""Changes counted for a device. With more it is shown as `500+`."""


@dataclass(frozen=True, slots=True)
class DeviceStand:
    """A device as it was noted. Times are in ms since 1970.

    `behind` counts index rows of conversations newer than its version, None where no delta can be
    given to it any more; `behind_at_least`: there may be more of them than were read.
    """

    device_id: str
    seen_at_ms: int
    issued_at_ms: int
    epoch: int
    version: int
    cursor: Literal["valid", "other_epoch", "expired"]
    behind: int | None
    behind_at_least: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def stand(device: Device, rows: Sequence[ChangeRow], epoch: int, valid_from_ms: int) -> DeviceStand:
    """Say how a device stands against the log's epoch and its user's index rows.

    `rows` are the newest, newest window first, at most `BEHIND_MAX + 1`. Cursors issued before
    `valid_from_ms` are expired.
    """
    cursor: Literal["valid", "other_epoch", "expired"] = "valid"
    behind, at_least = None, False
    if device.epoch != epoch:
        cursor = "other_epoch"
    elif device.issued_at_ms < valid_from_ms:
        cursor = "expired"
    else:
        newer = sum(row.version > device.version for row in rows)
        behind = min(newer, BEHIND_MAX)
        at_least = newer > BEHIND_MAX or not _is_whole(rows, device.version)
    return DeviceStand(
        device_id=device.device_id,
        seen_at_ms=device.seen_at_ms,
        issued_at_ms=device.issued_at_ms,
        epoch=device.epoch,
        version=device.version,
        cursor=cursor,
        behind=behind,
        behind_at_least=at_least,
    )


def _is_whole(rows: Sequence[ChangeRow], version: int) -> bool:
    """Whether no row that was left unread can be newer than `version`.

    Versions rise with windows. So once a window has a row that is not newer, those before it have
    nothing newer either; the window in which reading stopped says nothing, for inside a window rows
    are ordered by conversation.
    """
    if len(rows) <= BEHIND_MAX:
        return True
    stopped_ms = rows[-1].window_ms
    return any(row.window_ms > stopped_ms and row.version <= version for row in rows)


async def fetch(settings: Settings, user_id: str) -> list[DeviceStand]:
    """Read a user's devices and how they stand, by device id; an unknown user has none."""
    session = open_session(settings.cassandra)
    try:
        devices = await devices_by_user.read(session, user_id)
        if not devices:
            return []
        latest = await topic_epochs.alatest(session, CHANGES.name)
        # After the devices: whatever a cursor was made from is then in the index, or has expired.
        rows = await changes_by_user.read_since(session, user_id, 0, BEHIND_MAX + 1)
    finally:
        session.close()
    ground = Ground(
        user_id=user_id,
        key=b"",
        epoch=latest.epoch if latest is not None else 0,
        window_ms=latest.window_ms if latest is not None else settings.log.window_ms,
        now_ms=now_ms(),
        retention_ms=settings.log.retention_ms,
    )
    valid_from_ms = oldest_valid_ms(ground)
    return [stand(device, rows, ground.epoch, valid_from_ms) for device in devices]


def run(settings: Settings, user_id: str) -> list[DeviceStand]:
    """`fetch`, blocking."""
    return asyncio.run(fetch(settings, user_id))


def show(user_id: str, found: Sequence[DeviceStand], ttl_days: float) -> None:
    """Print the devices of a user for a person."""
    console = Console(highlight=False)
    if not found:
        console.print(
            f"No device of {user_id} was noted in the last {ttl_days:g} days. A device is noted "
            "when it comes back with a cursor.",
            markup=False,
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("device", overflow="fold")
    table.add_column("last seen (UTC)")
    table.add_column("cursor issued (UTC)")
    table.add_column("version", justify="right")
    table.add_column("changes behind", justify="right")
    for one in found:
        table.add_row(
            Text(_printable(one.device_id)),  # not markup: a client has chosen it
            _time(one.seen_at_ms),
            _time(one.issued_at_ms),
            str(one.version),
            _behind(one),
        )
    console.print(table)


def _behind(one: DeviceStand) -> str:
    if one.cursor == "other_epoch":
        return "another epoch: will be reset"
    if one.cursor == "expired":
        return "expired"
    return f"{one.behind}+" if one.behind_at_least else str(one.behind)


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
