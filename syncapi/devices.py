"""Notes of which device came back with which cursor: for operators and metrics, never truth.

A cursor that is sent back was stored, so it is an acknowledgement. Noting it must cost a sync
nothing: it is written behind its back, seldom, once, and dropped whenever that is easier. Nothing
is read first: a newer note wins by its timestamp.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from functools import cache
from typing import Final, NamedTuple

from infra import metrics
from infra.cassandra import devices_by_user
from infra.cassandra.devices_by_user import Device
from infra.cassandra.session import Session
from infra.clock import Clock
from infra.faults import Seldom, sentence_of
from schemas.cursor import Cursor

log = logging.getLogger("diffusion.api")

DEVICES_NOTED_MAX: Final = 50_000
"""Devices remembered, about 300 bytes each; who is forgotten is written once more than needed."""

DEVICES_PER_USER_MAX: Final = 50
"""Devices remembered, and so written, of one user: a client that makes up an id for every sync must
not fill his partition."""

DEVICE_NOTE_S: Final = 60
"""A device is written at most so often, however busy it is."""

DEVICE_REFRESH_MS: Final = 86_400_000
"""A device whose version does not move is written once a day: it is seen, and does not expire."""

NOTES_IN_FLIGHT_MAX: Final = 64
"""Writes under way. More come only when Cassandra is slow, and then it has better things to do."""

WARN_MS: Final = 60_000
"""A store that is away fails every note; one sentence a minute says it."""

assert DEVICE_NOTE_S * 1_000 < DEVICE_REFRESH_MS

_notes = cache(metrics.api_device_notes.labels)
"""Looked up once for each outcome."""


class _Noted(NamedTuple):
    """When a write of a device began, and what it said: epoch and version, None if it failed."""

    at_ms: int
    stand: tuple[int, int] | None


class DeviceNotes:
    """Notes the cursors that devices send back. For one event loop."""

    def __init__(self, session: Session, clock: Clock, ttl_s: int) -> None:
        self._session = session
        self._clock = clock
        self._ttl_s = ttl_s
        self._noted: OrderedDict[tuple[str, str], _Noted] = OrderedDict()
        self._of_user: dict[str, int] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._warned = Seldom(WARN_MS / 1_000)

    def note(self, user_id: str, device_id: str, cursor: Cursor) -> None:
        """Note that a device came back with `cursor`, if it is time to. Raises nothing and waits
        for nothing; needs a running event loop.
        """
        now_ms = self._clock()
        # The cursor may be of an instance whose clock is ahead.
        metrics.api_device_age_seconds.observe(max(0, now_ms - cursor.issued_at_ms) / 1_000)
        key, stand = (user_id, device_id), (cursor.epoch, cursor.version)
        if not self._is_due(key, stand, now_ms):
            _count("skipped")
            return
        others = self._of_user.get(user_id, 0)
        if key not in self._noted and others >= DEVICES_PER_USER_MAX:
            _count("dropped")
            return
        if len(self._writes) >= NOTES_IN_FLIGHT_MAX:
            _count("dropped")  # and not remembered: the next sync of the device tries again
            return
        self._remember(key, _Noted(now_ms, stand))
        device = Device(device_id, cursor.epoch, cursor.version, cursor.issued_at_ms, now_ms)
        # The loop itself keeps no task from being collected.
        task = asyncio.get_running_loop().create_task(self._write(key, device))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def drain(self) -> None:
        """Wait for the writes under way; each ends by itself within a request's time-out."""
        while self._writes:
            await asyncio.wait(self._writes)

    def _is_due(self, key: tuple[str, str], stand: tuple[int, int], now_ms: int) -> bool:
        held = self._noted.get(key)
        if held is None:
            return True
        self._noted.move_to_end(key)
        age_ms = now_ms - held.at_ms
        # Below 0 the clock was set back, and says nothing of how long ago it was.
        if 0 <= age_ms < DEVICE_NOTE_S * 1_000:
            return False
        return stand != held.stand or not 0 <= age_ms < DEVICE_REFRESH_MS

    def _remember(self, key: tuple[str, str], noted: _Noted) -> None:
        if key not in self._noted:
            self._of_user[key[0]] = self._of_user.get(key[0], 0) + 1
        self._noted[key] = noted
        self._noted.move_to_end(key)
        while len(self._noted) > DEVICES_NOTED_MAX:
            (user_id, _), _ = self._noted.popitem(last=False)
            self._of_user[user_id] -= 1
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    async def _write(self, key: tuple[str, str], device: Device) -> None:
        try:
            # Preparing may find nobody there, too.
            await self._session.aprepare(devices_by_user.UPDATE_SEEN)
            statement = devices_by_user.seen(self._session, key[0], device, self._ttl_s)
            await self._session.awrite_once(statement)
        except asyncio.CancelledError:
            _count("dropped")
            raise
        except Exception as error:  # noqa: BLE001  # a note must not end anything, whatever befell it
            self._failed(key, device.seen_at_ms, error)
        else:
            _count("written")

    def _failed(self, key: tuple[str, str], at_ms: int, error: Exception) -> None:
        _count("failed")
        if key in self._noted:
            # Due again, whatever it says then, but not before its time: the store is in trouble.
            self._noted[key] = _Noted(at_ms, None)
        if self._warned.is_due(self._clock() / 1_000):
            log.warning("a device could not be noted, which harms no sync: %s", sentence_of(error))


def _count(outcome: str) -> None:
    _notes(outcome).inc()
