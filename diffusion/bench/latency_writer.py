"""The writing side of `diffusion bench latency`, for a process of its own with the probes.

It writes at full speed, looks for the maximum below that, and then writes at shares of this by due
times: a message that is late is written as soon as may be and does not make the following ones
late.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import uvloop

from diffusion.bench.latency_load import Load, Mix, probes
from diffusion.bench.latency_probes import Device, Prober, Sample
from diffusion.system import wait_quiet
from diffusion.writing import producer_for
from infra.clock import monotonic_s
from infra.settings import Settings
from schemas.errors import PermanentError
from sdk.backend import WriteProducer
from syncapi.heads import CACHE_AGE_S

WARM_UP_S: Final = 15.0
"""Full speed for so long before the maximum is measured: JVMs just started are still compiling."""

PACED_WARM_UP_S: Final = 60.0
"""A tenth is written for so long before it is measured: under a backlog other code is hot than with
small batches, and compilers took a quarter of two cores in its first half minute."""

FULL_SPEED_S: Final = 20.0
FULL_SPEED_ROUND: Final = 100
"""Messages between two looks at the clock."""

STEPS: Final = 5
"""Rates tried for the maximum: it is found to one part in 2^5 of full speed."""

STEP_S: Final = 20.0
STEP_BEHIND_S: Final = 3.0
"""All that was written in a step is readable so soon after it, or the rate is not sustained. A
second or two of it pass until offsets are committed and looked at, so that a backlog that grows by
a tenth of what is written is seen."""

SETTLE_S: Final = 3.0
"""A case is written for so long before its first probe, so that it is measured on its way."""

TICK_S: Final = 0.005
THREADS: Final = 8
"""Probes whose delivery report is waited for at the same time."""

SWITCH_S: Final = 0.001
"""How long a thread may keep Python's lock from the others: a report must not wait for the load."""


@dataclass(frozen=True, slots=True)
class FullSpeed:
    """What was written as fast as it went, and the seconds until all of it was readable."""

    messages: int
    marks: int
    seconds: float

    @property
    def messages_per_second(self) -> float:
        """The rate at which a backlog is worked off."""
        return self.messages / self.seconds

    @property
    def marks_per_second(self) -> float:
        """Messages times members."""
        return self.marks / self.seconds


@dataclass(frozen=True, slots=True)
class Step:
    """Messages and marks a second that were written in a step, and the seconds after its end until
    all were readable.
    """

    messages_per_second: float
    marks_per_second: float
    behind_s: float

    @property
    def sustained(self) -> bool:
        """Whether what waits does not grow at this rate."""
        return self.behind_s <= STEP_BEHIND_S


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

    full_speed: FullSpeed
    steps: tuple[Step, ...]
    cases: tuple[Paced, ...]
    messages: int
    probed: dict[str, int]


def maximum(steps: Sequence[Step]) -> Step:
    """The greatest rate that was sustained. Raises `PermanentError` if none was."""
    sustained = [step for step in steps if step.sustained]
    if not sustained:
        raise PermanentError(
            f"None of the {len(steps)} rates tried was sustained: something else keeps this "
            "machine busy, or the log of a worker tells why it does little."
        )
    return max(sustained, key=lambda step: step.messages_per_second)


def measure(
    settings: Settings, mix: Mix, seed: int, shares: Sequence[float], seconds: float
) -> Measured:
    """Write and measure on a system that runs; raises `DiffusionError` if something fails."""
    sys.setswitchinterval(SWITCH_S)
    with (
        producer_for(settings.kafka) as written,
        # Apart: a flush seals what is waiting, and the load shall be batched as it always is.
        producer_for(settings.kafka) as probed,
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
        full_speed = writer.full_speed(FULL_SPEED_S)
        runner.run(writer.warm_up(min(shares) * full_speed.messages_per_second))
        steps = runner.run(writer.find_maximum(full_speed.messages_per_second))
        rate = maximum(steps).messages_per_second
        cases = []
        for share in shares:
            prober = Prober(probed, threads, devices)
            pace = writer.paced(share, rate * share, seconds, prober)
            cases.append(runner.run(pace))
            writer.quiet()
        messages = writer.load.messages
    sequences = {device.probe.user: device.seq for device in devices}
    return Measured(full_speed, steps, tuple(cases), messages, sequences)


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

    async def find_maximum(self, full_speed: float) -> tuple[Step, ...]:
        """Halve the way between the greatest rate that was sustained and the least that was not."""
        low, high, steps = 0.0, full_speed, list[Step]()
        for _ in range(STEPS):
            rate = (low + high) / 2
            step = await self._step(rate)
            steps.append(step)
            if step.sustained:
                low = rate
            else:
                high = rate
        return tuple(steps)

    async def _step(self, rate: float) -> Step:
        load = self.load
        messages, marks = load.messages, load.marks
        took_s, _ = await self._write(rate, STEP_S)
        ended_s = monotonic_s()
        self.quiet()
        behind_s = monotonic_s() - ended_s - CACHE_AGE_S  # as in `full_speed`
        return Step((load.messages - messages) / took_s, (load.marks - marks) / took_s, behind_s)

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
