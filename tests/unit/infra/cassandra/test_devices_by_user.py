"""Notes of devices: the one seen last stays, and expires without another."""

from __future__ import annotations

import asyncio

import pytest

from infra.cassandra import devices_by_user
from infra.cassandra.devices_by_user import Device
from schemas.versions import version_of
from tests.unit.infra.cassandra.support import Cells, written

T0 = 1_700_000_000_000
TTL_S = 600


def device(name: str = "phone", seen_at_ms: int = T0, offset: int = 7) -> Device:
    return Device(name, 1, version_of(1, offset), seen_at_ms - 5_000, seen_at_ms)


def put(cells: Cells, *devices: Device, user: str = "ann") -> None:
    for one in devices:
        cells.apply(devices_by_user.seen(cells, user, one, TTL_S))


def read(cells: Cells, user: str = "ann") -> list[Device]:
    return asyncio.run(devices_by_user.read(cells, user))


def test_what_was_noted_is_read_by_device_id() -> None:
    cells = Cells()
    put(cells, device("tablet"), device("phone", offset=9))
    put(cells, device("laptop"), user="bob")
    assert read(cells) == [device("phone", offset=9), device("tablet")]
    assert read(cells, "cid") == []


def test_a_note_is_stamped_by_when_the_device_was_seen_and_expires() -> None:
    """Microseconds, as Cassandra's own timestamps: nothing else orders these cells."""
    _, _, key, stamp, ttl_s = written(devices_by_user.seen(Cells(), "ann", device(), TTL_S))
    assert key == {"user_id": "ann", "device_id": "phone"}
    assert (stamp, ttl_s) == (T0 * 1_000, TTL_S)


def test_an_older_note_that_arrives_later_changes_nothing() -> None:
    """Even if its version is the greater: a device may have been set back."""
    cells = Cells()
    newest = device(seen_at_ms=T0 + 1, offset=3)
    put(cells, newest, device(seen_at_ms=T0, offset=99))
    assert read(cells) == [newest]


def test_made_up_ids_of_devices_are_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_by_user, "DEVICES_READ_MAX", 3)
    cells = Cells()
    put(cells, *(device(f"d{number}") for number in range(5)))
    assert [one.device_id for one in read(cells)] == ["d0", "d1", "d2"]
