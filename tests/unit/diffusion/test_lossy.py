"""The bad network does to a connection what its weather says, and to bytes nothing else."""

from __future__ import annotations

import errno
import hashlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from time import monotonic, sleep
from typing import Any, Final

import httpx
import pytest

from diffusion import lossy
from diffusion.lossy import LossyProxy, Passed, Weather

LOOPBACK: Final = "127.0.0.1"
PATIENCE_S: Final = 20.0
"""For what must happen; generous, as nothing here measures how soon."""

QUIET_S: Final = 0.15
"""For what must not happen."""


class Server:
    """Accepts, and runs `serve` for every connection in a thread; ends with its connections."""

    def __init__(self) -> None:
        self.errors: list[type[OSError]] = []
        self.ended = threading.Semaphore(0)
        self._listener = socket.create_server((LOOPBACK, 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def serve(self, sock: socket.socket) -> None:
        while data := sock.recv(65_536):
            sock.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE_S)
            self._threads.append(threading.Thread(target=self._run, args=(sock,), daemon=True))
            self._threads[-1].start()

    def _run(self, sock: socket.socket) -> None:
        with sock:
            try:
                self.serve(sock)
            except OSError as error:
                self.errors.append(type(error))
        self.ended.release()


class Giver(Server):
    """Answers a decimal number and a line end with so many bytes, then closes in order."""

    def serve(self, sock: socket.socket) -> None:
        asked = sock.makefile("rb").readline()
        sock.sendall(blob(int(asked)))


class Rude(Server):
    """Answers and resets."""

    def serve(self, sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(b"rude")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Web(Server):
    """Just enough of HTTP: every request is answered with its own body."""

    def serve(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as lines:
            while lines.readline():
                length = 0
                while (header := lines.readline().strip().lower()) != b"":
                    if header.startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                body = lines.read(length)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, body))


def blob(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


@contextmanager
def proxied(
    weather: Weather | None = None, kind: type[Server] = Server, seed: int = 1
) -> Iterator[tuple[LossyProxy, Server]]:
    with (
        closing(kind()) as server,
        LossyProxy(LOOPBACK, server.port, weather or Weather(), seed) as proxy,
    ):
        yield proxy, server


def connect(proxy: LossyProxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=PATIENCE_S)


def received(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or fewer up to the orderly end."""
    found = bytearray()
    while len(found) < size and (data := sock.recv(min(65_536, size - len(found)))):
        found += data
    return bytes(found)


def until_reset(sock: socket.socket) -> bytes:
    """All bytes up to a reset; it is an error if the end is an orderly one."""
    found = bytearray()
    try:
        while data := sock.recv(65_536):
            found += data
    except ConnectionResetError:
        return bytes(found)
    raise AssertionError(f"an orderly end after {len(found)} bytes")


def echoed(sock: socket.socket, data: bytes) -> bytes:
    """Send in a thread, so that neither side waits for the other to read."""
    sender = threading.Thread(target=sock.sendall, args=(data,))
    sender.start()
    found = received(sock, len(data))
    sender.join(PATIENCE_S)
    return found


def says_nothing(sock: socket.socket) -> bool:
    sock.settimeout(QUIET_S)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    else:
        return False
    finally:
        sock.settimeout(PATIENCE_S)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < deadline
        sleep(0.005)


# What arrives.


def test_in_clear_weather_bytes_pass_unchanged_and_are_counted() -> None:
    data = blob(1_000_000)
    with proxied() as (proxy, _), connect(proxy) as sock:
        found = echoed(sock, data)
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()
        assert proxy.stats == Passed(1, 0, len(data), len(data))
        before = proxy.stats
        assert echoed(sock, b"more") == b"more"
        assert proxy.stats - before == Passed(0, 0, 4, 4)
    assert proxy.stats.bytes_up == len(data) + 4  # also after the end


def test_latency_and_a_narrow_line_keep_bytes_and_their_order() -> None:
    data = blob(20_000)
    with (
        proxied(Weather(latency_ms=20, bytes_per_second=200_000)) as (proxy, _),
        connect(proxy) as sock,
    ):
        assert echoed(sock, data) == data
        for start in range(0, 100, 10):  # small pieces, which overtake nothing
            sock.sendall(data[start : start + 10])
        assert received(sock, 100) == data[:100]


def test_ends_pass_in_order_after_the_bytes_before_them() -> None:
    with proxied(Weather(latency_ms=40), Giver) as (proxy, server), connect(proxy) as sock:
        sock.sendall(b"50000\n")
        sock.shutdown(socket.SHUT_WR)  # half of it: the answer still comes
        assert received(sock, 60_000) == blob(50_000)
        assert server.ended.acquire(timeout=PATIENCE_S)
        assert server.errors == []
        assert proxy.stats.resets == 0


def test_an_answer_arrives_though_its_server_was_gone_before_the_client_said_more() -> None:
    with proxied(Weather(latency_ms=100), Giver) as (proxy, server), connect(proxy) as sock:
        sock.sendall(b"3000\nunread")
        assert server.ended.acquire(timeout=PATIENCE_S)
        for _ in range(3):
            sock.sendall(b"to nobody")
        assert received(sock, 3_000) == blob(3_000)


def test_a_reset_by_a_peer_passes_after_the_bytes_before_it_and_is_not_counted() -> None:
    with proxied(Weather(latency_ms=40), Rude) as (proxy, _), connect(proxy) as sock:
        sock.sendall(b"?")
        assert until_reset(sock) == b"rude"
        assert proxy.stats == Passed(1, 0, 1, 4)
    with proxied(Weather(latency_ms=40)) as (proxy, server):
        with connect(proxy) as sock:
            assert echoed(sock, b"1") == b"1"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert server.ended.acquire(timeout=PATIENCE_S)
        assert server.errors == [ConnectionResetError]
        assert proxy.stats == Passed(1, 0, 1, 1)


def test_what_cannot_pass_holds_its_sender_back() -> None:
    size = 30_000_000  # more than all the buffers of the system on the way
    with proxied(kind=Giver) as (proxy, server), connect(proxy) as sock:
        sock.sendall(b"%d\n" % size)
        first = received(sock, 1_000)
        proxy.black_hole(True)
        assert not server.ended.acquire(timeout=QUIET_S * 4)
        proxy.black_hole(False)
        found = first + received(sock, size)
        assert hashlib.sha256(found).digest() == hashlib.sha256(blob(size)).digest()
        assert server.ended.acquire(timeout=PATIENCE_S)


def test_http_goes_through() -> None:
    with proxied(Weather(latency_ms=2), Web) as (proxy, _), httpx.Client() as client:
        for size in (0, 1, 50_000):
            assert client.post(proxy.url, content=blob(size)).content == blob(size)
        assert proxy.stats.connections == 1


# Slowness.


def test_a_round_trip_takes_its_latency_half_of_it_each_way() -> None:
    with proxied(Weather(latency_ms=200)) as (proxy, _), connect(proxy) as sock:
        for _ in range(2):
            began = monotonic()
            assert echoed(sock, b"ping") == b"ping"
            assert monotonic() - began >= 0.2
    with proxied(Weather(latency_ms=200)) as (proxy, server), connect(proxy) as sock:
        began = monotonic()
        sock.close()
        assert server.ended.acquire(timeout=PATIENCE_S)
        assert monotonic() - began >= 0.1


def test_latency_is_a_delay_line_and_no_pause_per_chunk() -> None:
    data = blob(200_000)  # dozens of reads: the pauses would add up to far more than the patience
    with proxied(Weather(latency_ms=2_000)) as (proxy, _), connect(proxy) as sock:
        sock.settimeout(PATIENCE_S)
        began = monotonic()
        assert echoed(sock, data) == data
        assert 2 <= monotonic() - began < PATIENCE_S


def test_a_narrow_line_takes_its_time_in_each_direction() -> None:
    with proxied(Weather(bytes_per_second=100_000)) as (proxy, _), connect(proxy) as sock:
        began = monotonic()
        assert echoed(sock, blob(30_000)) == blob(30_000)
        assert monotonic() - began >= 0.3


def test_a_stall_delays_and_loses_nothing() -> None:
    with proxied(Weather(stall_chance=1, stall_ms=150)) as (proxy, _), connect(proxy) as sock:
        for number in range(2):  # each exchange has its own
            began = monotonic()
            assert echoed(sock, blob(10_000, number)) == blob(10_000, number)
            assert monotonic() - began >= 0.15
        assert proxy.stats == Passed(1, 0, 20_000, 20_000)


def test_weather_changes_with_the_next_exchange() -> None:
    with proxied() as (proxy, _), connect(proxy) as sock:
        assert echoed(sock, b"clear") == b"clear"
        proxy.weather = Weather(latency_ms=100)
        assert proxy.weather.latency_ms == 100
        began = monotonic()
        assert echoed(sock, b"slow") == b"slow"
        assert monotonic() - began >= 0.1


# Resets.


def test_cut_resets_both_sides_of_all_connections() -> None:
    with proxied() as (proxy, server), connect(proxy) as one, connect(proxy) as other:
        assert echoed(one, b"1") + echoed(other, b"2") == b"12"
        assert proxy.cut() == 2
        assert until_reset(one) + until_reset(other) == b""
        assert server.ended.acquire(timeout=PATIENCE_S)
        assert server.ended.acquire(timeout=PATIENCE_S)
        assert server.errors == [ConnectionResetError] * 2
        assert proxy.stats == Passed(2, 2, 2, 2)
        assert proxy.cut() == 0
        with connect(proxy) as third:
            assert echoed(third, b"3") == b"3"


@pytest.mark.parametrize("size", [1, 100, 8_192, 8_193, 300_000])
def test_cut_after_delivers_exactly_so_many_bytes(size: int) -> None:
    with proxied(kind=Giver) as (proxy, _):
        proxy.cut_after(size)
        with connect(proxy) as sock:
            sock.sendall(b"500000\n")
            assert until_reset(sock) == blob(500_000)[:size]
        assert (proxy.stats.bytes_down, proxy.stats.resets) == (size, 1)
        with connect(proxy) as sock:  # once
            sock.sendall(b"5000\n")
            assert received(sock, 6_000) == blob(5_000)
        assert proxy.stats.resets == 1


def test_cut_after_counts_from_its_call_and_over_all_connections() -> None:
    with proxied() as (proxy, _), connect(proxy) as one, connect(proxy) as other:
        assert echoed(one, blob(1_000)) == blob(1_000)
        proxy.cut_after(300)
        assert echoed(one, blob(200)) == blob(200)
        other.sendall(blob(150))
        assert until_reset(other) == blob(150)[:100]
        assert echoed(one, b"stands") == b"stands"


def test_cut_after_takes_the_last_byte_of_an_answer_with_nothing_behind_it() -> None:
    with proxied() as (proxy, _), connect(proxy) as sock:
        proxy.cut_after(5)
        sock.sendall(b"exact")
        assert until_reset(sock) == b"exact"


def test_certain_resets_come_within_their_bytes_and_cut_off_a_prefix() -> None:
    with proxied(Weather(reset_chance=1, reset_within_bytes=1_000)) as (proxy, _):
        for number in range(1, 9):
            with connect(proxy) as sock:
                sock.sendall(blob(2_000))
                found = until_reset(sock)
                assert found == blob(2_000)[: len(found)]
            assert proxy.stats.resets == number
        assert proxy.stats.bytes_up + proxy.stats.bytes_down < 8 * 1_000
        proxy.weather = Weather()
        with connect(proxy) as sock:
            assert echoed(sock, blob(2_000)) == blob(2_000)


def test_small_exchanges_are_reset_eventually() -> None:
    with (
        proxied(Weather(reset_chance=1, reset_within_bytes=2_000)) as (proxy, _),
        connect(proxy) as sock,
    ):
        assert exchanges(sock) <= 2_000 / 20
        assert proxy.stats.resets == 1


def exchanges(sock: socket.socket) -> int:
    """How many of ten bytes each way it takes until there is a reset."""
    count = 0
    try:
        while echoed(sock, b"0123456789") == b"0123456789":
            count += 1
    except ConnectionResetError:
        return count
    raise AssertionError(f"an orderly end after {count} exchanges")


def run(seed: int) -> list[int]:
    """Exchanges that each connection lasted."""
    lasted = []
    with proxied(Weather(reset_chance=0.3, reset_within_bytes=20), seed=seed) as (proxy, _):
        for _ in range(12):
            with connect(proxy) as sock:
                lasted.append(exchanges(sock))
    return lasted


def test_a_seed_draws_the_same_again() -> None:
    assert run(3) == run(3)
    assert run(3) != run(4)


def test_refused_connections_are_reset_at_once() -> None:
    with proxied(Weather(refuse_chance=1)) as (proxy, server):
        for _ in range(3):
            with suppress(ConnectionResetError), connect(proxy) as sock:  # some see it this early
                assert until_reset(sock) == b""
        assert proxy.stats == Passed(3, 3)
        proxy.weather = Weather()
        with connect(proxy) as sock:
            assert echoed(sock, b"hello") == b"hello"
        assert server.errors == []


def test_a_target_that_is_away_is_a_reset_of_the_client() -> None:
    with socket.create_server((LOOPBACK, 0)) as away:
        port = away.getsockname()[1]
    with LossyProxy("localhost", port, Weather(), 1) as proxy:
        with suppress(ConnectionResetError), connect(proxy) as sock:  # some see it this early
            assert until_reset(sock) == b""
        assert proxy.stats == Passed(connections=1)


# Silence.


def test_a_black_hole_passes_nothing_and_then_all() -> None:
    data = blob(10_000)
    with proxied() as (proxy, _), connect(proxy) as old:
        assert echoed(old, b"before") == b"before"
        before = proxy.stats
        proxy.black_hole(True)
        with connect(proxy) as new:
            old.sendall(data)
            old.shutdown(socket.SHUT_WR)
            new.sendall(b"new")
            assert says_nothing(old)
            assert says_nothing(new)
            assert proxy.stats - before == Passed(connections=1)
            proxy.black_hole(False)
            assert received(old, 20_000) == data
            assert received(new, 3) == b"new"


def test_a_black_hole_can_be_cut() -> None:
    with proxied() as (proxy, _), connect(proxy) as sock:
        proxy.black_hole(True)
        sock.sendall(b"lost")
        assert says_nothing(sock)
        assert proxy.cut() == 1
        assert until_reset(sock) == b""


# The end, and bounds.


@pytest.mark.parametrize(
    "weather", [Weather(), Weather(latency_ms=60_000), Weather(bytes_per_second=1)]
)
def test_it_ends_with_connections_open_and_bytes_on_the_way(weather: Weather) -> None:
    with closing(Server()) as server:
        with LossyProxy(LOOPBACK, server.port, weather, 1) as proxy:
            socks = [connect(proxy) for _ in range(5)]
            for sock in socks:
                sock.sendall(blob(20_000))
            eventually(lambda: proxy.stats.connections == 5)
        assert not proxy._thread.is_alive()
        for sock in socks:
            with sock:
                until_reset(sock)
        with pytest.raises(OSError):
            connect(proxy)


def test_it_ends_in_a_black_hole_and_with_nobody_reading() -> None:
    with closing(Giver()) as server:
        with LossyProxy(LOOPBACK, server.port, Weather(), 1) as proxy:
            sock = connect(proxy)
            sock.sendall(b"30000000\n")
            assert len(received(sock, 10)) == 10
            proxy.black_hole(True)
        assert not proxy._thread.is_alive()
        sock.close()


def test_connections_beyond_the_limit_are_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossy, "CONNECTIONS_MAX", 2)
    with proxied() as (proxy, _), connect(proxy) as first, connect(proxy):
        eventually(lambda: proxy.stats.connections == 2)
        with suppress(ConnectionResetError), connect(proxy) as beyond:
            assert until_reset(beyond) == b""
        assert echoed(first, b"stands") == b"stands"
        assert proxy.stats == Passed(3, 1, 6, 6)
        first.close()
        eventually(lambda: len(proxy._open) == 1)
        with connect(proxy) as again:
            assert echoed(again, b"room") == b"room"


def test_a_listener_without_descriptors_accepts_when_there_are_some() -> None:
    with proxied() as (proxy, _):
        assert proxy.stats == Passed()  # it listens with the real one first
        listener = proxy._listener
        proxy._listener = Exhausted(listener)
        with connect(proxy) as sock:
            assert echoed(sock, b"late") == b"late"
        assert proxy._listener.failures == 0
        proxy._listener = listener


class Exhausted:
    """A listener that fails twice."""

    def __init__(self, listener: socket.socket) -> None:
        self.failures = 2
        self.fileno = listener.fileno
        self._listener = listener

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "no descriptor")
        return self._listener.accept()


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "example.org", "::", ""])
def test_a_target_beyond_loopback_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="is not on loopback"):
        LossyProxy(host, 80, Weather(), 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency_ms": -1},
        {"latency_ms": float("inf")},
        {"stall_ms": float("nan")},
        {"bytes_per_second": 0},
        {"reset_within_bytes": 0},
        {"reset_chance": 1.1},
        {"stall_chance": -0.1},
        {"refuse_chance": float("nan")},
    ],
    ids=str,
)
def test_weather_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Weather(**wrong)


def test_cut_after_nothing_is_refused() -> None:
    with proxied() as (proxy, _), pytest.raises(ValueError, match="bytes_down"):
        proxy.cut_after(0)
