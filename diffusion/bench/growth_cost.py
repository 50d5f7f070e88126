"""What a piece of work costs: processor time of the processes that do it, and of Cassandra; and
what a sync costs, of many sent over one connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Self

from diffusion.bench.measure import cpu_ms, quantile
from diffusion.bench.raw_http import Connection
from diffusion.bench.raw_sync import ask, exchange, sync_bytes, tells_nothing
from diffusion.local import managed
from diffusion.system import System
from infra.clock import monotonic_s
from infra.settings import Settings
from schemas.errors import PermanentError, RetryableError
from schemas.protocol import SyncRequest, SyncResponse

PASSES: Final = 8
"""Times that all requests of a measure are sent, after once that does not count. The median pass
counts: others on the machine make some of them dearer."""

REQUESTS: Final = 100
"""Requests of a pass, at least: so many ticks of the clock by which processor time is counted."""

ANSWERS_MAX: Final = 400
"""Answers until a device has caught up: more are none of a benchmark's."""

CALM_SHARE: Final = 0.15
"""Of one core: what a Cassandra may use that does nothing but wait, with its own upkeep."""

CALM_LOOK_S: Final = 1.0
CALM_WAIT_S: Final = 40.0
"""Waited at most until what was written before is flushed and compacted."""

CHANGES_TOLD: Final = 20
"""Changed conversations of the sync that has something to tell: `diffusion bench sync`."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds, and processor time of our process and of Cassandra, for so many units of work."""

    units: int
    seconds: float
    cpu_ms: float
    cassandra_ms: float

    @property
    def cpu_us(self) -> float:
        """Of our process for a unit, in microseconds."""
        return self.cpu_ms * 1_000 / self.units

    @property
    def cassandra_us(self) -> float:
        """Of Cassandra for a unit, in microseconds."""
        return self.cassandra_ms * 1_000 / self.units

    @property
    def wall_us(self) -> float:
        """Time for a unit, in microseconds."""
        return self.seconds * 1e6 / self.units


def middle(rounds: Sequence[Spent], by: str = "cpu_us") -> Spent:
    """The median round, by the processor time of our process, or by something else of it."""
    return sorted(rounds, key=lambda one: float(getattr(one, by)))[len(rounds) // 2]


def own_cpu_ms() -> float:
    """Processor time of this process and all its threads until now, to the microsecond."""
    return time.process_time_ns() / 1e6


def cassandra_pid(settings: Settings) -> int:
    """Process of the Cassandra that these settings started."""
    local = managed(settings)
    pids = {} if local is None else {one.name: one.pid for one in local.status()}
    pid = pids.get("cassandra")
    if pid is None:
        raise PermanentError("Cassandra is not running, or somebody else's.")
    return pid


def wait_calm(pid: int) -> None:
    """Wait until a process does next to nothing, `CALM_WAIT_S` at most."""
    deadline_s = monotonic_s() + CALM_WAIT_S
    while monotonic_s() < deadline_s:
        before_ms = cpu_ms(pid)
        time.sleep(CALM_LOOK_S)
        if cpu_ms(pid) - before_ms <= CALM_SHARE * CALM_LOOK_S * 1_000:
            return


@dataclass(frozen=True, slots=True)
class SyncCost:
    """Of one sync: processor time of the API and of Cassandra, and time until its answer."""

    cpu_ms: float
    cassandra_ms: float
    p50_ms: float

    def costs(self, name: str) -> dict[str, float]:
        """By the names that a point has."""
        return {
            f"{name}_cpu_ms": self.cpu_ms,
            f"{name}_cassandra_ms": self.cassandra_ms,
            f"{name}_p50_ms": self.p50_ms,
        }


class Prober:
    """Sends syncs of any user, one after the other. A context manager.

    Those of one measure go over one connection, which is opened for it: the server closes what is
    idle. Answers are asked for uncompressed, and nothing is stored: what is measured is the server.
    """

    def __init__(self, system: System, cassandra: int) -> None:
        self._system = system
        self._cassandra = cassandra
        self._tokens: dict[str, str] = {}
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def send(self, user_id: str, cursor: str | None, page: str | None = None) -> SyncResponse:
        """Sync once; raises `RetryableError` for anything but an answer."""
        request = SyncRequest("growth", cursor=cursor, page=page)
        return self._runner.run(self._send(self._bytes(user_id, request)))

    async def _send(self, request: bytes) -> SyncResponse:
        connection = await self._open()
        try:
            return await ask(connection, request)
        finally:
            connection.close()

    async def _open(self) -> Connection:
        api = self._system.settings.api
        return await Connection.open(api.host, api.port)

    def caught_up(self, user_id: str, cursor: str | None = None) -> str:
        """The cursor of a device that has synced until nothing was new."""
        page: str | None = None
        for _ in range(ANSWERS_MAX):
            answer = self.send(user_id, cursor, page)
            page, cursor = answer.page, answer.cursor or cursor
            if (
                cursor is not None
                and page is None
                and not answer.has_more
                and tells_nothing(answer)
            ):
                return cursor
        raise RetryableError(f"After {ANSWERS_MAX} answers there is still something new.")

    def measure(self, cursors: Mapping[str, str]) -> SyncCost:
        """Send the sync of each user with his cursor, again and again."""
        requests = [
            self._bytes(user, SyncRequest("growth", cursor=cursor))
            for user, cursor in cursors.items()
        ]
        requests *= -(-REQUESTS // len(requests))
        return self._runner.run(self._measure(requests))

    async def _measure(self, requests: Sequence[bytes]) -> SyncCost:
        api, connection = self._system.processes.pid("api"), await self._open()
        spent_ms: list[float] = []
        rounds: list[tuple[float, float]] = []
        for number in range(1 + PASSES):
            before = cpu_ms(api), cpu_ms(self._cassandra)
            times_ms = [await _timed_ms(connection, request) for request in requests]
            after = cpu_ms(api), cpu_ms(self._cassandra)
            if number:
                spent_ms += times_ms
                each = [
                    (end - begin) / len(requests) for begin, end in zip(before, after, strict=True)
                ]
                rounds.append((each[0], each[1]))
        connection.close()
        return SyncCost(
            cpu_ms=median(api_ms for api_ms, _ in rounds),
            cassandra_ms=median(own_ms for _, own_ms in rounds),
            p50_ms=quantile(spent_ms, 0.5),
        )

    def _bytes(self, user_id: str, request: SyncRequest) -> bytes:
        token = self._tokens.get(user_id)
        if token is None:
            token = self._tokens[user_id] = self._system.token(user_id)
        api = self._system.settings.api
        return sync_bytes(api.host, api.port, token, request)


async def _timed_ms(connection: Connection, request: bytes) -> float:
    began_ns = time.perf_counter_ns()
    await exchange(connection, request)
    return (time.perf_counter_ns() - began_ns) / 1e6


def timed(work: Callable[[], int], cassandra: int) -> Spent:
    """Do something in this process; it returns how many units of work it was."""
    began_s, before_ms, server_ms = monotonic_s(), own_cpu_ms(), cpu_ms(cassandra)
    units = work()
    return Spent(
        units=units,
        seconds=monotonic_s() - began_s,
        cpu_ms=own_cpu_ms() - before_ms,
        cassandra_ms=cpu_ms(cassandra) - server_ms,
    )
