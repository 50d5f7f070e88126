"""How long, how much CPU, how many bytes: of one request that is sent many times."""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import HttpTransport, Traffic

WARM_UP: Final = 10
"""Times that are not counted: statements are prepared and the connection is opened by the first."""

ROUND: Final = 100
"""Repetitions of which the CPU time is taken together: ten of the ticks that it is counted in, and
more. The median of the rounds counts, since others on the machine make some of them twice as dear.
"""

REPETITIONS_MIN: Final = 3
"""Of what takes seconds: one may have met a pause of the garbage collector of a server."""


@dataclass(frozen=True, slots=True)
class Times:
    """Times of repetitions, and the CPU time of each on average, in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What one request costs: its times, and the most bytes of bodies that any took."""

    times: Times
    round_trips: int
    bytes_up: int
    bytes_down: int


def in_mb(sizes: Mapping[str, float]) -> dict[str, float]:
    """Bytes of each process as MB of 2^20."""
    return {name: round(size / 2**20, 1) for name, size in sizes.items()}


def machine() -> str:
    """The machine in words: what figures are to be read with."""
    model = platform.machine()
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as info:
        model = next(
            (line.partition(":")[2].strip() for line in info if "model name" in line), model
        )
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores ({model}), {memory_gib:.0f} GiB, Python "
        f"{platform.python_version()}; Kafka, Cassandra and all of this on it, one node each, "
        f"Cassandra's commit log synced in batches; load {psutil.getloadavg()[0]:.1f} at the end"
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of the values is at most; of few, the greatest."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def times_of(milliseconds: Sequence[float], cpu_ms: float) -> Times:
    """Sum up; `cpu_ms` is that of all repetitions together."""
    count = len(milliseconds)
    return Times(count, quantile(milliseconds, 0.5), quantile(milliseconds, 0.99), cpu_ms / count)


def cpu_ms(pid: int) -> float:
    """CPU time that a process has used since its start, its threads included."""
    spent = psutil.Process(pid).cpu_times()
    return float(spent.user + spent.system) * 1_000


class RehearsingTransport:
    """A `Transport` that sends a request many times before it is sent for good.

    So what is measured is what the SDK asks, and the device goes on from its answer. Answers to a
    sync are reads, which may be repeated. Rehearsals have a connection of their own, kept alive,
    and are not in `traffic`. `prepare` says how often the next request is to be rehearsed;
    afterwards `rehearsed` has what it cost.
    """

    def __init__(self, url: str, token: str, pid: int) -> None:
        self._main = HttpTransport(url, token)
        self._aside = HttpTransport(url, token)
        self._pid = pid
        self._repetitions = 0
        self.rehearsed: Rehearsed | None = None

    @property
    def traffic(self) -> Traffic:
        """What went over the wire for good."""
        return self._main.traffic

    def prepare(self, repetitions: int) -> None:
        """Rehearse the next request so often."""
        self._repetitions = repetitions
        self.rehearsed = None

    def send(self, request: SyncRequest) -> SyncResponse:
        """Rehearse if that was asked for, then send for good."""
        if self._repetitions:
            count, self._repetitions = self._repetitions, 0
            self.rehearsed = self._rehearse(request, count)
        return self._main.send(request)

    def close(self) -> None:
        """Close both connections."""
        self._main.close()
        self._aside.close()

    def _rehearse(self, request: SyncRequest, count: int) -> Rehearsed:
        transport = self._aside
        for _ in range(WARM_UP):
            transport.send(request)
        trips, up, down = [0], [0], [0]
        spent_ms: list[float] = []
        rounds_ms: list[float] = []
        for begun in range(0, count, ROUND):
            size, before_ms = min(ROUND, count - begun), cpu_ms(self._pid)
            for _ in range(size):
                before = transport.traffic
                spent_ms.append(timed_ms(lambda: transport.send(request)))
                traffic = transport.traffic.since(before)
                trips.append(traffic.round_trips)
                up.append(traffic.bytes_up)
                down.append(traffic.bytes_down)
            rounds_ms.append((cpu_ms(self._pid) - before_ms) / size)
        times = times_of(spent_ms, quantile(rounds_ms, 0.5) * count)
        return Rehearsed(times, max(trips), max(up), max(down))


def repeated(work: Callable[[], object], most: int, seconds: float) -> list[float]:
    """Milliseconds of each repetition: at most so many of them, and none is begun after so many
    seconds, but at least `REPETITIONS_MIN`.
    """
    spent_ms: list[float] = []
    while len(spent_ms) < most:
        if len(spent_ms) >= REPETITIONS_MIN and sum(spent_ms) >= seconds * 1_000:
            break
        spent_ms.append(timed_ms(work))
    return spent_ms


def timed_ms(work: Callable[[], object]) -> float:
    """Milliseconds that it takes."""
    started_ns = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - started_ns) / 1e6
