"""Connections of the driver that one event loop reads and writes by itself.

The driver has a thread for its sockets and timers. Under load that thread and the event loop of a
server take Python's lock from each other several times for every read: to be woken and write, to be
woken and read, to set the time-out, to hand over the rows. A loop that is given a connection does
all of it where it stands: it sends what one round of its work asks for in one piece, is told by the
system when answers came, and runs the driver's callbacks itself.

What the driver does while it connects, reconnects or looks around stays in its own threads, which
wait for answers that the loop reads for them. So the loop must never wait for the driver: whoever
is on it prepares statements in a thread (`Session.aread` does).

TLS makes two differences. Two threads use a socket, the loop's and, for what could not be sent at
once, the driver's, and OpenSSL's state bears one at a time (`_OneAtATime`). And what could not be
sent must be offered again as it was, because OpenSSL has begun to encrypt it: it stays one piece.
Nothing is left decrypted that the system could not tell of, because the driver reads until it gets
less than it asked for, and with that a record is used up. It also made the handshake, in the thread
that connects, before anything here begins.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from cassandra import DependencyException

try:
    from cassandra.io import libevreactor
    from cassandra.io.libevreactor import LibevConnection
except (ImportError, DependencyException):  # not in the driver's wheels for every system
    LibevConnection = object

READ_BYTES: Final = 16_384
"""Taken from a socket at once: the answers of one round of a busy loop, and all that a record of
TLS may hold. The driver takes 4,096."""


class Timer(Protocol):
    """What the driver asks of a timer."""

    def cancel(self) -> None:
        """Do not call back."""


class Home:
    """The event loop of a session's connections; until it has one, the driver's thread serves."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._guests: set[HomedConnection] = set()

    def is_here(self) -> bool:
        """Whether the caller is on that loop."""
        return self.loop is not None and threading.get_ident() == self._thread_id

    def settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take all connections to a loop, those to come too. To be called on it, once."""
        assert self.loop is None, "connections move once"
        if LibevConnection is object:
            return
        self._thread_id = threading.get_ident()
        self.loop = loop
        for guest in self._guests.copy():
            guest.move()

    def welcome(self, guest: HomedConnection) -> None:
        """Take in a new connection."""
        self._guests.add(guest)
        if self.loop is not None:
            guest.move()

    def leave(self, guest: HomedConnection) -> None:
        """Forget a connection that ends."""
        self._guests.discard(guest)

    def tell(self, work: Callable[[], object]) -> bool:
        """Have something done on the loop; False if it has ended."""
        assert self.loop is not None
        try:
            self.loop.call_soon_threadsafe(work)
        except RuntimeError:
            return False
        return True


def connection_class(home: Home) -> type | None:
    """Class of connections with that home; None without libev, where none can move."""
    return None if LibevConnection is object else HomedConnection.of(home)


class _OneAtATime:
    """A TLS socket that two threads use. Its calls do not block, so the other one waits for no more
    than the encryption of a record.
    """

    def __init__(self, socket: ssl.SSLSocket) -> None:
        self._socket = socket
        self._using = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        with self._using:
            return self._socket.recv(size)

    def send(self, data: bytes) -> int:
        with self._using:
            return self._socket.send(data)

    def close(self) -> None:
        with self._using:
            self._socket.close()


class HomedConnection(LibevConnection):  # type: ignore[misc]  # the driver has no types
    """The driver's connection, which may move to an event loop. One class a session (`of`)."""

    home: Home
    _socket: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._moved = self._ending = False
        self._outbox: list[bytes] = []
        self._moving = threading.Lock()
        # Held while bytes are sent: a message is sent whole before the next one begins.
        self._sending = threading.RLock()
        super().__init__(*arguments, **options)
        self.home.welcome(self)

    def _connect_socket(self) -> None:
        super()._connect_socket()
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket = _OneAtATime(self._socket)

    @classmethod
    def of(cls, home: Home) -> type[HomedConnection]:
        """Class of connections with that home."""
        return cast("type[HomedConnection]", type("SessionConnection", (cls,), {"home": home}))

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], object]) -> Timer:
        """Call back after so many seconds."""
        loop = cls.home.loop
        if loop is None or not cls.home.is_here():
            timer: Timer = super().create_timer(timeout, callback)
            return timer
        return _LoopTimer(cls.home, timeout, callback)

    # Moving.

    def move(self) -> None:
        """Have the loop read from now on."""
        # The driver's thread alone may touch its watchers; its timers are called there.
        LibevConnection.create_timer(0, self._leave_thread)

    def _leave_thread(self) -> None:
        with self._moving:
            if self._moved or self._ending or not self.home.tell(self._arrive):
                return
            self._moved = True
        self._read_watcher.stop()

    def _arrive(self) -> None:
        if not self.is_closed and self.home.loop is not None:
            # What is sent is whole already: to wait for more to go with it only delays it.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.in_buffer_size = READ_BYTES
            self.home.loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        if not self.is_closed:
            super().handle_read(None, 0)

    # Of the driver's connection.

    def handle_read(self, watcher: Any, revents: int, errno: int | None = None) -> None:
        """Read in the driver's thread, unless the loop does."""
        if self._moved:
            watcher.stop()  # it had not begun yet when it was stopped
        else:
            super().handle_read(watcher, revents, errno)

    def handle_write(self, watcher: Any, revents: int, errno: int | None = None) -> None:
        """Send what could not be sent at once, in the driver's thread."""
        with self._sending:
            super().handle_write(watcher, revents, errno)

    def push(self, data: bytes) -> None:
        """Send; what the loop asks goes when its present round of work is done."""
        if self.home.loop is None or not self.home.is_here():
            with self._sending:
                super().push(data)
            return
        self._outbox.append(data)
        if len(self._outbox) == 1:
            self.home.loop.call_soon(self._flush)

    def _flush(self) -> None:
        data = b"".join(self._outbox)
        self._outbox.clear()
        with self._sending:
            self.deque.append(data)  # whole: see TLS above
            super().handle_write(None, 0)
            left = len(self.deque)
        if left:
            libevreactor._global_loop.notify()  # the driver's thread goes on when there is room

    def close(self) -> None:
        """End; on the loop, if it reads: a file that is watched must not be closed before."""
        self.home.leave(self)
        with self._moving:
            self._ending = True
        if not self._moved or self.home.is_here() or not self.home.tell(self._close):
            self._close()

    def _close(self) -> None:
        if self._moved and not self.is_closed and self.home.is_here():
            assert self.home.loop is not None
            self.home.loop.remove_reader(self._socket.fileno())
        super().close()


class _LoopTimer:
    """A timer of the loop that other threads may cancel."""

    def __init__(self, home: Home, timeout_s: float, callback: Callable[[], object]) -> None:
        assert home.loop is not None
        self._home = home
        self._callback: Callable[[], object] | None = callback
        self._handle = home.loop.call_later(timeout_s, self._run)

    def cancel(self) -> None:
        """Do not call back."""
        self._callback = None
        if self._home.is_here():
            self._handle.cancel()
        else:
            self._home.tell(self._handle.cancel)

    def _run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
