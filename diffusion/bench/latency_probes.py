"""The writing and measuring side of `diffusion bench latency`, for a process of its own.

It writes at full speed for the maximum, and then at shares of it by due times: a message that is
late is written as soon as may be and does not make the following ones late. A probe is a message
whose delivery report is waited for; from that moment on a device of its recipient syncs with its
own cursor until an answer tells the sequence. All clocks are of this process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import uvloop

from diffusion.bench.latency_load import Load, Mix, Probe, probes
from diffusion.bench.raw_http import Connection
from diffusion.bench.raw_sync import ask, sync_bytes, tells_nothing
from diffusion.bench.stage import SYNCS_TO_CATCH_UP_MAX
from diffusion.system import TOKEN_LIFETIME_S, wait_quiet
from infra.clock import monotonic_s, now_ms
from infra.settings import Settings
from schemas.errors import RetryableError
from schemas.events import Message
from schemas.protocol import SyncRequest, SyncResponse
from sdk.backend import WriteProducer
from syncapi.auth import issue
from syncapi.heads import CACHE_AGE_S

WARM_UP_S: Final = 15.0
"""Full speed for so long before the maximum is measured: JVMs just started are still compiling."""

PACED_WARM_UP_S: Final = 60.0
"""A tenth is written for so long before it is measured: under a backlog other code is hot than with
small batches, and compilers took a quarter of two cores in its first half minute."""

FULL_SPEED_S: Final = 20.0
FULL_SPEED_ROUND: Final = 100
"""Messages between two looks at the clock."""

PROBES_PER_SECOND: Final = 5.0
SETTLE_S: Final = 3.0
"""A case is written for so long before its first probe, so that it is measured on its way."""

LATE_S: Final = 30.0
"""A probe that is not readable so long after its delivery report is missed."""

POLL_MIN_S: Final = 0.05
POLL_SHARE: Final = 0.2
"""A device asks again after so much of the time that it has waited, and not sooner than that: what
is told is late by a part of it, never early. With a tenth, at least 20 ms, the probes made some
hundred syncs a second, which took a quarter of a core from the writes that they measured."""

POLL_MAX_S: Final = 2.0
"""A device asks at least so often: the API closes a connection that is idle for longer than 5 s."""

TICK_S: Final = 0.005
THREADS: Final = 8
"""Probes whose delivery report is waited for at the same time."""

SWITCH_S: Final = 0.001
"""How long a thread may keep Python's lock from the others: a report must not wait for the load."""

DEVICE_ID: Final = "latency"


@dataclass(frozen=True, slots=True)
class Sample:
    """A probe: milliseconds from the call to the delivery report, from that to the answer that told
    it, and from the last answer that did not.
    """

    accepted_ms: float
    readable_ms: float
    resolution_ms: float


@dataclass(frozen=True, slots=True)
class FullSpeed:
    """What was written as fast as it went, and the seconds until all of it was readable."""

    messages: int
    marks: int
    seconds: float

    @property
    def messages_per_second(self) -> float:
        """The maximum, by definition."""
        return self.messages / self.seconds

    @property
    def marks_per_second(self) -> float:
        """Messages times members."""
        return self.marks / self.seconds


@dataclass(frozen=True, slots=True)
class Paced:
    """What was written at a share of the maximum, and its probes. `late_max_ms`: of the message
    that was written the longest after it was due.
    """

    share: float
    messages: int
    marks: int
    seconds: float
    late_max_ms: float
    samples: tuple[Sample, ...]
    missed: int


@dataclass(frozen=True, slots=True)
class Measured:
    """All that one process wrote and measured. `messages` and `probed` say what to tell the oracle:
    `diffusion.bench.latency_load.everything`.
    """

    maximum: FullSpeed
    cases: tuple[Paced, ...]
    messages: int
    probed: dict[str, int]


def measure(
    settings: Settings, mix: Mix, seed: int, shares: Sequence[float], seconds: float
) -> Measured:
    """Write and measure on a system that runs; raises `DiffusionError` if something fails."""
    sys.setswitchinterval(SWITCH_S)
    with (
        WriteProducer(settings.kafka.bootstrap_servers, extra=settings.kafka.options) as written,
        # Apart: a flush seals what is waiting, and the load shall be batched as it always is.
        WriteProducer(settings.kafka.bootstrap_servers, extra=settings.kafka.options) as probed,
        ThreadPoolExecutor(THREADS) as threads,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        writer = Writer(settings, Load(mix, seed), written)
        devices = [Device(settings, probe) for probe in probes(mix)]
        for device in devices:
            probed.send(device.next())
        writer.begin()
        for device in devices:
            runner.run(device.catch_up())
        writer.full_speed(WARM_UP_S)
        maximum = writer.full_speed(FULL_SPEED_S)
        runner.run(writer.warm_up(min(shares) * maximum.messages_per_second))
        cases = []
        for share in shares:
            prober = Prober(probed, threads, devices)
            pace = writer.paced(share, maximum.messages_per_second * share, seconds, prober)
            cases.append(runner.run(pace))
            writer.quiet()
        messages = writer.load.messages
    return Measured(
        maximum, tuple(cases), messages, {device.probe.user: device.seq for device in devices}
    )


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


class Writer:
    """Writes the load."""

    def __init__(self, settings: Settings, load: Load, producer: WriteProducer) -> None:
        self._settings = settings
        self._producer = producer
        self.load = load

    def begin(self) -> None:
        """Make everybody a member, and wait until that is readable."""
        for event in self.load.beginning():
            self._producer.send(event)
        # Joins are told to many and written at a pace; the messages come when all that is done.
        self.quiet()
        for message in self.load.firsts():
            self._producer.send(message)
        self.quiet()

    def quiet(self) -> None:
        """Wait until everything that was written is readable."""
        self._producer.flush()
        wait_quiet(self._settings)

    def full_speed(self, seconds: float) -> FullSpeed:
        """Write for so long as fast as it goes, and wait until all of it is readable."""
        load, send = self.load, self._producer.send
        messages, marks = load.messages, load.marks
        began_s = monotonic_s()
        while monotonic_s() - began_s < seconds:
            for _ in range(FULL_SPEED_ROUND):
                send(load.message())
        self.quiet()
        took_s = monotonic_s() - began_s - CACHE_AGE_S  # which `wait_quiet` sleeps in any case
        return FullSpeed(load.messages - messages, load.marks - marks, took_s)

    async def paced(self, share: float, rate: float, seconds: float, prober: Prober) -> Paced:
        """Write so many messages a second, with probes after a while, until the last of these is
        sent; then wait for the probes that are under way.
        """
        load = self.load
        messages, marks = load.messages, load.marks
        written = asyncio.create_task(self._write(rate, SETTLE_S + seconds))
        await asyncio.sleep(SETTLE_S)
        await prober.run(seconds)
        took_s, late_s = await written
        return Paced(
            share,
            load.messages - messages,
            load.marks - marks,
            took_s,
            late_s * 1_000,
            tuple(prober.samples),
            prober.missed,
        )

    async def warm_up(self, rate: float) -> None:
        """Write so many messages a second, which nobody measures."""
        await self._write(rate, PACED_WARM_UP_S)

    async def _write(self, rate: float, seconds: float) -> tuple[float, float]:
        """Write by due times; the seconds that took, and the longest that a message was late."""
        load, send = self.load, self._producer.send
        began_s, late_max_s, done = monotonic_s(), 0.0, 0
        wanted = int(rate * seconds)
        while done < wanted:
            passed_s = monotonic_s() - began_s
            due = min(wanted, int(passed_s * rate))
            if due > done:
                late_max_s = max(late_max_s, passed_s - (done + 1) / rate)
            for _ in range(due - done):
                send(load.message())
            done = due
            await asyncio.sleep(TICK_S)
        return monotonic_s() - began_s, late_max_s
