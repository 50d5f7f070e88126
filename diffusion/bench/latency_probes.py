"""The probes of `diffusion bench latency`.

A probe is a message whose delivery report is waited for; from that moment on a device of its
recipient syncs with its own cursor until an answer tells the sequence. All clocks are of this
process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from diffusion.bench.latency_load import Probe
from diffusion.bench.raw_http import Connection
from diffusion.bench.raw_sync import ask, sync_bytes, tells_nothing
from diffusion.bench.stage import SYNCS_TO_CATCH_UP_MAX
from diffusion.system import TOKEN_LIFETIME_S
from infra.clock import monotonic_s, now_ms
from infra.settings import Settings
from schemas.errors import RetryableError
from schemas.events import Message
from schemas.protocol import SyncRequest, SyncResponse
from sdk.backend import WriteProducer
from syncapi.auth import issue

PROBES_PER_SECOND: Final = 5.0
LATE_S: Final = 30.0
"""A probe that is not readable so long after its delivery report is missed."""

POLL_MIN_S: Final = 0.05
POLL_SHARE: Final = 0.2
"""A device asks again after so much of the time that it has waited, and not sooner than that: what
is told is late by a part of it, never early. With a tenth, at least 20 ms, the probes made some
hundred syncs a second, which took a quarter of a core from the writes that they measured."""

POLL_MAX_S: Final = 2.0
"""A device asks at least so often: the API closes a connection that is idle for longer than 5 s."""

DEVICE_ID: Final = "latency"


@dataclass(frozen=True, slots=True)
class Sample:
    """A probe: milliseconds from the call to the delivery report, from that to the answer that told
    it, and from the last answer that did not.
    """

    accepted_ms: float
    readable_ms: float
    resolution_ms: float


class Device:
    """The device of a probe's recipient, with its cursor."""

    def __init__(self, settings: Settings, probe: Probe) -> None:
        api = settings.api
        self.probe = probe
        self.seq = 0
        self._address = (api.host, api.port)
        self._token = issue(api, probe.user, now_ms=now_ms(), lifetime_s=TOKEN_LIFETIME_S)
        self._cursor: str | None = None

    def next(self) -> Message:
        """The next message to it."""
        self.seq += 1
        return self.probe.message(self.seq)

    async def connect(self) -> Connection:
        """A connection: the API closes one that was idle for some seconds."""
        return await Connection.open(*self._address)

    async def catch_up(self) -> None:
        """Sync until nothing is new."""
        connection = await self.connect()
        try:
            for _ in range(SYNCS_TO_CATCH_UP_MAX):
                told = await self._ask(connection)
                if tells_nothing(told):
                    return
        finally:
            connection.close()
        raise RetryableError(f"After {SYNCS_TO_CATCH_UP_MAX} syncs there is still something new.")

    async def until_told(
        self, connection: Connection, since_s: float
    ) -> tuple[float, float] | None:
        """Sync until the last message is told: the seconds that took since a moment, and since the
        last answer without it. None if it is not told in time.
        """
        before_s = since_s
        while True:
            told = await self._ask(connection)
            now_s = monotonic_s()
            if tells(told, self.probe.conversation_id, self.seq):
                return now_s - since_s, now_s - before_s
            waited_s = now_s - since_s
            if waited_s > LATE_S:
                return None
            before_s = now_s
            await asyncio.sleep(pause_s(waited_s))

    async def _ask(self, connection: Connection) -> SyncResponse:
        request = SyncRequest(DEVICE_ID, cursor=self._cursor)
        told = await ask(connection, sync_bytes(*self._address, self._token, request))
        self._cursor = told.cursor or self._cursor
        return told


def tells(told: SyncResponse, conversation_id: str, seq: int) -> bool:
    """Whether an answer tells a conversation up to a sequence."""
    return any(
        entry.conversation_id == conversation_id and (entry.max_seq or 0) >= seq
        for entry in told.conversations
    )


def pause_s(waited_s: float) -> float:
    """How long a device that has waited so long waits before it asks again."""
    return min(POLL_MAX_S, max(POLL_MIN_S, POLL_SHARE * waited_s))


class Prober:
    """Sends probes and follows each until it is readable. For one case."""

    def __init__(
        self, producer: WriteProducer, threads: ThreadPoolExecutor, devices: Sequence[Device]
    ) -> None:
        self._producer = producer
        self._threads = threads
        self._free: asyncio.Queue[Device] = asyncio.Queue()
        for device in devices:
            self._free.put_nowait(device)
        self.samples: list[Sample] = []
        self.missed = 0

    async def run(self, seconds: float) -> None:
        """Send probes for so long, each when it is due, and wait for all of them."""
        began_s = monotonic_s()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * PROBES_PER_SECOND)):
                due_s = began_s + number / PROBES_PER_SECOND
                await asyncio.sleep(max(0.0, due_s - monotonic_s()))
                device = await self._free.get()
                group.create_task(self._probe(device))

    async def _probe(self, device: Device) -> None:
        connection = await device.connect()
        try:
            loop, message = asyncio.get_running_loop(), device.next()
            called_s, accepted_s = await loop.run_in_executor(self._threads, self._accept, message)
            found = await device.until_told(connection, accepted_s)
        finally:
            connection.close()
        if found is None:
            self.missed += 1
            return
        self._free.put_nowait(device)
        self.samples.append(
            Sample((accepted_s - called_s) * 1_000, found[0] * 1_000, found[1] * 1_000)
        )

    def _accept(self, message: Message) -> tuple[float, float]:
        called_s = monotonic_s()
        self._producer.send(message)
        self._producer.flush()
        return called_s, monotonic_s()
