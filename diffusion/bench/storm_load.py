"""The devices of a storm: each opens a connection of its own, syncs, and closes it again.

For a process of its own, with an event loop of its own. A device asks what the SDK would ask, and
takes answers as the SDK does (`sdk.client.course`, `sdk.client.wire`), with the SDK's time-outs;
only the bytes travel more cheaply (`raw_http`). The time of a sync is counted from when it was due,
not from when it was begun: what waits here because the machine is busy waits all the same.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import uvloop

from diffusion.bench.raw_http import Connection
from diffusion.bench.raw_sync import sync_bytes
from infra.clock import monotonic_s
from infra.files import allow_open_files
from schemas.encoding import Format
from schemas.errors import DiffusionError, PermanentError, RetryableError
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client.course import SyncCourse
from sdk.client.limits import SECONDS_PER_REQUEST_DEFAULT, SECONDS_TO_CONNECT_DEFAULT
from sdk.client.ops import StoredState
from sdk.client.wire import answer_of, fixed_headers

DEVICE_ID: Final = "phone"
FILES_BESIDE_CONNECTIONS: Final = 256


@dataclass(frozen=True, slots=True)
class Device:
    """A device before its sync, which is due so many seconds after the beginning."""

    user_id: str
    token: str
    cursor: str | None
    due_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Visit:
    """A sync: the milliseconds from when it was due to its end, all answers, and the cursor then;
    or what went wrong.
    """

    user_id: str
    milliseconds: float
    cursor: str | None
    answers: tuple[SyncResponse, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What all devices did, and the CPU seconds that it cost this process."""

    visits: tuple[Visit, ...]
    seconds: float
    cpu_seconds: float


def sync_together(host: str, port: int, devices: Sequence[Device], at_once: int) -> Load:
    """Sync all devices, a few at once, as fast as that goes."""
    return _run(host, port, devices, monotonic_s(), at_once)


def storm(host: str, port: int, devices: Sequence[Device], start_s: float) -> Load:
    """Sync each device when it is due after `start_s` (of `monotonic_s`), however many are waiting.

    Raises `RetryableError` when this process is not ready by then.
    """
    if monotonic_s() > start_s:
        raise RetryableError("The devices were not ready when the storm was to begin.")
    return _run(host, port, devices, start_s, None)


def _run(
    host: str, port: int, devices: Sequence[Device], start_s: float, at_once: int | None
) -> Load:
    wanted = (at_once or len(devices)) + FILES_BESIDE_CONNECTIONS
    if allow_open_files(wanted) < wanted:
        raise PermanentError(f"So many devices need {wanted:,} open files: raise `ulimit -Hn`.")
    # A collection here is a pause that a device would have to wait for.
    gc.disable()
    try:
        before_s = time.process_time()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            visits = runner.run(_Devices(host, port, start_s, at_once).visit(devices))
    finally:
        gc.enable()
    return Load(tuple(visits), monotonic_s() - start_s, time.process_time() - before_s)


class _Devices:
    """One run of all devices. `start_s` is when the first may begin."""

    def __init__(self, host: str, port: int, start_s: float, at_once: int | None) -> None:
        self._host = host
        self._port = port
        self._start_s = start_s
        self._turn = nullcontext() if at_once is None else asyncio.Semaphore(at_once)
        self._codings = fixed_headers(Format.MSGPACK)["Accept-Encoding"]

    async def visit(self, devices: Sequence[Device]) -> list[Visit]:
        return await asyncio.gather(*(self._visit(device) for device in devices))

    async def _visit(self, device: Device) -> Visit:
        due_s = self._start_s + device.due_s
        await asyncio.sleep(max(0.0, due_s - monotonic_s()))
        answers: list[SyncResponse] = []
        cursor, error = device.cursor, ""
        async with self._turn:
            try:
                cursor = await self._sync(device, answers)
            except (OSError, DiffusionError) as failure:
                error = f"{type(failure).__name__}: {failure}"
        spent_ms = (monotonic_s() - due_s) * 1_000
        return Visit(device.user_id, spent_ms, cursor, tuple(answers), error)

    async def _sync(self, device: Device, answers: list[SyncResponse]) -> str | None:
        """Sync, adding each answer; returns the cursor to go on from."""
        course, cursor = SyncCourse(StoredState(cursor=device.cursor), DEVICE_ID), device.cursor
        async with asyncio.timeout(SECONDS_TO_CONNECT_DEFAULT):
            connection = await Connection.open(self._host, self._port)
        try:
            while (request := course.next_request()) is not None:
                async with asyncio.timeout(SECONDS_PER_REQUEST_DEFAULT):
                    answer = await connection.exchange(self._bytes_of(device, request))
                response = answer_of(answer.status, answer.headers, answer.body, Format.MSGPACK)
                cursor = course.receive(response).after.cursor
                answers.append(response)
        finally:
            connection.close()
        return cursor

    def _bytes_of(self, device: Device, request: SyncRequest) -> bytes:
        return sync_bytes(
            self._host, self._port, device.token, request, accept_encoding=self._codings
        )
