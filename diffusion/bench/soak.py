"""`diffusion bench soak`: memory of one stream worker and one materializer over a long run.

On servers of its own, with one API beside them. A million conversations are touched, most of them
once, so that whatever is kept for a conversation, a user or an event shows. The producer keeps to a
rate that spreads them over the minutes, and waits while a stage has too much before it. Resident
memory is looked at every few seconds; the slope of the second half, when caches are filled, says
whether a process would go on growing. In the end new devices of some users are compared with the
oracle, which follows the conversations of these users only.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import psutil

from diffusion import verify
from diffusion.bench import drift, stage
from diffusion.bench.drift import Drift
from diffusion.bench.measure import machine
from diffusion.bench.soak_load import Load
from diffusion.console import Console
from diffusion.oracle import Oracle
from diffusion.system import System, running
from diffusion.writing import producer_for
from infra.clock import monotonic_s, now_ms
from infra.kafka.admin import Admin
from infra.settings import Settings
from schemas.errors import PermanentError
from schemas.events import WriteEvent
from schemas.topics import CHANGES, WRITE_TOPICS
from sdk.backend import ProducerSettings, WriteProducer

STREAM_WORKER: Final = "stream-worker-1"
MATERIALIZER: Final = "materializer-1"
API: Final = "api"
BOUNDED: Final = (STREAM_WORKER, MATERIALIZER)
"""Processes that must stay small and flat; the API is only looked at."""

MEMORY_MAX_MB: Final = 300.0

DRIFT_MAX: Final = 0.01
DRIFT_SPAN_S: Final = 600.0
"""At most 1 % more in ten minutes. Half a million events come in that time, and 1 % of a full
process are some 2 MB: 4 bytes an event. Nothing that Python or librdkafka could leave behind for an
event, a record or a conversation is so small, so a leak of any of these exceeds it."""

SAMPLE_S: Final = 5.0
LAG_S: Final = 1.0
TICK_S: Final = 0.05
POINTS_MAX: Final = 100

LAG_MAX: Final = 20_000
"""Events before the stream worker, or records before the materializer, beyond which the producer
waits: some ten seconds of work. A record of the first stage may hold hundreds of events."""

CATCH_UP: Final = 2.0
"""What was held back is caught up at no more than so many times the rate: no flood."""

LINGER_S: Final = 0.1
"""How long the producer gathers events of a partition: at this rate a record then has ten or so, as
that of a backend with more traffic would have with the usual wait."""

LATE_FACTOR: Final = 2.0
"""A run that has not touched all conversations by so many times its minutes is over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """At least so many minutes, and so many conversations."""

    minutes: float
    conversations: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if self.minutes * 60 < 2 * drift.POINTS_MIN * SAMPLE_S or self.conversations < 1:
            raise PermanentError("Ask for at least one conversation, and half a minute.")

    @property
    def seconds(self) -> float:
        """The minutes, in seconds."""
        return self.minutes * 60


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. Memory in MB of 2^20 bytes, lags in records; `at_s` from the first event on.
    `events` were processed, `waiting` were written and were not.
    """

    at_s: float
    resident_mb: dict[str, float]
    lag_stream: int
    lag_materializer: int
    events: int
    waiting: int
    conversations: int
    cached: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process over the run, in MB of 2^20 bytes; the slope is that of its second half.
    `noise_mb_per_hour` is how much of it is noise (`drift.fit`).
    """

    name: str
    start_mb: float
    end_mb: float
    peak_mb: float
    slope_mb_per_hour: float
    noise_mb_per_hour: float
    drift_max_mb_per_hour: float

    @property
    def small(self) -> bool:
        """Whether it never exceeded the bound."""
        return self.peak_mb <= MEMORY_MAX_MB

    @property
    def flat(self) -> bool:
        """Whether it did not go on growing."""
        return self.slope_mb_per_hour <= self.drift_max_mb_per_hour


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench soak --json` prints. All `events` were processed."""

    plan: Plan
    minutes: float
    conversations: int
    users: int
    events: int
    processes: tuple[Memory, ...]
    series: tuple[Sample, ...]
    lag_max: dict[str, int]
    restarts: int
    machine: str
    users_checked: int
    differences: tuple[str, ...]

    @property
    def held(self) -> dict[str, bool]:
        """Each bound, and whether it holds."""
        found: dict[str, bool] = {}
        for one in self.processes:
            if one.name in BOUNDED:
                found[f"{one.name} small"] = one.small
                found[f"{one.name} flat"] = one.flat
        return found | {
            "conversations": self.conversations >= self.plan.conversations,
            # A process that was started anew has forgotten what it had gathered.
            "no restarts": self.restarts == 0,
            "correct": not self.differences,
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"held": self.held, "differences": list(self.differences[:20])}


def run(settings: Settings, plan: Plan, console: Console) -> Outcome:
    """Run it; raises `DiffusionError` when something cannot be started or done."""
    with (
        stage.own(settings, console) as (used, folder),
        running(
            used, logs=folder / "logs", stream_workers=1, materializers=1, report=console.say
        ) as system,
    ):
        return _Soak(system, plan, console).run()


def memory_of(name: str, samples: list[Sample], peak_mb: float) -> Memory:
    """Sum up what the samples say of a process."""
    half_s = samples[-1].at_s / 2
    points = [(one.at_s, one.resident_mb[name]) for one in samples]
    found: Drift = drift.fit([one for one in points if one[0] >= half_s])
    return Memory(
        name=name,
        start_mb=points[0][1],
        end_mb=points[-1][1],
        peak_mb=round(peak_mb, 1),
        slope_mb_per_hour=round(found.per_hour, 2),
        noise_mb_per_hour=round(found.noise_per_hour, 2),
        drift_max_mb_per_hour=round(found.level * DRIFT_MAX * drift.HOUR_S / DRIFT_SPAN_S, 2),
    )


def thinned(samples: list[Sample]) -> tuple[Sample, ...]:
    """At most `POINTS_MAX` of them, evenly, the last one among them."""
    step = -(-len(samples) // POINTS_MAX)
    return tuple(samples[::-1][::step][::-1])


class _Lags:
    """What is before both stages, looked at now and then."""

    def __init__(self, system: System, admin: Admin) -> None:
        self._system = system
        self._admin = admin
        self.stream = self.materializer = self.processed = self.waiting = 0
        self.most = {"stream": 0, "materializer": 0, "events": 0}

    def look(self, written: int) -> None:
        kafka, writes = self._system.settings.kafka, [topic.name for topic in WRITE_TOPICS]
        self.stream = self._admin.lag(kafka.stream_group, writes)
        self.materializer = self._admin.lag(kafka.materializer_group, [CHANGES.name])
        self.processed = int(self._system.processes.counted("diffusion_stream_events_total"))
        self.waiting = max(0, written - self.processed)
        now = {"stream": self.stream, "materializer": self.materializer, "events": self.waiting}
        self.most = {name: max(most, now[name]) for name, most in self.most.items()}

    @property
    def has_room(self) -> bool:
        return max(self.waiting, self.materializer) < LAG_MAX


class _Every:
    """Says at each call whether so many seconds have gone by since it last said so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due_s = 0.0

    def __call__(self, now_s: float) -> bool:
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self._seconds
        return True


class _Soak:
    """One run."""

    def __init__(self, system: System, plan: Plan, console: Console) -> None:
        self._system = system
        self._plan = plan
        self._console = console
        self._load = Load(plan.conversations, plan.seed)
        self._oracle = Oracle()
        self._samples: list[Sample] = []
        self._events = 0

    def run(self) -> Outcome:
        load, system = self._load, self._system
        with Admin(system.settings.kafka) as admin, self._producer() as producer:
            for drawn in load.joins(now_ms()):
                self._send(producer, drawn)
            producer.flush()
            system.wait_quiet()
            lags = _Lags(system, admin)
            seconds = self._soak(producer, lags)
            most = lags.most
        system.wait_quiet()
        peaks = system.processes.peaks()
        with self._console.progress("comparing devices", len(load.sampled)) as update:
            verdict = verify.fresh_devices(
                system, self._oracle, sorted(load.sampled), lambda: update(advance=1)
            )
        return Outcome(
            plan=self._plan,
            minutes=round(seconds / 60, 2),
            conversations=load.touched,
            users=load.users,
            events=self._events,
            processes=tuple(
                memory_of(name, self._samples, peaks[name] / 2**20)
                for name in (STREAM_WORKER, MATERIALIZER, API)
            ),
            series=thinned(self._samples),
            lag_max=most,
            restarts=system.processes.restarts(),
            machine=machine(),
            users_checked=verdict.checked,
            differences=tuple(verdict.differences),
        )

    def _soak(self, producer: WriteProducer, lags: _Lags) -> float:
        """Write until minutes and conversations are full, or it is too late; how long it took."""
        plan, load = self._plan, self._load
        rate = plan.conversations / plan.seconds
        opened = load.touched
        most = math.ceil(CATCH_UP * rate * TICK_S)
        is_lag_due, is_sample_due = _Every(LAG_S), _Every(SAMPLE_S)
        began_s = monotonic_s()
        with self._console.progress("conversations", plan.conversations) as update:
            while True:
                at_s = monotonic_s() - began_s
                done = at_s >= plan.seconds and load.touched >= plan.conversations
                if done or at_s >= plan.seconds * LATE_FACTOR:
                    return at_s
                if is_lag_due(at_s):
                    lags.look(self._events)
                    self._system.processes.check()
                if is_sample_due(at_s):
                    self._sample(at_s, lags)
                    update(completed=load.touched)
                if lags.has_room:
                    for _ in range(most):
                        if load.touched - opened >= at_s * rate:
                            break
                        self._send(producer, load.next(now_ms()))
                time.sleep(TICK_S)

    def _send(self, producer: WriteProducer, drawn: tuple[WriteEvent, bool]) -> None:
        event, followed = drawn
        producer.send(event)
        self._events += 1
        if followed:
            self._oracle.apply(event)

    def _sample(self, at_s: float, lags: _Lags) -> None:
        processes = self._system.processes
        self._samples.append(
            Sample(
                at_s=round(at_s, 1),
                resident_mb={
                    name: round(psutil.Process(processes.pid(name)).memory_info().rss / 2**20, 2)
                    for name in (STREAM_WORKER, MATERIALIZER, API)
                },
                lag_stream=lags.stream,
                lag_materializer=lags.materializer,
                events=lags.processed,
                waiting=lags.waiting,
                conversations=self._load.touched,
                cached=int(processes.counted("diffusion_stream_cached_conversations")),
            )
        )

    def _producer(self) -> WriteProducer:
        kafka = self._system.settings.kafka
        return producer_for(kafka, settings=ProducerSettings(linger_s=LINGER_S))
