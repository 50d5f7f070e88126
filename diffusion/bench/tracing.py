"""What correlation ids and spans cost: the stream stage and a sync, each way in turns in one run.

The ways are `off` (no ids, no spans), `ids` (every write has an id, no spans), `sampled` (every
write has an id and one in a hundred is sampled, as are syncs) and `all` (all of them are). On
servers of its own, everything on this machine, the collector too, which reads and throws away.

CPU of the measured process counts rather than time, because the ways differ by less than what else
runs on a machine makes of time; a round has all ways, and the median of the rounds counts.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any, Final

from diffusion.bench import children, stage, stage_one, throughput
from diffusion.bench.measure import cpu_ms, machine
from diffusion.bench.raw_http import Connection
from diffusion.bench.raw_sync import ask, sync_bytes
from diffusion.console import Console
from diffusion.processes import Child, Processes
from diffusion.system import System, environment_of, running, wait_ready
from diffusion.writing import producer_for
from infra.settings import Settings
from infra.tracing import SAMPLE_RATIO, TracingSettings
from schemas import ids
from schemas.events import Message
from schemas.protocol import SyncRequest
from schemas.trace_context import SAMPLED, Headers, TraceContext, headers_of

EVENTS: Final = 60_000
"""Of one turn of the stream stage: 3,000 records of twenty, some three seconds of work."""

USERS: Final = 50
CHATS: Final = 20
"""Conversations of each user, all of which changed since his cursor."""

SENT_AT_MS: Final = 1_750_000_000_000

SAMPLED_RATIO_MAX: Final = 1.15
"""CPU of a hundredth traced, as a share of none; what is more than noise would show."""

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""The standard's own variable: where the programs that are started here send their spans."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run: `ratio` None is without spans; `sampled` of the writes, None: without ids."""

    name: str
    ratio: float | None
    sampled: float | None

    def settings(self, settings: Settings) -> Settings:
        """The same settings, this way."""
        chosen = TracingSettings(enabled=self.ratio is not None, sample_ratio=self.ratio or 0.0)
        return settings.model_copy(update={"tracing": chosen})


WAYS: Final = (
    Way("off", None, None),
    Way("ids", None, SAMPLE_RATIO),
    Way("sampled", SAMPLE_RATIO, SAMPLE_RATIO),
    Way("all", 1.0, 1.0),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """One measure, one way. `rounds` are CPU in ms, of a thousand events or of one sync; `ratio` is
    that of the medians to `off`.
    """

    what: str
    way: str
    cpu_ms: float
    per_second: float
    ratio: float
    rounds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench tracing --json` prints."""

    costs: tuple[Cost, ...]
    spans_bytes: int
    """What the collector took in all."""
    wrong: tuple[str, ...]
    machine: str

    @property
    def held(self) -> dict[str, bool]:
        """Each bound, and whether it holds."""
        found = {
            f"{one.what}_{one.way}": one.ratio <= SAMPLED_RATIO_MAX
            for one in self.costs
            if one.way == "sampled"
        }
        return found | {"correct": not self.wrong, "spans_sent": self.spans_bytes > 0}

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"held": self.held}


@dataclass(frozen=True, slots=True)
class _Turn:
    cpu_ms: float
    per_second: float


def run(settings: Settings, rounds: int, seed: int, console: Console) -> Outcome:
    """Measure; raises `PermanentError` where the servers are somebody else's."""
    turns: dict[tuple[str, str], list[_Turn]] = {}
    wrong: list[str] = []
    with stage.own(settings, console) as (used, folder), collector() as taken:
        asked = _asked(used, folder, seed, console)
        with console.progress("each way in turns", total=2 * rounds * len(WAYS)) as update:
            number = itertools.count()
            for _ in range(rounds):
                for way in WAYS:
                    turn = _stream(way, used, next(number), seed, folder)
                    turns.setdefault(("stream", way.name), []).append(turn)
                    update(advance=1)
                for way in WAYS:
                    turn, found = _sync(way, used, asked, folder)
                    turns.setdefault(("sync", way.name), []).append(turn)
                    wrong += found
                    update(advance=1)
    return Outcome(costs(turns), sum(taken), tuple(wrong), machine())


def costs(turns: dict[tuple[str, str], list[_Turn]]) -> tuple[Cost, ...]:
    """Put the turns of all rounds together."""
    found = []
    for (what, way), some in turns.items():
        middle = median(turn.cpu_ms for turn in some)
        off = median(turn.cpu_ms for turn in turns[what, WAYS[0].name])
        found.append(
            Cost(
                what=what,
                way=way,
                cpu_ms=round(middle, 3),
                per_second=round(median(turn.per_second for turn in some), 1),
                ratio=round(middle / off, 3),
                rounds=tuple(round(turn.cpu_ms, 3) for turn in some),
            )
        )
    return tuple(found)


# The stream stage.


def headers(sampled: float, seed: int) -> Iterator[Headers]:
    """The headers of records, each made of one write with an id of its own."""
    rng = random.Random(seed)  # noqa: S311  # a reproducible run
    while True:
        flags = SAMPLED if rng.random() < sampled else 0
        trace_id, span_id = f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(64) or 1:016x}"
        yield headers_of([TraceContext(trace_id, span_id, flags)])


def _stream(way: Way, settings: Settings, number: int, seed: int, folder: Path) -> _Turn:
    ids_of = None if way.sampled is None else headers(way.sampled, seed + number)
    stage_one.fill(settings, number, EVENTS, seed, ids_of)
    taken = stage_one.take(way.settings(settings), EVENTS, folder)
    return _Turn(taken.cpu_ms / taken.events * 1_000, taken.events / taken.seconds)


# Syncs.

_Asked = tuple[list[bytes], list[frozenset[str]]]


def _asked(settings: Settings, folder: Path, seed: int, console: Console) -> _Asked:
    """Requests of devices for all of whose conversations there is news, and what is to be told."""
    with running(
        settings, logs=folder, stream_workers=1, materializers=1, report=console.say
    ) as system:
        users = [str(6_000_000_000 + seed * USERS + number) for number in range(USERS)]
        told = [frozenset(_chats(user)) for user in users]
        _write(system, users, 1)
        cursors = asyncio.run(_cursors(system, users))
        _write(system, users, 2)
    requests = [
        _bytes(system, user, SyncRequest("phone", cursor=cursor))
        for user, cursor in zip(users, cursors, strict=True)
    ]
    return requests, told


def _chats(user: str) -> Iterator[str]:
    return (ids.one_to_one(user, _peer(user, number)) for number in range(CHATS))


def _peer(user: str, number: int) -> str:
    return str(int(user) + 1_000_000_000 + number * USERS)


def _write(system: System, users: list[str], seq: int) -> None:
    with producer_for(system.settings.kafka) as producer:
        for user in users:
            for number in range(CHATS):
                members = user, _peer(user, number)
                chat = ids.one_to_one(*members)
                producer.send(Message(chat, seq, members[1], SENT_AT_MS + seq, members))
    system.wait_quiet()


def _bytes(system: System, user: str, request: SyncRequest) -> bytes:
    api = system.settings.api
    return sync_bytes(api.host, api.port, system.token(user), request)


async def _cursors(system: System, users: list[str]) -> list[str]:
    api, found = system.settings.api, []
    connection = await Connection.open(api.host, api.port)
    for user in users:
        answer = await ask(connection, _bytes(system, user, SyncRequest("phone")))
        assert answer.cursor is not None
        found.append(answer.cursor)
    connection.close()
    return found


def _sync(way: Way, settings: Settings, asked: _Asked, folder: Path) -> tuple[_Turn, list[str]]:
    api = settings.api
    unlimited = settings.model_copy(update={"api": api.unlimited()})
    variables, url = environment_of(way.settings(unlimited)), f"http://{api.host}:{api.port}"
    with Processes() as processes:
        processes.start(Child("api", ("api",), variables, folder / "api.log", f"{url}/metrics"))
        wait_ready(url, processes)
        before_ms = cpu_ms(processes.pid("api"))
        loaded, _ = children.run(throughput.load, api.host, api.port, *asked)
        spent_ms = cpu_ms(processes.pid("api")) - before_ms
        answered = processes.counted("diffusion_api_syncs_total")
    return _Turn(spent_ms / answered, loaded.requests_per_second), loaded.wrong


# The collector.


@contextmanager
def collector() -> Iterator[list[int]]:
    """Take what is sent, and keep how long each of it was."""
    taken: list[int] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(taken.append))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = os.environ.get(ENDPOINT)
    os.environ[ENDPOINT] = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield taken
    finally:
        if before is None:
            del os.environ[ENDPOINT]
        else:
            os.environ[ENDPOINT] = before
        server.shutdown()
        server.server_close()


def _handler(take: Callable[[int], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            take(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
