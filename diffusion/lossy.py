"""A bad mobile network on loopback: a TCP proxy that delays, paces, silences and resets.

For tests and benchmarks of the device SDK; HTTP and WebSocket go through it as bytes. Its law: what
is delivered is unchanged and in order, and whatever is not is cut off by a reset, never by an
orderly end. An end that a peer sets itself, orderly or not, passes like a byte.

An *exchange* begins with the bytes of a client that follow bytes of the server (or none, or a
silence of `EXCHANGE_GAP_S`): with HTTP, a request. The weather is looked at and drawn from when a
connection is accepted and when an exchange begins; that exchange, its answer, and what a server
says unasked until the next, keep it. Every beginning takes the same number of draws in any weather,
so that a seed and an order of exchanges give the same draws.

All of it runs on one loop in a thread of its own; other threads ask by `LossyProxy._ask` alone.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import math
import random
import socket
import struct
import sys
import termios
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Self, TypeVar

from infra.clock import monotonic_s
from infra.local.settings import LOOPBACK

T = TypeVar("T")

CONNECTIONS_MAX: Final = 256
"""Open at once; the next one is reset. With `QUEUED_BYTES_MAX` both ways this bounds the memory."""

QUEUED_BYTES_MAX: Final = 512 * 1024
"""What one direction of a connection may hold before its fast side is read no more. A delay line
holds what is on the way, so this bounds throughput too: 5 MB/s with 200 ms of latency, more than
the lines that this stands for."""

READ_BYTES_MAX: Final = 64 * 1024
"""Read at once; a queue may go over its bound by so much."""

CHUNK_COST_BYTES: Final = 256
"""What a chunk costs beside its bytes, so that many small ones are bounded as well."""

SLICE_S: Final = 0.02
"""A paced line passes slices of so much time: steady progress, and few timers."""

EXCHANGE_GAP_S: Final = 1.0
"""A client that says something after so long begins an exchange, answered before or not."""

RESET_WITHIN_BYTES: Final = 16 * 1024

TAKEN_TIMEOUT_S: Final = 1.0
"""How long a reset waits for peers to take the bytes before it; one that reads nothing loses."""

TAKEN_POLL_S: Final = 0.002

READ_GRACE_S: Final = 0.02
"""More time before a reset: systems other than Linux drop what a peer has taken and not read."""

ACCEPT_PAUSE_S: Final = 0.1
"""Before accepting again when the system had no descriptor left."""

ASK_TIMEOUT_S: Final = 10.0
"""For the loop to answer another thread, or to end: never needed unless it is broken."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER, on, 0 s


@dataclass(frozen=True, slots=True)
class Weather:
    """What the line does to an exchange; the defaults are a clear day.

    Chances are from 0 to 1, both inclusive. `ValueError` for what is out of its range.
    """

    latency_ms: float = 0.0
    """Added to a round trip, half each way; opening a connection takes no round trip here."""

    bytes_per_second: int | None = None
    """Of each direction of each connection; None is no limit."""

    reset_chance: float = 0.0
    """That an exchange has its connection reset within `reset_within_bytes`, either way, each
    moment being as likely. An exchange of fewer bytes leaves the rest to those that follow."""

    reset_within_bytes: int = RESET_WITHIN_BYTES

    stall_chance: float = 0.0
    """That both directions go silent for `stall_ms` as an exchange begins; nothing is lost."""

    stall_ms: float = 0.0

    refuse_chance: float = 0.0
    """That a connection is reset as soon as it is accepted."""

    def __post_init__(self) -> None:
        for name in ("reset_chance", "stall_chance", "refuse_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a chance is from 0 to 1")
        for name in ("latency_ms", "stall_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if self.bytes_per_second is not None and self.bytes_per_second < 1:
            raise ValueError(f"bytes_per_second is {self.bytes_per_second}; it must be 1 or more")
        if self.reset_within_bytes < 1:
            raise ValueError(
                f"reset_within_bytes is {self.reset_within_bytes}; it must be 1 or more"
            )


@dataclass(frozen=True, slots=True)
class Passed:
    """What has gone through: bytes are those handed to the side they were meant for."""

    connections: int = 0
    """Accepted, the refused among them."""

    resets: int = 0
    """Of the proxy's own making, refusals among them; not those that a peer began."""

    bytes_up: int = 0
    bytes_down: int = 0

    def __sub__(self, earlier: Passed) -> Passed:
        return Passed(
            self.connections - earlier.connections,
            self.resets - earlier.resets,
            self.bytes_up - earlier.bytes_up,
            self.bytes_down - earlier.bytes_down,
        )


class _Chunk(NamedTuple):
    """Bytes on their way; empty is the orderly end, None that the peer reset the connection."""

    due_s: float
    bytes_per_second: int | None
    data: bytes | None


@dataclass(slots=True)
class _Line:
    """What connections share. `weather` is set by any thread, all else by the loop's."""

    weather: Weather
    rng: random.Random
    passed: Passed = field(default_factory=Passed)
    cut_down_bytes: int | None = None
    """What may still go down, over all connections, before a reset that was asked for."""

    passable: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set: a black hole."""


class _Way:
    """One direction of a connection: a queue between its reader and its writer."""

    def __init__(self, source: socket.socket, sink: socket.socket, *, is_down: bool) -> None:
        self.source = source
        self.sink = sink
        self.is_down = is_down
        self.free_at_s = 0.0
        self._chunks: asyncio.Queue[_Chunk] = asyncio.Queue()
        self._held_bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, chunk: _Chunk) -> None:
        """Queue it, then wait until there is room for another."""
        self._chunks.put_nowait(chunk)
        self._hold(len(chunk.data or b"") + CHUNK_COST_BYTES)
        await self._room.wait()

    async def next(self) -> _Chunk:
        """The oldest chunk, which counts as held until `release`."""
        return await self._chunks.get()

    def release(self, chunk: _Chunk) -> None:
        """It is delivered."""
        self._hold(-len(chunk.data or b"") - CHUNK_COST_BYTES)

    def _hold(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes
        if self._held_bytes < QUEUED_BYTES_MAX:
            self._room.set()
        else:
            self._room.clear()


class _Connection:
    """A client's connection and the one to the server that goes with it."""

    def __init__(self, line: _Line, client: socket.socket, target: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self._line = line
        self._target = target
        self._client = client
        self._server = socket.socket(family, socket.SOCK_STREAM)
        self._weather = line.weather
        self._answered = True
        self._heard_at_s = 0.0
        self._silent_until_s = 0.0
        self._reset_after_bytes: int | None = None
        self.is_doomed = False

    async def run(self) -> None:
        """Pass bytes until both sides have ended, or to a reset; being cancelled is one too."""
        is_orderly = False
        try:
            for end in (self._client, self._server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._line.passable.wait()
            await asyncio.get_running_loop().sock_connect(self._server, self._target)
            async with asyncio.TaskGroup() as group:
                for way in (
                    _Way(self._client, self._server, is_down=False),
                    _Way(self._server, self._client, is_down=True),
                ):
                    group.create_task(self._read(way))
                    group.create_task(self._write(way))
            is_orderly = True
        except* OSError:
            pass  # a peer went away, or a reset of ours: either way both sides are reset
        finally:
            # Here nobody waits for the sockets any more, so that the loop forgets them first.
            for end in (self._client, self._server):
                close(end, reset=not is_orderly)

    def doom(self) -> None:
        """From now on nothing passes; whoever calls this sees to the end."""
        self.is_doomed = True
        passed = self._line.passed
        self._line.passed = replace(passed, resets=passed.resets + 1)

    # From a side into the queue.

    async def _read(self, way: _Way) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data: bytes | None = None
            with suppress(OSError):
                data = await loop.sock_recv(way.source, READ_BYTES_MAX)
            now_s = monotonic_s()
            if data and way.is_down:
                self._answered = True
            elif data:
                self._heard(now_s)
            due_s = now_s + self._weather.latency_ms / 2_000
            await way.put(_Chunk(due_s, self._weather.bytes_per_second, data))
            if not data:
                return

    def _heard(self, now_s: float) -> None:
        """The client said something; draw if that begins an exchange."""
        begins = self._answered or now_s - self._heard_at_s >= EXCHANGE_GAP_S
        self._answered, self._heard_at_s = False, now_s
        if not begins:
            return
        weather, rng = self._line.weather, self._line.rng
        reset, moment, stall = rng.random(), rng.random(), rng.random()
        self._weather = weather
        if reset < weather.reset_chance:
            after_bytes = int(moment * weather.reset_within_bytes)
            # One that an earlier exchange left stays if it comes sooner.
            left_bytes = self._reset_after_bytes
            self._reset_after_bytes = min(
                after_bytes, after_bytes if left_bytes is None else left_bytes
            )
        if stall < weather.stall_chance:
            self._silent_until_s = now_s + weather.stall_ms / 1_000

    # From the queue to the other side.

    async def _write(self, way: _Way) -> None:
        while True:
            chunk = await way.next()
            await _sleep_until(chunk.due_s)
            if not chunk.data:
                await self._silence()
                if chunk.data is None:
                    raise ConnectionResetError
                way.sink.shutdown(socket.SHUT_WR)
                return
            await self._pace(way, chunk)
            way.release(chunk)

    async def _pace(self, way: _Way, chunk: _Chunk) -> None:
        """Deliver in slices, each when the line has had the time that its bytes take."""
        rate, data = chunk.bytes_per_second, memoryview(chunk.data or b"")
        size = max(1, int(rate * SLICE_S)) if rate else len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            if rate:
                # A loop that came late makes up for a slice of time, and for no more: what waited
                # out a silence must not come as one burst.
                begin_s = max(way.free_at_s, chunk.due_s, monotonic_s() - SLICE_S)
                way.free_at_s = begin_s + len(piece) / rate
                await _sleep_until(way.free_at_s)
            await self._deliver(way, piece)

    async def _deliver(self, way: _Way, data: memoryview) -> None:
        """Hand over bytes to the last one, or to the one that a reset comes after."""
        while data:
            await self._silence()
            allowed_bytes = self._allowed_bytes(way)
            try:
                sent_bytes = way.sink.send(data[:allowed_bytes]) if allowed_bytes != 0 else 0
            except BlockingIOError:
                await _writable(way.sink)
                continue
            self._count(way, sent_bytes)
            data = data[sent_bytes:]
            if self._allowed_bytes(way) == 0:
                await self._reset()

    def _allowed_bytes(self, way: _Way) -> int | None:
        """What may pass this way before a reset; None is no bound."""
        bounds = (self._reset_after_bytes, self._line.cut_down_bytes if way.is_down else None)
        return min((bound for bound in bounds if bound is not None), default=None)

    def _count(self, way: _Way, sent_bytes: int) -> None:
        line = self._line
        if self._reset_after_bytes is not None:
            self._reset_after_bytes -= sent_bytes
        if not way.is_down:
            line.passed = replace(line.passed, bytes_up=line.passed.bytes_up + sent_bytes)
            return
        line.passed = replace(line.passed, bytes_down=line.passed.bytes_down + sent_bytes)
        if line.cut_down_bytes is not None:
            line.cut_down_bytes -= sent_bytes

    async def _reset(self) -> None:
        """Let both sides take what they were sent, as a reset drops what they have not; raise it."""
        if self._line.cut_down_bytes == 0:
            self._line.cut_down_bytes = None  # once
        self.doom()
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_TIMEOUT_S):
                while _untaken_bytes(self._client) or _untaken_bytes(self._server):
                    await asyncio.sleep(TAKEN_POLL_S)
        await asyncio.sleep(READ_GRACE_S)
        raise ConnectionResetError

    async def _silence(self) -> None:
        """Return when something may pass; of a doomed connection, never."""
        while True:
            await self._line.passable.wait()
            if self.is_doomed:
                await asyncio.get_running_loop().create_future()
            if monotonic_s() >= self._silent_until_s:
                return
            await _sleep_until(self._silent_until_s)


class LossyProxy:
    """The proxy, listening on a free port from `with` on; used once.

    `ValueError` for a target beyond loopback: bytes meant for a test must not leave the machine.
    Attributes and methods are for any thread, `stats` also after the end, all else only before.
    """

    def __init__(self, target_host: str, target_port: int, weather: Weather, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 -- a reproducible run, not a secret
        self._target = (_loopback(target_host), target_port)
        self._line = _Line(weather, rng)
        self._line.passable.set()
        self._open: dict[_Connection, asyncio.Task[None]] = {}
        self._ending = asyncio.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=CONNECTIONS_MAX)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._loop = asyncio.SelectorEventLoop()  # whatever the policy is: it waits for sockets
        self._thread = threading.Thread(target=self._run, name="lossy-proxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended by an error, which its thread has shown
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(ASK_TIMEOUT_S)

    @property
    def weather(self) -> Weather:
        """What new connections and exchanges meet."""
        return self._line.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._line.weather = weather

    @property
    def stats(self) -> Passed:
        """What has gone through so far; whatever a peer has received is in it."""
        return (
            self._ask(lambda: self._line.passed) if self._thread.is_alive() else self._line.passed
        )

    def since(self, earlier: Passed) -> Passed:
        """What has gone through since a snapshot."""
        return self.stats - earlier

    def cut(self) -> int:
        """Reset all open connections now, bytes on the way being lost; returns how many."""
        return self._ask(self._cut)

    def cut_after(self, bytes_down: int) -> None:
        """Reset, once, the connection that passes the last of so many bytes from the server to a
        client, counted from now over all connections, right after it. A later call replaces it.
        """
        if bytes_down < 1:
            raise ValueError(f"bytes_down is {bytes_down}; it must be 1 or more")
        self._ask(lambda: setattr(self._line, "cut_down_bytes", bytes_down))

    def black_hole(self, on: bool) -> None:  # noqa: FBT001 -- a switch: black_hole(True)
        """Let nothing pass while on, neither bytes nor ends; what was held passes afterwards."""
        self._ask(self._line.passable.clear if on else self._line.passable.set)

    def _ask(self, question: Callable[[], T]) -> T:
        """Have the loop's thread answer; raises what it raises."""
        answer: Future[T] = Future()

        def reply() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:  # noqa: BLE001 -- is raised by the thread that asked
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(reply)
        return answer.result(ASK_TIMEOUT_S)

    # On the loop's thread.

    def _run(self) -> None:
        with self._listener, asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._accept_into(group)
            await self._ending.wait()
            self._loop.remove_reader(self._listener)
            self._cut()

    def _accept_into(self, group: asyncio.TaskGroup) -> None:
        self._loop.add_reader(self._listener, self._accept, group)

    def _accept(self, group: asyncio.TaskGroup) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it went away again
        except OSError:
            self._loop.remove_reader(self._listener)
            if not self._ending.is_set():
                self._loop.call_later(ACCEPT_PAUSE_S, self._accept_into, group)
            return
        line = self._line
        refused = line.rng.random() < line.weather.refuse_chance
        refused = refused or len(self._open) >= CONNECTIONS_MAX
        line.passed = replace(
            line.passed,
            connections=line.passed.connections + 1,
            resets=line.passed.resets + refused,
        )
        if refused:
            close(client, reset=True)
            return
        connection = _Connection(line, client, self._target)
        task = self._open[connection] = group.create_task(connection.run())
        task.add_done_callback(lambda _: self._open.pop(connection))

    def _cut(self) -> int:
        standing = [connection for connection in self._open if not connection.is_doomed]
        for connection in standing:
            connection.doom()
        for task in self._open.values():
            task.cancel()
        return len(standing)
