"""A bad mobile network on loopback: a TCP proxy that delays, paces, silences and resets.

For tests and benchmarks of the device SDK; HTTP and WebSocket go through it as bytes. Its law: what
is delivered is unchanged and in order, and whatever is not is cut off by a reset, never by an
orderly end. An end that a peer sets itself, orderly or not, passes like a byte.

An *exchange* begins with bytes of a client that follow bytes of the server, or a silence of
`EXCHANGE_GAP_S`, or nothing: with HTTP, a request. The weather is looked at and drawn from when a
connection is accepted and when an exchange begins; the exchange, its answer, and what a server says
unasked until the next, keep it. A beginning takes the same number of draws in any weather, so that
a seed and an order of exchanges give the same draws. All of it runs on one loop in its own thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import math
import operator
import random
import socket
import struct
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from typing import Final, Self, TypeAlias

from infra.clock import monotonic_s
from infra.local.settings import LOOPBACK

CONNECTIONS_MAX: Final = 256
"""Open at once; the next one is reset. With the next two, both ways, it bounds the memory."""

READ_BYTES_MAX: Final = 8 * 1024
QUEUED_READS_MAX: Final = 64
"""Half a MiB that one direction of a connection may hold; then its fast side is read no more. A
delay line holds what is on the way, so this bounds throughput too: 5 MB/s with 200 ms of latency,
more than the lines that this stands for."""

SLICE_S: Final = 0.02  # of a paced line: steady progress, and few timers
EXCHANGE_GAP_S: Final = 1.0
TAKEN_TIMEOUT_S: Final = 1.0
"""How long a reset waits for peers to take the bytes before it; one that reads nothing loses."""

READ_GRACE_S: Final = 0.02
"""More time before a reset: systems other than Linux drop what a peer has taken and not read."""

ACCEPT_PAUSE_S: Final = 0.1  # after that failed: likely the system had no descriptor left
ASK_TIMEOUT_S: Final = 10.0  # for the loop to answer or to end: not needed unless it is broken
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


@dataclass(frozen=True, slots=True)
class Weather:
    """What the line does, by default nothing; raises `ValueError` for what is out of its range."""

    latency_ms: float = 0.0
    """Added to a round trip, half each way; opening a connection takes no round trip here."""
    bytes_per_second: int | None = None
    """Of each direction of each connection; None is no limit."""
    reset_chance: float = 0.0
    """That an exchange has its connection reset within `reset_within_bytes`, either way, each
    moment being as likely. An exchange of fewer bytes leaves the rest to those that follow."""
    reset_within_bytes: int = 16 * 1024
    stall_chance: float = 0.0
    """That both directions go silent for `stall_ms` as an exchange begins; nothing is lost."""
    stall_ms: float = 0.0
    refuse_chance: float = 0.0
    """That a connection is reset as soon as it is accepted."""

    def __post_init__(self) -> None:
        for name in ("reset_chance", "stall_chance", "refuse_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a chance is from 0 to 1")
        least = {"latency_ms": 0, "stall_ms": 0, "bytes_per_second": 1, "reset_within_bytes": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be {low} or more, and finite")


@dataclass(frozen=True, slots=True)
class Passed:
    """What has gone through; bytes are those handed to the side they were meant for."""

    connections: int = 0  # accepted, the refused among them
    resets: int = 0  # of the proxy's own making, the refused among them; not those of a peer
    bytes_up: int = 0
    bytes_down: int = 0

    def __add__(self, more: Passed) -> Passed:
        return Passed(*map(operator.add, astuple(self), astuple(more)))

    def __sub__(self, earlier: Passed) -> Passed:
        return Passed(*map(operator.sub, astuple(self), astuple(earlier)))


_Chunk: TypeAlias = tuple[float, int | None, bytes | None]
"""When it is due, in seconds; bytes per second; bytes, b"" being the orderly end, None a reset."""


@dataclass(slots=True)
class _Line:
    """What connections share; of the loop's thread."""

    target: tuple[str, int]
    weather: Callable[[], Weather]
    rng: random.Random
    passed: Passed = field(default_factory=Passed)
    cut_down_bytes: float = math.inf
    """What may still go down, over all connections, before a reset that was asked for."""
    passable: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set: a black hole."""


class _Connection:
    """A client's connection and the one to the server that goes with it."""

    def __init__(self, line: _Line, client: socket.socket) -> None:
        self._line = line
        self._client = client
        self._ends = [client]
        self._gone: set[socket.socket] = set()
        self._over = {is_down: asyncio.Event() for is_down in (False, True)}
        self._weather = line.weather()
        self._answered = True
        self._heard_at_s = self._silent_until_s = 0.0
        self._reset_after_bytes = math.inf
        self._is_orderly = self.is_doomed = False

    async def run(self) -> None:
        """Pass bytes until both sides have ended, or to a reset; being cancelled is one too."""
        try:
            family = socket.AF_INET6 if ":" in self._line.target[0] else socket.AF_INET
            server = socket.socket(family, socket.SOCK_STREAM)
            self._ends.append(server)
            for end in self._ends:
                end.settimeout(0)
                # Small pieces go out at once: what delays them is the weather alone.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._line.passable.wait()
            await asyncio.get_running_loop().sock_connect(server, self._line.target)
            async with asyncio.TaskGroup() as group:
                for source, sink in ((self._client, server), (server, self._client)):
                    chunks: asyncio.Queue[_Chunk] = asyncio.Queue(QUEUED_READS_MAX)
                    group.create_task(self._read(source, chunks))
                    group.create_task(self._write(sink, chunks))
            self._is_orderly = True
        except* OSError:
            pass  # a peer is away or has reset, or a reset of ours: `close` resets both

    def close(self) -> None:
        """Close both sockets, when `run` has ended or never began: the loop must not know them."""
        for end in self._ends:
            if not self._is_orderly:
                with suppress(OSError):  # some systems refuse this if the peer has reset
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.close()

    def doom(self) -> None:
        """From now on nothing passes; whoever calls this sees to the end."""
        self.is_doomed = True
        self._line.passed += Passed(resets=1)

    async def _read(self, source: socket.socket, chunks: asyncio.Queue[_Chunk]) -> None:
        data: bytes | None = b"-"
        while data:
            try:
                data = await asyncio.get_running_loop().sock_recv(source, READ_BYTES_MAX)
            except OSError:
                data = None
            if not data and source in self._gone:
                data = None  # the failed send took the error that this should have got
            now_s = monotonic_s()
            if data and source is self._client:
                self._heard(now_s)
            elif data:
                self._answered = True
            due_s = now_s + self._weather.latency_ms / 2_000
            await chunks.put((due_s, self._weather.bytes_per_second, data))

    def _heard(self, now_s: float) -> None:
        """The client said something; look at the weather if that begins an exchange."""
        begins = self._answered or now_s - self._heard_at_s >= EXCHANGE_GAP_S
        self._answered, self._heard_at_s = False, now_s
        if not begins:
            return
        self._weather = weather = self._line.weather()
        reset, moment, stall = (self._line.rng.random() for _ in range(3))
        if reset < weather.reset_chance:
            after_bytes = int(moment * weather.reset_within_bytes)
            # One that an earlier exchange left may come sooner.
            self._reset_after_bytes = min(self._reset_after_bytes, after_bytes)
        if stall < weather.stall_chance:
            self._silent_until_s = now_s + weather.stall_ms / 1_000

    async def _write(self, sink: socket.socket, chunks: asyncio.Queue[_Chunk]) -> None:
        free_at_s = 0.0
        while True:
            due_s, rate, data = await chunks.get()
            await _sleep_until(due_s)
            if not data:
                break
            size = max(1, int(rate * SLICE_S)) if rate else len(data)
            for piece in (data[start : start + size] for start in range(0, len(data), size)):
                if rate:
                    # Bytes pass when the line has had the time that they take. A loop that came
                    # late makes up for one slice, no more: after a silence there is no burst.
                    begin_s = max(free_at_s, due_s, monotonic_s() - SLICE_S)
                    free_at_s = begin_s + len(piece) / rate
                    await _sleep_until(free_at_s)
                await self._deliver(sink, piece)
        await self._silence()
        if data is None:
            raise ConnectionResetError
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        self._over[sink is self._client].set()

    async def _deliver(self, sink: socket.socket, data: bytes) -> None:
        """Hand over bytes to the last one, or to the one that a reset comes after."""
        is_down, line = sink is self._client, self._line
        while data:
            await self._silence()
            cut_bytes = line.cut_down_bytes if is_down else math.inf
            allowed_bytes = int(min(len(data), self._reset_after_bytes, cut_bytes))
            try:
                sent_bytes = sink.send(data[:allowed_bytes])
            except BlockingIOError:
                await _writable(sink)
                continue
            except OSError:
                # The sink is gone; what it said before, perhaps an answer, arrives nevertheless.
                self._gone.add(sink)
                await self._over[not is_down].wait()
                raise
            data = data[sent_bytes:]
            self._reset_after_bytes -= sent_bytes
            line.cut_down_bytes -= sent_bytes * is_down
            line.passed += Passed(0, 0, sent_bytes * (not is_down), sent_bytes * is_down)
            if not self._reset_after_bytes or not line.cut_down_bytes:
                await self._reset()

    async def _reset(self) -> None:
        """Raise a reset when both sides have taken what they were sent: it would drop the rest."""
        if not self._line.cut_down_bytes:
            self._line.cut_down_bytes = math.inf  # once
        self.doom()
        for _ in range(int(TAKEN_TIMEOUT_S / READ_GRACE_S)):
            await asyncio.sleep(READ_GRACE_S)
            if not any(map(_untaken_bytes, self._ends)):
                break
        raise ConnectionResetError

    async def _silence(self) -> None:
        """Return when something may pass; of a doomed connection, never."""
        while True:
            await self._line.passable.wait()
            if self.is_doomed:
                await asyncio.get_running_loop().create_future()
            if self._line.passable.is_set() and monotonic_s() >= self._silent_until_s:
                return
            await _sleep_until(self._silent_until_s)


class LossyProxy:
    """The proxy, listening on a free port from `with` on; used once.

    `ValueError` for a target beyond loopback: bytes meant for a test must not leave the machine.
    All is for any thread, `stats` also after the end; `weather` may be set at any time, and is what
    new connections and exchanges meet.
    """

    def __init__(self, target_host: str, target_port: int, weather: Weather, seed: int) -> None:
        self.weather = weather
        rng = random.Random(seed)  # noqa: S311 -- a reproducible run, not a secret
        self._line = _Line((_loopback(target_host), target_port), lambda: self.weather, rng)
        self._line.passable.set()
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._ending = asyncio.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=CONNECTIONS_MAX)
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._loop = asyncio.SelectorEventLoop()  # whatever the policy is: it waits for sockets
        self._thread = threading.Thread(target=self._run, name="lossy-proxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(ASK_TIMEOUT_S)

    @property
    def stats(self) -> Passed:
        """What has gone through so far; whatever a peer has received is in it."""
        if self._thread.is_alive():
            # A turn of the loop sends and counts.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(ASK_TIMEOUT_S)
        return self._line.passed

    def cut(self) -> int:
        """Reset all open connections now, bytes on the way being lost; returns how many."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(ASK_TIMEOUT_S)

    def cut_after(self, bytes_down: int) -> None:
        """Reset, once, the connection that passes the last of so many bytes from the server to a
        client, counted from now over all connections, right after it. A later call replaces it.
        """
        if bytes_down < 1:
            raise ValueError(f"bytes_down is {bytes_down}; it must be 1 or more")
        # Not waited for: the loop does it before it sees anything that happens after this call.
        self._loop.call_soon_threadsafe(setattr, self._line, "cut_down_bytes", bytes_down)

    def black_hole(self, on: bool) -> None:  # noqa: FBT001 -- a switch: black_hole(True)
        """Let nothing pass while on, neither bytes nor ends; what was held passes afterwards."""
        passable = self._line.passable
        self._loop.call_soon_threadsafe(passable.clear if on else passable.set)

    def _run(self) -> None:
        with self._listener, asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._accept_into(group)
            await self._ending.wait()
            self._loop.remove_reader(self._listener)
            await self._cut()

    def _accept_into(self, group: asyncio.TaskGroup) -> None:
        if not self._ending.is_set():
            self._loop.add_reader(self._listener, self._accept, group)

    def _accept(self, group: asyncio.TaskGroup) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            self._loop.remove_reader(self._listener)
            self._loop.call_later(ACCEPT_PAUSE_S, self._accept_into, group)
            return
        refused = self._line.rng.random() < self.weather.refuse_chance
        refused = refused or len(self._open) >= CONNECTIONS_MAX
        self._line.passed += Passed(connections=1, resets=int(refused))
        connection = _Connection(self._line, client)
        if refused:
            connection.close()
            return
        task = group.create_task(connection.run())
        self._open[task] = connection
        task.add_done_callback(lambda task: self._open.pop(task).close())

    async def _cut(self) -> int:
        standing = [connection for connection in self._open.values() if not connection.is_doomed]
        for connection in standing:
            connection.doom()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # closed before this knows
        return len(standing)


def _loopback(host: str) -> str:
    """The address of a target; `ValueError` when it is not this machine's own."""
    address = LOOPBACK if host == "localhost" else host
    with suppress(ValueError):
        if ipaddress.ip_address(address).is_loopback:
            return address
    raise ValueError(f"the target {host!r} is not on loopback; use {LOOPBACK}, ::1 or localhost")


def _untaken_bytes(end: socket.socket) -> int:
    """Sent, and not acknowledged by the peer's system; 0 where this system does not tell."""
    try:
        told = fcntl.ioctl(end, termios.TIOCOUTQ, b"\0" * 4)
    except OSError:
        return 0
    return int.from_bytes(told, sys.byteorder)


async def _sleep_until(when_s: float) -> None:
    await asyncio.sleep(max(0.0, when_s - monotonic_s()))


async def _writable(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(end, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(end)
