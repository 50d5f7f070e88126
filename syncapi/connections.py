"""The persistent connections of one process: who is connected, what is being sent, who must go.

Nothing of HTTP, Kafka or Cassandra is known here. For one event loop; `Hub.users` alone may be read
by other threads.

What a connection may keep in memory is bounded by what is under way: at most `IN_FLIGHT_MAX`
answers, of which one is being written, one poke that stands for any number of changes, and one
drain. A reader that does not take its frames is closed: what it misses it gets by syncing after it
comes back. No task belongs to an idle connection here, and no timer: one sweep looks at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Final, Protocol

from infra import metrics
from schemas.encoding import Coding
from schemas.errors import InputError, RetryableError
from schemas.frames import ServerFrame
from syncapi.framing import Form, frame_bytes, frame_kind, frame_length

IN_FLIGHT_MAX: Final = 4
"""Sync requests of one connection at work. More are not read, and wait in the client's socket."""

SWEEP_S: Final = 2.0
"""How often all connections are looked at for idleness and expiry: 2 ms for 5,000 of them."""

DRAIN_POLL_S: Final = 0.05

_answer_bytes = cache(metrics.api_answer_bytes.labels)
"""Looked up once for each path."""


class TooManyConnections(InputError):
    """The user has as many connections here as one may."""


class NoRoom(RetryableError):
    """No more connections are taken: the process has enough, or goes away."""


class SlowReader(Exception):
    """The other side does not take what is sent."""


class Gone(Exception):
    """The other side is not there any more."""


class Close(Enum):
    """Why the server ends a connection: the close code, and the name in metrics and on the wire."""

    IDLE = (4000, "idle")
    SLOW = (4002, "resync")
    EXPIRED = (4401, "expired")
    DRAIN = (1012, "drain")

    def __init__(self, code: int, label: str) -> None:
        self.code = code
        self.label = label


class Wire(Protocol):
    """What a connection is made of: the socket."""

    async def send(self, data: str | bytes) -> None:
        """Send a frame; returns when it was taken. Raises `SlowReader` and `Gone`."""

    def close(self, code: int, reason: str) -> None:
        """Close with a code, at once, whatever is not sent yet. Never raises."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections, how long without a frame, and how long to spread coming back."""

    connections: int
    per_user: int
    idle_s: float
    spread_s: float


class Connection:
    """One connection. `heard_s` and `expires_s` are times of the hub's clock."""

    __slots__ = (
        "_lock",
        "_poke_waits",
        "_spawn",
        "_standing",
        "_wire",
        "closing",
        "coding",
        "expires_s",
        "form",
        "heard_s",
        "sending",
        "tasks",
        "user_id",
    )

    def __init__(
        self, user_id: str, wire: Wire, spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self.user_id = user_id
        self.expires_s = float("inf")
        self.heard_s = 0.0
        self.form: Form = None
        """In which to answer, to poke, and to send away: that of the last frame received."""
        self.coding = Coding.IDENTITY
        """Of binary frames: the client knows it, because it has used it."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests at work."""
        self.closing: Close | None = None
        self.sending = 0
        self._wire = wire
        self._spawn = spawn
        self._lock = asyncio.Lock()
        self._standing = False
        self._poke_waits = False

    @property
    def busy(self) -> bool:
        """Whether something is under way that should be finished before the end."""
        return bool(self.tasks) or self.sending > 0

    def stand(self) -> None:
        """The handshake is done: what waited for it may be sent."""
        self._standing = True
        if self._poke_waits:
            self._spawn(self._send_poke())

    async def send(self, frame: ServerFrame, form: Form) -> None:
        """Send a frame after those before it. Raises nothing: a connection that ended takes all."""
        self.sending += 1
        try:
            async with self._lock:
                await self._put(frame, form)
        finally:
            self.sending -= 1

    def poke(self) -> bool:
        """Send a poke; False if one is still waiting to be sent, which will do for both."""
        if self._poke_waits:
            return False
        self._poke_waits = True
        if self._standing:
            self._spawn(self._send_poke())
        return True

    def close(self, why: Close) -> None:
        """End the connection; the second reason does not count."""
        if self.closing is None:
            self.closing = why
            self._wire.close(why.code, why.label)

    async def _send_poke(self) -> None:
        self.sending += 1
        try:
            async with self._lock:
                # Before it is written: a change that comes meanwhile is another poke.
                self._poke_waits = False
                await self._put(ServerFrame(poke=True), self.form)
        finally:
            self.sending -= 1

    async def _put(self, frame: ServerFrame, form: Form) -> None:
        if self.closing is not None:
            return
        data = frame_bytes(frame, form)
        try:
            await self._wire.send(data)
        except SlowReader:
            self.close(Close.SLOW)
        except Gone:
            pass  # whoever receives from it hears of it
        else:
            metrics.api_frames.labels(frame_kind(frame)).inc()
            if frame.answer is not None:
                _answer_bytes(frame.answer.path).observe(frame_length(data))


class Hub:
    """All connections of this process, by user."""

    def __init__(
        self,
        limits: Limits,
        monotonic_s: Callable[[], float],
        uniform: Callable[[float, float], float],
    ) -> None:
        self.users: dict[str, tuple[Connection, ...]] = {}
        """Another thread may look a user up, or copy the keys; the values never change."""
        self.draining = False
        self._limits = limits
        self._monotonic_s = monotonic_s
        self._uniform = uniform
        self._all: set[Connection] = set()
        self._notices: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, user_id: str, wire: Wire, lifetime_s: float) -> Connection:
        """Take a connection in, before its handshake is answered; it ends after `lifetime_s`.

        Before, because the client may sync as soon as it has the answer: from then on nothing may
        happen that it is not poked for. Raises `NoRoom` and `TooManyConnections`.
        """
        self.check_staying()
        if len(self._all) >= self._limits.connections:
            raise NoRoom("This server holds as many connections as it may.")
        mine = self.users.get(user_id, ())
        if len(mine) >= self._limits.per_user:
            raise TooManyConnections(
                f"A user may hold {self._limits.per_user} connections. Close one first."
            )
        connection = Connection(user_id, wire, self._spawn)
        connection.heard_s = self._monotonic_s()
        connection.expires_s = connection.heard_s + lifetime_s
        self.users[user_id] = (*mine, connection)
        self._all.add(connection)
        metrics.api_connections.set(len(self._all))
        return connection

    def check_staying(self) -> None:
        """Raise `NoRoom` if this process goes away."""
        if self.draining:
            raise NoRoom("This server goes away. Connect again: another one will answer.")

    def later_ms(self) -> int:
        """When to come back, for who is sent away: spread, so that not all come at once."""
        return int(self._uniform(0.0, self._limits.spread_s) * 1_000)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        self._all.discard(connection)
        left = tuple(one for one in self.users.get(connection.user_id, ()) if one is not connection)
        if left:
            self.users[connection.user_id] = left
        else:
            self.users.pop(connection.user_id, None)
        metrics.api_connections.set(len(self._all))
        closing = connection.closing
        metrics.api_closes.labels(closing.label if closing is not None else "gone").inc()

    def heard(self, connection: Connection, *, binary: bool, coding: Coding) -> None:
        """A frame came from the client, compressed in this coding or not at all."""
        connection.heard_s = self._monotonic_s()
        if coding is not Coding.IDENTITY:
            connection.coding = coding
        connection.form = connection.coding if binary else None

    def poke(self, users: Iterable[str]) -> None:
        """Poke all connections of these users."""
        for user_id in users:
            mine = self.users.get(user_id, ())
            if not mine:
                metrics.api_pokes.labels("no_connection").inc()
            for connection in mine:
                metrics.api_pokes.labels("sent" if connection.poke() else "coalesced").inc()

    def sweep(self) -> None:
        """Close whose token expired, and who was silent for too long."""
        now_s = self._monotonic_s()
        silent_s = now_s - self._limits.idle_s
        for connection in self._all:
            if now_s >= connection.expires_s:
                connection.close(Close.EXPIRED)
            elif connection.heard_s <= silent_s and not connection.busy:
                connection.close(Close.IDLE)

    async def sweep_for_ever(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    async def drain(self, within_s: float) -> None:
        """Send everybody away.

        Each is told, gets the answers that are under way, and is closed; all are after `within_s`.
        """
        self.draining = True
        deadline = self._monotonic_s() + within_s
        for connection in list(self._all):
            connection.sending += 1  # so that it is not closed before the frame is on its way
            self._spawn(self._tell(connection, ServerFrame(drain_ms=self.later_ms())))
        while self._all and self._monotonic_s() < deadline:
            for connection in self._all:
                if not connection.busy:
                    connection.close(Close.DRAIN)
            await asyncio.sleep(DRAIN_POLL_S)
        for connection in self._all:
            connection.close(Close.DRAIN)

    async def _tell(self, connection: Connection, frame: ServerFrame) -> None:
        try:
            await connection.send(frame, connection.form)
        finally:
            connection.sending -= 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)
