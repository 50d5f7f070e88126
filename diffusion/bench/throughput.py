"""Requests a second of one API process, beside the bare reads that it makes for them.

Part of `diffusion bench sync`. Two hundred users have 250 groups each. For K = 0 and K = 20 changed
conversations their devices' next requests are noted, byte by byte as the SDK sends them, and sent
again and again over 16 connections by a process of its own that does nothing else (`raw_http`,
uvloop): each connection waits for its answer and sends the next user's request. Every answer is
kept, and looked at when the time is over: status 200, readable, and telling exactly what changed.

What it is measured against are the *bare reads*: the service itself answers each request once while
what it reads of Cassandra is written down, statements and values. These are then read by the driver
alone, in a process of its own, from the same prepared statements, all rows fetched as tuples. A
request of the bare loop is all reads of one sync; reads that the API makes only now and then (the
epoch of the log, how far it reaches) are left out, to the API's disadvantage.

There are two bare loops. The *plain* one is what anybody writes: one `session.execute` after the
other. It waits for Cassandra each time, where the API, like every server, has many requests under
way; this is a gain of the API's and the bound is on it. The *concurrent* one has as many requests
under way as the API, each begun in the driver's callback: the most that the driver can do, in one
thread that makes no answer, checks no token and talks to nobody. Its ratio is printed beside.
API and loops take turns in one run, on the same servers; the median of the rounds counts. Load and
servers share the machine with the API, and the servers with the loops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import httpx
import uvloop

from diffusion import verify
from diffusion.bench import children
from diffusion.bench.crowd import Crowd
from diffusion.bench.measure import quantile
from diffusion.bench.raw_http import Answer, Connection
from diffusion.bench.stage import Stage, catch_up
from diffusion.console import Console
from infra.cassandra import yardstick
from infra.cassandra.schema import open_session
from infra.cassandra.session import Row, Session
from infra.cassandra.yardstick import Reads
from infra.clock import monotonic_s, now_ms
from infra.settings import CassandraSettings, Settings
from schemas.encoding import CODINGS, Coding, Format, decode, decode_request, decompress
from schemas.errors import InputError
from schemas.limits import ANSWER_BYTES_MAX
from schemas.protocol import SyncResponse
from sdk.client import HttpTransport, SyncClient
from syncapi.auth import cursor_key
from syncapi.service import SyncService

USERS: Final = 200
LAYERS: Final = 250
"""Groups of each user."""

CHANGED: Final = (0, 20)
ROUNDS: Final = 3
ROUND_S: Final = 4.0
WARM_UP_S: Final = 1.0
"""Of each round, not counted: connections are opened and statements prepared."""

CONNECTIONS: Final = 16

RATIO_MIN: Final = 0.7
"""Least requests a second of the API, as a share of the plain loop's."""

WRONG_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Load:
    """What one round of load saw."""

    requests_per_second: float
    spent_ms: list[float]
    wrong: list[str]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Requests a second of all rounds of the API and of both bare loops; times of the API."""

    api: tuple[float, ...]
    bare: tuple[float, ...]
    bare_concurrent: tuple[float, ...]
    spent_ms: Sequence[float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """One API process when each request tells of so many conversations. `reads` is how many
    statements such a request needs; ratios are those of medians, `*_rounds` what these are of.
    """

    changed: int
    users: int
    connections: int
    reads: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    bare_requests_per_second: float
    ratio: float
    bare_concurrent_requests_per_second: float
    ratio_concurrent: float
    rounds: tuple[float, ...]
    bare_rounds: tuple[float, ...]
    bare_concurrent_rounds: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def held(found: Sequence[Throughput]) -> dict[str, bool]:
    """Judge what was measured."""
    return {f"throughput_{one.changed}_changed": one.ratio >= RATIO_MIN for one in found}


def throughput_of(changed: int, reads: int, rounds: Rounds) -> Throughput:
    """Put one line together."""
    api, bare, concurrent = (
        median(one) for one in (rounds.api, rounds.bare, rounds.bare_concurrent)
    )
    return Throughput(
        changed=changed,
        users=USERS,
        connections=CONNECTIONS,
        reads=reads,
        requests_per_second=round(api, 1),
        p50_ms=round(quantile(rounds.spent_ms, 0.5), 2),
        p99_ms=round(quantile(rounds.spent_ms, 0.99), 2),
        bare_requests_per_second=round(bare, 1),
        ratio=round(api / bare, 3),
        bare_concurrent_requests_per_second=round(concurrent, 1),
        ratio_concurrent=round(api / concurrent, 3),
        rounds=tuple(round(one, 1) for one in rounds.api),
        bare_rounds=tuple(round(one, 1) for one in rounds.bare),
        bare_concurrent_rounds=tuple(round(one, 1) for one in rounds.bare_concurrent),
    )


class Measure:
    """One run: `begin` writes the users, `measure` waits until that is no news and measures."""

    def __init__(self, stage: Stage, seed: int, console: Console) -> None:
        self._stage = stage
        self._console = console
        self._crowd = Crowd(USERS, LAYERS, seed)
        self._imported_ms = 0
        self.differences: list[str] = []

    def begin(self) -> None:
        """Write all groups, and wait until they are readable."""
        with self._console.progress(f"writing {USERS} users of {LAYERS} groups each") as update:
            self._stage.write(self._crowd.imported(), lambda: update(advance=1))
        self._imported_ms = now_ms()

    def measure(self) -> list[Throughput]:
        """Measure, and compare the devices with the oracle in the end."""
        stage, crowd = self._stage, self._crowd
        found: list[Throughput] = []
        wire = _NotingWire()
        with ExitStack() as stack:
            stack.callback(wire.shut)
            devices = [stack.enter_context(self._device(user, wire)) for user in crowd.user_ids]
            for device in devices:
                catch_up(device)
            stage.outlast(self._imported_ms, self._console)
            stage.write(crowd.changed(1)[0])
            for device in devices:
                catch_up(device)
            asked = []
            for device in devices:
                device.sync()
                asked.append(wire.sent)
            for changed in CHANGED:
                events, told = crowd.changed(changed)
                stage.write(events)
                found.append(self._one(changed, asked, [told[user] for user in crowd.user_ids]))
            for user, device in zip(crowd.user_ids, devices, strict=True):
                catch_up(device)
                self.differences += verify.differences(stage.oracle, device, user)
        return found

    def _device(self, user_id: str, wire: _NotingWire) -> SyncClient:
        transport = HttpTransport(
            self._stage.system.url, self._stage.system.token(user_id), wire=wire
        )
        return SyncClient(
            user_id=user_id,
            device_id="phone",
            store=":memory:",
            verify_every_s=0,
            transport=transport,
        )

    def _one(
        self, changed: int, asked: Sequence[httpx.Request], told: Sequence[frozenset[str]]
    ) -> Throughput:
        settings = self._stage.system.settings
        requests = [raw_request(request) for request in asked]
        bare_reads = reads_of(settings, self._crowd.user_ids, asked)
        api: list[float] = []
        bare: dict[int, list[float]] = {1: [], CONNECTIONS: []}
        spent_ms: list[float] = []
        with self._console.progress(f"requests of {changed} changes", total=ROUNDS) as update:
            for _ in range(ROUNDS):
                place = settings.api.host, settings.api.port
                loaded, _ = children.run(load, *place, requests, told)
                api.append(loaded.requests_per_second)
                spent_ms += loaded.spent_ms
                self.differences += [f"{changed} changed: {one}" for one in loaded.wrong]
                for in_flight, rates in bare.items():
                    rate, _ = children.run(read_bare, settings.cassandra, bare_reads, in_flight)
                    rates.append(rate)
                update(advance=1)
        rounds = Rounds(tuple(api), tuple(bare[1]), tuple(bare[CONNECTIONS]), spent_ms)
        return throughput_of(changed, max(map(len, bare_reads)), rounds)


# What is asked.


class _NotingWire(verify.SharedWire):
    """Carries requests of many devices over shared connections, and has the last one."""

    sent: httpx.Request

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request."""
        self.sent = request
        return super().handle_request(request)


def raw_request(request: httpx.Request) -> bytes:
    """The bytes of a request, as they go over the line."""
    lines = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1".encode()]
    lines += [name + b": " + value for name, value in request.headers.raw]
    return b"\r\n".join([*lines, b"", request.content])


# The bare reads.


class _Noting(Session):
    """A session that keeps what is read through it."""

    reads: list[tuple[str, Sequence[Any]]]

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Note and read."""
        self.reads.append((cql, tuple(values)))
        return await super().aread(cql, values)


def reads_of(
    settings: Settings, user_ids: Sequence[str], asked: Sequence[httpx.Request]
) -> list[Reads]:
    """What the service reads to answer each of these requests, by letting it."""
    return asyncio.run(_reads_of(settings, user_ids, asked))


async def _reads_of(
    settings: Settings, user_ids: Sequence[str], asked: Sequence[httpx.Request]
) -> list[Reads]:
    found: list[Reads] = []
    session = _Noting(settings.cassandra)
    try:
        service = SyncService(settings, session, cursor_key(settings.api), now_ms)
        for user_id, request in zip(user_ids, asked, strict=True):
            plain = decode_request(request.content, Format.MSGPACK)
            for _ in range(2):  # the first time it reads what it then keeps
                session.reads = []
                await service.sync(user_id, plain)
            found.append(session.reads)
        await service.drain()
    finally:
        session.close()
    return found


def read_bare(settings: CassandraSettings, reads: Sequence[Reads], in_flight: int) -> float:
    """Requests a second of a bare loop. To be called in a process of its own."""
    session = open_session(settings)
    try:
        if in_flight == 1:
            yardstick.read_in_turn(session, reads, WARM_UP_S)
            return yardstick.read_in_turn(session, reads, ROUND_S)
        yardstick.read_at_once(session, reads, WARM_UP_S, in_flight)
        return yardstick.read_at_once(session, reads, ROUND_S, in_flight)
    finally:
        session.close()


# The load.


def load(host: str, port: int, requests: Sequence[bytes], told: Sequence[frozenset[str]]) -> Load:
    """Load the API for one round. To be called in a process of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(host, port, requests, told))


async def _load(
    host: str, port: int, requests: Sequence[bytes], told: Sequence[frozenset[str]]
) -> Load:
    connections = [await Connection.open(host, port) for _ in range(CONNECTIONS)]
    answers: list[tuple[int, Answer]] = []
    spent_ms: list[float] = []
    place = 0

    async def run(connection: Connection, until_s: float) -> None:
        nonlocal place
        while (sent_s := monotonic_s()) < until_s:
            number, place = place, (place + 1) % len(requests)
            answers.append((number, await connection.exchange(requests[number])))
            spent_ms.append((monotonic_s() - sent_s) * 1_000)

    async def run_all(seconds: float) -> None:
        until_s = monotonic_s() + seconds
        await asyncio.gather(*(run(connection, until_s) for connection in connections))

    await run_all(WARM_UP_S)
    spent_ms.clear()
    began_s = monotonic_s()
    await run_all(ROUND_S)
    seconds = monotonic_s() - began_s
    for connection in connections:
        connection.close()
    found = (wrong_in(answer, told[number]) for number, answer in answers)
    wrong = [one for one in found if one is not None]
    return Load(len(spent_ms) / seconds, spent_ms, wrong[:WRONG_SHOWN])


def wrong_in(answer: Answer, told: frozenset[str]) -> str | None:
    """What is wrong with an answer that is to tell of these conversations and no others."""
    if answer.status != httpx.codes.OK:
        return f"status {answer.status}"
    try:
        plain = decompress(answer.body, coding_of(answer.head), ANSWER_BYTES_MAX)
        found = decode(plain, SyncResponse, Format.MSGPACK)
    except InputError as error:
        return f"the answer cannot be read: {error}"
    entries = [entry.conversation_id for entry in found.conversations]
    if (found.path, found.has_more) != ("delta", False) or len(entries) != len(told):
        return f"{found.path} with {len(entries)} entries instead of {len(told)}"
    return None if told == set(entries) else "it tells of other conversations"


def coding_of(head: bytes) -> Coding:
    """How the body under a head is compressed."""
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-encoding":
            return CODINGS[value.strip().decode()]
    return Coding.IDENTITY
