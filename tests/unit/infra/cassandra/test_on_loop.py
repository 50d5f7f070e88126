"""Connections that an event loop serves, against a server that takes and sends plain bytes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cassandra.connection import DefaultEndPoint

from infra.cassandra.on_loop import Home, HomedConnection

MESSAGE = 300_000
"""More than the system takes at once while nobody reads."""


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


def with_line(use: Callable[[Line], Awaitable[None]], *, before: bool = True) -> None:
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

        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
        async with server:
            if before:
                home.settle(asyncio.get_running_loop())
            Connection.initialize_reactor()
            endpoint = DefaultEndPoint("127.0.0.1", server.sockets[0].getsockname()[1])
            connection = await asyncio.to_thread(Connection, endpoint, connect_timeout=5)
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
def test_the_loop_reads_whenever_it_took_the_connection(*, before: bool) -> None:
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

    with_line(use, before=before)


def test_messages_are_whole_whoever_sends_and_however_slow_the_reader_is() -> None:
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

    with_line(use)


def test_messages_of_one_round_of_the_loop_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(line: Line) -> None:
        await line.moved()
        sent: list[bytes] = []
        send = line.connection._sent

        def noting(data: bytes) -> int:
            sent.append(data)
            return int(send(data))

        monkeypatch.setattr(line.connection, "_sent", noting)
        for part in (b"one ", b"two ", b"three"):
            line.connection.push(part)
        await until(lambda: line.peer.got == b"one two three")
        assert sent == [b"one two three"]
        assert not line.connection.deque

    with_line(use)


@pytest.mark.parametrize("here", [True, False])
def test_a_connection_ends_from_any_thread(*, here: bool) -> None:
    async def use(line: Line) -> None:
        await line.moved()
        if here:
            line.connection.close()
        else:
            await asyncio.to_thread(line.connection.close)
        await asyncio.wait_for(line.peer.ended.wait(), 10)
        assert line.connection.is_closed

    with_line(use)


def test_a_peer_that_goes_away_ends_the_connection() -> None:
    async def use(line: Line) -> None:
        await line.moved()
        assert line.peer.writer is not None
        line.peer.writer.close()
        await until(lambda: line.connection.is_closed)

    with_line(use)


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
