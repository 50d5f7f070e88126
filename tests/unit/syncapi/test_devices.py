"""Notes of devices: seldom, bounded, behind the sync's back, and never its trouble."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from prometheus_client import REGISTRY

from infra.api_settings import ApiSettings
from infra.cassandra import devices_by_user
from infra.cassandra.devices_by_user import Device
from infra.cassandra.session import StoreRefused, StoreUnavailable
from schemas.versions import version_of
from syncapi import devices
from syncapi.devices import (
    DEVICE_NOTE_S,
    DEVICE_REFRESH_MS,
    NOTES_IN_FLIGHT_MAX,
    WARN_MS,
    DeviceNotes,
)
from tests.unit.infra.cassandra.support import Bound, Cells, written
from tests.unit.syncapi.support import T0, cursor, run

NOTE_MS = DEVICE_NOTE_S * 1_000
TTL_S = 600


class Gate(Cells):
    """A store whose single writes wait until they are let through, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.bind_error: Exception | None = None

    def bind(self, cql: str, values: Any) -> Bound:
        if self.bind_error is not None:
            raise self.bind_error
        return super().bind(cql, values)

    async def awrite_once(self, statement: Bound) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        await super().awrite_once(statement)


class Api:
    """Notes on a store, with a clock that tests move."""

    def __init__(self) -> None:
        self.store = Gate()
        self.now_ms = T0
        self.notes = DeviceNotes(self.store, lambda: self.now_ms, TTL_S)

    def begin(
        self, device: str = "phone", user: str = "ann", offset: int = 1, epoch: int = 1
    ) -> None:
        at = cursor(epoch=epoch, version=version_of(epoch, offset), issued_at_ms=T0 - 1_000)
        self.notes.note(user, device, at)

    async def note(self, device: str = "phone", **changed: Any) -> None:
        self.begin(device, **changed)
        await self.notes.drain()

    @property
    def written(self) -> int:
        return len(self.store.writes)


def outcomes() -> dict[str, float]:
    name = "diffusion_api_device_notes_total"
    return {
        outcome: REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0.0
        for outcome in ("written", "skipped", "dropped", "failed")
    }


def counted(course: Callable[[], Coroutine[Any, Any, None]]) -> dict[str, int]:
    """What a course added to the outcomes, without those it added nothing to."""
    before = outcomes()
    run(course())
    after = outcomes()
    return {name: int(after[name] - before[name]) for name in after if after[name] != before[name]}


# What is written.


def test_a_device_that_comes_back_is_noted_with_the_numbers_of_its_cursor() -> None:
    async def course() -> None:
        api = Api()
        await api.note(offset=5)
        assert await devices_by_user.read(api.store, "ann") == [
            Device("phone", 1, version_of(1, 5), T0 - 1_000, T0)
        ]
        assert written(api.store.writes[0])[3:] == (T0 * 1_000, TTL_S)
        assert api.store.reads[1:] == [], "nothing is read before a write"

    assert counted(course) == {"written": 1}


def test_noting_does_not_wait_for_the_store() -> None:
    async def course() -> None:
        api = Api()
        api.store.open.clear()
        api.begin()
        assert api.written == 0
        api.store.open.set()
        await api.notes.drain()
        assert api.written == 1

    run(course())


def test_the_age_of_the_cursor_is_observed_every_time() -> None:
    def observed() -> tuple[float, float]:
        name = "diffusion_api_device_age_seconds"
        return tuple(REGISTRY.get_sample_value(f"{name}_{part}") for part in ("count", "sum"))

    async def course() -> None:
        api = Api()
        api.begin()
        api.now_ms += 2_000
        api.begin()
        api.now_ms = T0 - 60_000  # the cursor is from an instance whose clock is ahead
        api.begin()
        await api.notes.drain()

    count, total = observed()
    run(course())
    assert observed() == (count + 3, total + 1 + 3 + 0)


# How often.


def test_a_busy_device_is_written_once_a_minute() -> None:
    async def course() -> None:
        api = Api()
        for offset in range(1, 122):
            await api.note(offset=offset)
            api.now_ms += 1_000
        assert api.written == 3

    assert counted(course) == {"written": 3, "skipped": 118}


def test_a_device_whose_version_does_not_move_is_written_once_a_day() -> None:
    async def course() -> None:
        api = Api()
        await api.note()
        api.now_ms += DEVICE_REFRESH_MS - 1
        await api.note()
        assert api.written == 1
        api.now_ms += 1
        await api.note()
        assert api.written == 2

    run(course())


def test_the_same_offset_in_another_epoch_is_a_move() -> None:
    async def course() -> None:
        api = Api()
        await api.note(epoch=1)
        api.now_ms += NOTE_MS
        await api.note(epoch=2)
        assert api.written == 2

    run(course())


def test_a_device_that_was_set_back_is_noted_too() -> None:
    async def course() -> None:
        api = Api()
        await api.note(offset=9)
        api.now_ms += NOTE_MS
        await api.note(offset=3)
        (device,) = await devices_by_user.read(api.store, "ann")
        assert device.version == version_of(1, 3)

    run(course())


def test_devices_and_users_do_not_hold_each_other_up() -> None:
    async def course() -> None:
        api = Api()
        for device, user in (("phone", "ann"), ("tablet", "ann"), ("phone", "bob")):
            await api.note(device, user=user)
        assert api.written == 3

    run(course())


def test_a_clock_that_is_set_back_silences_no_device() -> None:
    async def course() -> None:
        api = Api()
        api.now_ms = T0 + 10 * DEVICE_REFRESH_MS
        await api.note()
        api.now_ms = T0
        await api.note()
        assert api.written == 2

    run(course())


# Bounds.


def test_the_device_away_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICES_NOTED_MAX", 2)

    async def course() -> None:
        api = Api()
        for device in ("phone", "tablet", "phone", "laptop"):
            await api.note(device)
        assert api.written == 3
        assert [device for _, device in api.notes._noted] == ["phone", "laptop"]
        await api.note("phone")
        assert api.written == 3, "it came back meanwhile, and is remembered"
        await api.note("tablet")
        assert api.written == 4

    run(course())


def test_beyond_the_writes_under_way_a_note_is_dropped_and_tried_at_the_next_sync() -> None:
    async def course() -> None:
        api = Api()
        api.store.open.clear()
        for number in range(NOTES_IN_FLIGHT_MAX + 5):
            api.begin(user=f"u{number}")
        assert len(api.notes._writes) == NOTES_IN_FLIGHT_MAX
        api.store.open.set()
        await api.notes.drain()
        assert api.written == NOTES_IN_FLIGHT_MAX
        await api.note(user=f"u{NOTES_IN_FLIGHT_MAX}")
        assert api.written == NOTES_IN_FLIGHT_MAX + 1

    assert counted(course) == {"dropped": 5, "written": NOTES_IN_FLIGHT_MAX + 1}


def test_no_write_is_kept_when_it_is_done() -> None:
    async def course() -> None:
        api = Api()
        for number in range(200):
            await api.note(user=f"u{number}")
        assert not api.notes._writes

    run(course())


def test_an_end_in_the_middle_of_a_write_is_a_dropped_note() -> None:
    async def course() -> None:
        api = Api()
        api.store.open.clear()
        api.begin()
        await asyncio.sleep(0)  # the loop ends with the write under way, and cancels it

    assert counted(course) == {"dropped": 1}


# Failures.


@pytest.mark.parametrize(
    "error", [StoreUnavailable("away"), StoreRefused("no"), ValueError("unheard of")], ids=repr
)
@pytest.mark.parametrize("part", ["error", "bind_error"])
def test_a_failure_of_the_store_is_counted_and_raised_to_nobody(
    error: Exception, part: str
) -> None:
    async def course() -> None:
        api = Api()
        setattr(api.store, part, error)
        await api.note()

    assert counted(course) == {"failed": 1}


def test_a_note_that_failed_is_tried_again_but_not_before_its_minute() -> None:
    async def course() -> None:
        api = Api()
        api.store.error = StoreUnavailable("away")
        await api.note()
        api.store.error = None
        api.now_ms += NOTE_MS - 1
        await api.note()
        assert api.written == 0
        api.now_ms += 1
        await api.note()
        assert api.written == 1, "though its version is the one that was noted in vain"

    assert counted(course) == {"failed": 1, "skipped": 1, "written": 1}


def test_a_store_that_is_away_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def course() -> None:
        api = Api()
        api.store.error = StoreUnavailable("away")
        for number in range(10):
            await api.note(f"d{number}")
        api.now_ms += WARN_MS
        await api.note("d10")

    with caplog.at_level(logging.WARNING, "diffusion.api"):
        assert counted(course) == {"failed": 11}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "away" in caplog.text


def test_a_row_lives_longer_than_the_refresh_of_a_quiet_device() -> None:
    shortest = ApiSettings(device_ttl_days=2).device_ttl_s
    assert shortest * 1_000 >= 2 * DEVICE_REFRESH_MS
    assert ApiSettings().device_ttl_s == 90 * 86_400


def test_made_up_devices_of_one_user_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICES_PER_USER_MAX", 3)

    async def course() -> None:
        api = Api()
        for number in range(9):
            await api.note(f"made up {number}")
        await api.note("phone", user="bob")
        assert len(await devices_by_user.read(api.store, "ann")) == 3
        assert len(await devices_by_user.read(api.store, "bob")) == 1

    assert counted(course) == {"written": 4, "dropped": 6}


def test_a_forgotten_device_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICES_PER_USER_MAX", 1)
    monkeypatch.setattr(devices, "DEVICES_NOTED_MAX", 1)

    async def course() -> None:
        api = Api()
        for name, user in (("phone", "ann"), ("phone", "bob"), ("tablet", "ann")):
            await api.note(name, user=user)

    assert counted(course) == {"written": 3}
