"""Connections that an event loop serves, against a server that takes and sends bytes: without TLS
and with it.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cassandra.connection import DefaultEndPoint

from infra.cassandra.on_loop import Home, HomedConnection
from tests.certificates import Authority

MESSAGE = 300_000
"""More than the system takes at once while nobody reads."""


class Contexts(NamedTuple):
    """TLS of the server and of its clients; neither, for none."""

    serving: ssl.SSLContext | None = None
    believing: ssl.SSLContext | None = None


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def tls(request: pytest.FixtureRequest, authority: Authority) -> Contexts:
    if request.param == "plain":
        return Contexts()
    found = Contexts(authority.sign().serving(), authority.believing())
    versions = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
    assert found.serving is not None
    found.serving.minimum_version = found.serving.maximum_version = versions[request.param]
    return found


class Peer:
    """The other end: what it got, and a way to send."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.reads = asyncio.Event()
        self.reads.set()
        self.writer: asyncio.StreamWriter | None = None
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        while True:
            await self.reads.wait()
            some = await reader.read(65_536)
            if not some:
                break
            self.got += some
        writer.close()
        self.ended.set()


class Seen:
    """What a connection read, and in which thread."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.threads: set[int] = set()


class Line:
    """A connection with its peer."""

    def __init__(self, home: Home, peer: Peer, connection: Any, seen: Seen) -> None:
        self.home = home
        self.peer = peer
        self.connection = connection
        self.seen = seen

    async def moved(self) -> None:
        await until(lambda: self.connection._moved)
        await asyncio.sleep(0.05)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # of what other threads do there is no event
            await asyncio.sleep(0.01)


def with_line(
    use: Callable[[Line], Awaitable[None]], tls: Contexts, *, before: bool = True
) -> None:
    """A line whose loop takes its connections before or after it is made."""

    async def run() -> None:
        peer, home, seen = Peer(), Home(), Seen()
        kind = HomedConnection.of(home)

        class Connection(kind):  # type: ignore[misc, valid-type]
            def process_io_buffer(self) -> None:
                seen.threads.add(threading.get_ident())
                seen.data += self._iobuf.getvalue()
                self._iobuf.seek(0)
                self._iobuf.truncate()

        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls.serving)
        async with server:
            if before:
                home.settle(asyncio.get_running_loop())
            Connection.initialize_reactor()
            endpoint = DefaultEndPoint("127.0.0.1", server.sockets[0].getsockname()[1])
            options: dict[str, Any] = {"connect_timeout": 5, "ssl_context": tls.believing}
            connection = await asyncio.to_thread(Connection, endpoint, **options)
            try:
                await until(lambda: len(peer.got) > 0)
                peer.got.clear()  # the driver's greeting
                await use(Line(home, peer, connection, seen))
            finally:
                connection.close()
                peer.reads.set()
                await asyncio.wait_for(peer.ended.wait(), 10)

    asyncio.run(run())


@pytest.mark.parametrize("before", [True, False])
def test_the_loop_reads_whenever_it_took_the_connection(tls: Contexts, *, before: bool) -> None:
    async def use(line: Line) -> None:
        if not before:
            assert line.peer.writer is not None
            line.peer.writer.write(b"early")
            await until(lambda: line.seen.data == b"early")
            assert threading.get_ident() not in line.seen.threads
            line.home.settle(asyncio.get_running_loop())
        await line.moved()
        line.seen.data.clear()
        line.seen.threads.clear()
        assert line.peer.writer is not None
        for part in (b"one", b"two" * 10_000, b"three"):
            line.peer.writer.write(part)
            await asyncio.sleep(0.01)
        await until(lambda: line.seen.data == b"one" + b"two" * 10_000 + b"three")
        assert line.seen.threads == {threading.get_ident()}

    with_line(use, tls, before=before)


def test_messages_are_whole_whoever_sends_and_however_slow_the_reader_is(tls: Contexts) -> None:
    async def use(line: Line) -> None:
        await line.moved()
        line.peer.reads.clear()

        def send(letter: bytes) -> None:
            for _ in range(5):
                line.connection.push(letter * MESSAGE)

        threads = [threading.Thread(target=send, args=(letter,)) for letter in (b"a", b"b")]
        for thread in threads:
            thread.start()
        send(b"c")
        for thread in threads:
            await asyncio.to_thread(thread.join)
        line.peer.reads.set()
        await until(lambda: len(line.peer.got) == 15 * MESSAGE)
        pieces = [line.peer.got[at : at + MESSAGE] for at in range(0, 15 * MESSAGE, MESSAGE)]
        assert all(len(set(piece)) == 1 for piece in pieces)
        assert sorted(chr(piece[0]) for piece in pieces) == sorted("abc" * 5)

    with_line(use, tls)


class Noting:
    """A socket, and what it was given to send."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.sent: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return int(self._socket.send(data))


def test_messages_of_one_round_of_the_loop_go_together(tls: Contexts) -> None:
    async def use(line: Line) -> None:
        await line.moved()
        noting = line.connection._socket = Noting(line.connection._socket)
        for part in (b"one ", b"two ", b"three"):
            line.connection.push(part)
        await until(lambda: line.peer.got == b"one two three")
        assert noting.sent == [b"one two three"]
        assert not line.connection.deque

    with_line(use, tls)


@pytest.mark.parametrize("here", [True, False])
def test_a_connection_ends_from_any_thread(tls: Contexts, *, here: bool) -> None:
    async def use(line: Line) -> None:
        await line.moved()
        if here:
            line.connection.close()
        else:
            await asyncio.to_thread(line.connection.close)
        await asyncio.wait_for(line.peer.ended.wait(), 10)
        assert line.connection.is_closed

    with_line(use, tls)


class Watched(Noting):
    """A socket that sees whether two threads are in it at once."""

    def __init__(self, socket: Any) -> None:
        super().__init__(socket)
        self._users: list[int] = []
        self.shared = False

    def send(self, data: bytes) -> int:
        return int(self._alone(self._socket.send, data))

    def recv(self, size: int) -> bytes:
        return bytes(self._alone(self._socket.recv, size))

    def _alone(self, call: Callable[[Any], Any], argument: Any) -> Any:
        self._users.append(threading.get_ident())
        try:
            time.sleep(0)  # lets another thread come, if it may
            self.shared |= len(self._users) > 1
            return call(argument)
        finally:
            self._users.pop()


def test_both_ways_are_full_at_once_and_nothing_is_lost(tls: Contexts) -> None:
    """The loop reads while the driver's thread sends what the loop could not."""

    async def use(line: Line) -> None:
        await line.moved()
        watched: Watched | None = None
        if tls.believing is not None:
            watched = Watched(line.connection._socket._socket)
            line.connection._socket._socket = watched
        writer = line.peer.writer
        assert writer is not None
        expected = b"".join(bytes((number % 251,)) * MESSAGE for number in range(30))

        async def flood() -> None:
            for at in range(0, len(expected), MESSAGE):
                writer.write(expected[at : at + MESSAGE])
                await writer.drain()

        def send(letter: bytes) -> None:
            for _ in range(15):
                line.connection.push(letter * MESSAGE)

        flooding = asyncio.create_task(flood())
        thread = threading.Thread(target=send, args=(b"a",))
        thread.start()
        for _ in range(15):
            line.connection.push(b"b" * MESSAGE)
            await asyncio.sleep(0)
        await asyncio.to_thread(thread.join)
        await flooding
        await until(lambda: len(line.peer.got) == 30 * MESSAGE)
        await until(lambda: len(line.seen.data) == len(expected))
        assert line.seen.data == expected
        pieces = [line.peer.got[at : at + MESSAGE] for at in range(0, 30 * MESSAGE, MESSAGE)]
        assert sorted(chr(piece[0]) for piece in pieces) == sorted("ab" * 15)
        assert all(len(set(piece)) == 1 for piece in pieces)
        assert line.seen.threads == {threading.get_ident()}
        assert not line.connection.is_closed
        assert watched is None or not watched.shared

    with_line(use, tls)


def test_what_was_decrypted_is_read_though_no_byte_comes(authority: Authority) -> None:
    """A record holds more than is taken at once: the system has nothing to tell of the rest."""

    async def use(line: Line) -> None:
        await line.moved()
        line.connection.in_buffer_size = 3_000
        assert line.peer.writer is not None
        line.peer.writer.write(b"x" * 16_000)
        await until(lambda: len(line.seen.data) == 16_000)

    with_line(use, Contexts(authority.sign().serving(), authority.believing()))


@pytest.mark.parametrize("name", ["another.example.org", "127.0.0.1"])
def test_a_server_that_is_not_believed_gets_nothing(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    """Its certificate is of another name, or of another authority."""
    own = authority if name != "127.0.0.1" else Authority(tmp_path)

    async def use(_line: Line) -> None:
        raise AssertionError

    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        with_line(use, Contexts(own.sign(name).serving(), authority.believing()))


def test_a_peer_that_goes_away_ends_the_connection(tls: Contexts) -> None:
    async def use(line: Line) -> None:
        await line.moved()
        assert line.peer.writer is not None
        line.peer.writer.close()
        await until(lambda: line.connection.is_closed)

    with_line(use, tls)


def test_timers_of_the_loop_run_on_it_and_can_be_cancelled_from_anywhere() -> None:
    async def run() -> None:
        home = Home()
        home.settle(asyncio.get_running_loop())
        kind = HomedConnection.of(home)
        kind.initialize_reactor()
        ran: list[tuple[str, int]] = []

        def timer(name: str) -> Any:
            return kind.create_timer(0.05, lambda: ran.append((name, threading.get_ident())))

        timer("runs")
        timer("cancelled here").cancel()
        await asyncio.to_thread(timer("cancelled there").cancel)
        foreign = await asyncio.to_thread(timer, "foreign")
        foreign.cancel()
        await asyncio.sleep(0.2)
        assert ran == [("runs", threading.get_ident())]

    asyncio.run(run())


def test_connections_move_once() -> None:
    async def run() -> None:
        home = Home()
        home.settle(asyncio.get_running_loop())
        with pytest.raises(AssertionError, match="once"):
            home.settle(asyncio.get_running_loop())

    asyncio.run(run())
