"""Our server on a real socket: refusals, backpressure, slow readers, hostile frames, the drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as dial

from infra.api_settings import LEEWAY_S
from infra.settings import Settings, load
from infra.tls import server_context
from schemas.frames import ClientFrame, Problem, ServerFrame
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import SyncRequest
from syncapi import connections
from syncapi import sockets as served
from syncapi.app import build
from syncapi.auth import issue
from syncapi.connections import IN_FLIGHT_MAX
from syncapi.sockets import Server, config
from tests.certificates import Authority
from tests.unit.syncapi.support import Store
from tests.unit.syncapi.test_service import joined

REQUEST = SyncRequest(device_id="phone")
LARGE = SyncRequest(device_id="phone", page_max=1_000, bytes_max=2**20)


class Gate(Store):
    """A store that answers while its gate is open; knows how many reads wait."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        while not self.open.is_set():  # noqa: ASYNC110  # opened by another thread
            await asyncio.sleep(0.005)
        return await super().aread(cql, values)


class Running:
    """A server in a thread."""

    def __init__(self, store: Gate, settings: Settings, drain_s: float = 5) -> None:
        self.store = store
        self.settings = settings
        self.app = build(settings, store)
        self.hub = self.app.state.hub
        api = settings.api
        served = config(self.app, "127.0.0.1", 0, api.trusted_proxies, server_context(api))
        self.server = Server(served, self.hub, drain_s)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> Self:
        self.thread.start()
        wait(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.store.open.set()
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def token(self, user: str = "ann", lifetime_s: int = 600) -> str:
        now_ms = time.time_ns() // 1_000_000
        return issue(self.settings.api, user, now_ms=now_ms, lifetime_s=lifetime_s)

    def connect(self, user: str = "ann", **options: Any) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return self.dial(additional_headers=headers, **options)

    def dial(self, **options: Any) -> ClientConnection:
        scheme = "ws" if self.settings.api.tls_cert_file is None else "wss"
        url = f"{scheme}://127.0.0.1:{self.port}/v1/connect"
        return dial(url, compression=None, close_timeout=2, **options)


def wait(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


@contextlib.contextmanager
def running(drain_s: float = 5, **api: Any) -> Iterator[Running]:
    """A server for floods: how often one may ask is tested in `test_load`."""
    store = Gate()
    store.add(*joined("sg_1", "sg_2"))
    store.add(*joined(*(f"sg_{n:04}" for n in range(1_000)), user="many"))
    with Running(store, load(api={"user_rate": 0, **api}), drain_s) as found:
        yield found


def send(connection: ClientConnection, number: int, request: SyncRequest | None = REQUEST) -> None:
    connection.send(msgspec.json.encode(ClientFrame(number, request)).decode())


def receive(connection: ClientConnection, seconds: float = 5) -> ServerFrame:
    return msgspec.json.decode(connection.recv(seconds), type=ServerFrame)


def closed(connection: ClientConnection, seconds: float = 10) -> int:
    """Read to the end; the close code."""
    try:
        while True:
            connection.recv(seconds)
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd is not None else CloseCode.ABNORMAL_CLOSURE


def refusal(found: InvalidStatus) -> tuple[Problem, Any]:
    answer = found.response
    assert answer.headers["content-type"] == "application/problem+json"
    told = msgspec.json.decode(answer.body, type=Problem)
    assert told.status == answer.status_code
    return told, answer.headers


# The handshake.


def test_refusals_are_problem_documents_before_the_upgrade() -> None:
    with running(connections_max=2, connections_per_user_max=1) as api:
        with pytest.raises(InvalidStatus) as caught:
            api.dial()
        told, headers = refusal(caught.value)
        assert (told.status, headers["www-authenticate"]) == (401, "Bearer")
        with api.connect("ann"), api.connect("bob"):
            with pytest.raises(InvalidStatus) as caught:
                api.connect("cid")
            told, headers = refusal(caught.value)
            assert told.status == 503
            assert 1 <= int(headers["retry-after"]) <= 30
        wait(lambda: len(api.hub) == 0)
        with api.connect("ann"), pytest.raises(InvalidStatus) as caught:
            api.connect("ann")
        assert refusal(caught.value)[0].status == 429


def test_a_browsers_token_and_the_selected_subprotocol() -> None:
    with (
        running() as api,
        api.dial(subprotocols=["diffusion.v1", f"bearer.{api.token()}"]) as connection,
    ):
        assert connection.subprotocol == "diffusion.v1"
        send(connection, 1)
        assert receive(connection).answer is not None


# Several at once.


def test_requests_are_answered_as_they_are_done_and_no_more_are_read_than_may_be() -> None:
    with running() as api, api.connect() as connection:
        send(connection, 0)
        receive(connection)
        api.store.open.clear()
        for number in range(IN_FLIGHT_MAX):
            send(connection, number)
        mine = api.hub.users["ann"][0]
        wait(lambda: len(mine.tasks) == IN_FLIGHT_MAX)
        send(connection, 99, None)  # a ping behind them: not read
        with pytest.raises(TimeoutError):
            connection.recv(0.3)
        api.store.open.set()
        found = [receive(connection).id for _ in range(IN_FLIGHT_MAX + 1)]
        assert sorted(found, key=lambda one: one or 0) == [*range(IN_FLIGHT_MAX), 99]


def test_requests_under_way_end_with_their_connection() -> None:
    with running() as api:
        with api.connect() as connection:
            send(connection, 0)
            receive(connection)
            api.store.open.clear()
            send(connection, 1)
            mine = api.hub.users["ann"][0]
            wait(lambda: mine.tasks)
        wait(lambda: len(api.hub) == 0)
        wait(lambda: not mine.tasks)


# Who does not read.


class Spoken(NamedTuple):
    """Settings of a server that speaks TLS, or not, and how a client speaks to it."""

    api: dict[str, Any]
    believing: ssl.SSLContext | None


@pytest.fixture(params=["plain", "TLS"])
def spoken(request: pytest.FixtureRequest, tmp_path: Path) -> Spoken:
    if request.param == "plain":
        return Spoken({}, None)
    authority = Authority(tmp_path)
    signed = authority.sign()
    files = {"tls_cert_file": signed.certificate, "tls_key_file": signed.key}
    return Spoken(files, authority.believing())


def raw(
    api: Running,
    user: str,
    receive_bytes: int = 4_096,
    believing: ssl.SSLContext | None = None,
) -> sockets.socket:
    """A connection whose socket takes little; its handshake is done."""
    sock = sockets.socket()
    sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
    sock.connect(("127.0.0.1", api.port))
    if believing is not None:
        sock = believing.wrap_socket(sock, server_hostname="127.0.0.1")
    sock.sendall(
        f"GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {api.token(user)}\r\n\r\n".encode()
    )
    assert b" 101 " in sock.recv(2_000)
    return sock


def masked(opcode: Opcode, data: bytes) -> bytes:
    return Frame(opcode, data).serialize(mask=True)


def test_a_reader_that_does_not_read_is_closed(
    monkeypatch: pytest.MonkeyPatch, spoken: Spoken
) -> None:
    monkeypatch.setattr(served, "SEND_TIMEOUT_S", 0.3)
    monkeypatch.setattr(served, "CLOSE_GRACE_S", 0.3)
    with (
        running(**spoken.api) as api,
        raw(api, "many", believing=spoken.believing) as sock,
        api.connect(ssl=spoken.believing) as other,
    ):
        mine = api.hub.users["many"][0]
        frame = masked(Opcode.TEXT, msgspec.json.encode(ClientFrame(1, LARGE)))
        sock.settimeout(5)
        with contextlib.suppress(OSError):  # refused from some point on: it is closed
            for _ in range(400):
                sock.sendall(frame)
                if mine.closing is not None:
                    break
                time.sleep(0.005)
        wait(lambda: mine.closing is connections.Close.SLOW)
        # Cut soon after, with whatever was not sent.
        wait(lambda: len(api.server.server_state.connections) == 1)
        send(other, 1)
        assert receive(other).answer is not None


def test_a_reader_that_is_slow_but_reads_is_served(
    monkeypatch: pytest.MonkeyPatch, spoken: Spoken
) -> None:
    monkeypatch.setattr(served, "SEND_TIMEOUT_S", 0.3)
    monkeypatch.setattr(served, "SEND_PROGRESS_BYTES", 2_000)
    with (
        running(**spoken.api) as api,
        raw(api, "many", believing=spoken.believing) as sock,
    ):
        mine = api.hub.users["many"][0]
        frame = masked(Opcode.TEXT, msgspec.json.encode(ClientFrame(1, LARGE)))
        sock.settimeout(5)
        sock.sendall(frame * IN_FLIGHT_MAX)
        taken = 0
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            taken += len(sock.recv(4_096))
            time.sleep(0.02)
        assert mine.closing is None
        assert taken > 100_000


def test_pings_without_end_whose_pongs_are_not_read_end_the_connection() -> None:
    with running() as api, raw(api, "ann") as sock:
        sock.settimeout(0.5)
        pings = masked(Opcode.PING, b"x" * 125) * 1_000
        with contextlib.suppress(OSError):
            for _ in range(1_000):
                sock.sendall(pings)
        wait(lambda: len(api.hub) == 0)


def test_frames_of_pings_whose_pongs_are_not_read_are_not_read_either() -> None:
    with running() as api, raw(api, "ann") as sock:
        sock.settimeout(0.5)
        pings = masked(Opcode.TEXT, b'{"id":1}') * 1_000
        with pytest.raises(TimeoutError):
            sock.sendall(pings * 1_000)
        (protocol,) = api.server.server_state.connections
        assert protocol.transport.get_write_buffer_size() < 200_000
        assert protocol.queue.qsize() < 30_000, "one read of the socket"


# Violations of the protocol beneath.


def test_a_frame_above_the_bound_is_closed_with_1009() -> None:
    with running() as api, api.connect() as connection:
        connection.send("x" * (REQUEST_BYTES_MAX + 1))
        assert closed(connection) == CloseCode.MESSAGE_TOO_BIG


def test_text_that_is_none_is_closed_with_1007_and_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running() as api, api.connect() as connection:
        connection.send(b"\xff\xfe", text=True)
        assert closed(connection) == CloseCode.INVALID_DATA
        wait(lambda: len(api.hub) == 0)
    assert caplog.records == []


def test_text_that_is_none_with_a_close_behind_it_ends_the_connection_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = Frame(Opcode.TEXT, b"\xff").serialize(mask=True)
    close = Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True)
    with running() as api:
        with raw(api, "ann") as sock:
            sock.sendall(text + close)
            sock.settimeout(5)
            while sock.recv(1_000):
                pass
        wait(lambda: len(api.hub) == 0)
    assert [one.getMessage() for one in caplog.records] == []


def test_what_is_no_frame_ends_the_connection_alone() -> None:
    with running() as api, api.connect("bob") as other:
        for junk in (
            b"\xff" * 100,
            b"\x83\x80xxxx",
            Frame(Opcode.TEXT, b"x").serialize(mask=False),
        ):
            with raw(api, "ann") as sock:
                sock.sendall(junk)
                sock.settimeout(5)
                with contextlib.suppress(ConnectionResetError):
                    while sock.recv(1_000):
                        pass
        wait(lambda: len(api.hub) == 1)
        send(other, 1)
        assert receive(other).answer is not None


# Time.


def test_a_connection_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)
    with running() as api:
        headers = {"Authorization": f"Bearer {api.token(lifetime_s=1 - LEEWAY_S)}"}
        with api.dial(additional_headers=headers) as connection:
            assert closed(connection) == 4401


def test_a_silent_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)
    with running(idle_s=0.5) as api, api.connect() as connection, api.connect() as speaks:
        for _ in range(4):
            time.sleep(0.2)
            send(speaks, 1, None)
            receive(speaks)
        assert closed(connection) == 4000


# The end.


def test_a_drain_tells_answers_and_closes() -> None:
    with running(reconnect_spread_s=10) as api, api.connect() as idle, api.connect("bob") as busy:
        send(busy, 0)
        receive(busy)
        api.store.open.clear()
        send(busy, 1)
        wait(lambda: api.hub.users["bob"][0].tasks)
        api.server.should_exit = True
        told = receive(idle)
        assert told.drain_ms is not None
        assert 0 <= told.drain_ms <= 10_000
        assert closed(idle) == CloseCode.SERVICE_RESTART
        assert receive(busy).drain_ms is not None
        with pytest.raises(OSError):  # nobody listens any more
            api.dial(open_timeout=2)
        api.store.open.set()
        told = receive(busy)
        assert (told.id, told.answer is not None) == (1, True)
        assert closed(busy) == CloseCode.SERVICE_RESTART


def test_a_drain_ends_in_time_whatever_is_under_way() -> None:
    with running(drain_s=1) as api, api.connect() as connection, raw(api, "many"):
        send(connection, 0)
        receive(connection)
        api.store.open.clear()
        send(connection, 1)
        wait(lambda: api.hub.users["ann"][0].tasks)
        started = time.monotonic()
        api.server.should_exit = True
        assert receive(connection).drain_ms is not None
        assert closed(connection) == CloseCode.SERVICE_RESTART
        api.thread.join(5)
        assert not api.thread.is_alive()
        assert 0.9 < time.monotonic() - started < 4


# Who goes, and does not read what was still to come.


def fill(sock: sockets.socket, line: Any) -> None:
    """Ask for more than the system's buffers hold, and read nothing of it."""
    frame = masked(Opcode.TEXT, msgspec.json.encode(ClientFrame(1, LARGE)))
    for _ in range(400):
        sock.sendall(frame)
        time.sleep(0.005)
        if not line.writable.is_set():
            return
    pytest.fail("all of it fits")


@pytest.mark.parametrize(
    "last", [masked(Opcode.CLOSE, b"\x03\xe8"), b"\xff\xff\xff\xff"], ids=["close", "no frame"]
)
def test_a_line_that_is_closing_is_cut_though_the_rest_is_never_read(
    last: bytes, monkeypatch: pytest.MonkeyPatch, spoken: Spoken
) -> None:
    monkeypatch.setattr(served, "CLOSE_GRACE_S", 0.3)
    # If the last frame waits unread behind others, it is the slow reader who is cut.
    monkeypatch.setattr(served, "SEND_TIMEOUT_S", 3.0)
    with (
        running(**spoken.api) as api,
        raw(api, "many", believing=spoken.believing) as sock,
    ):
        (line,) = api.server.server_state.connections
        fill(sock, line)
        sock.sendall(last)
        wait(lambda: not api.server.server_state.connections)
        wait(lambda: len(api.hub) == 0)  # the room is left after the line has ended


def test_a_server_ends_with_a_line_that_is_closing_and_not_read(
    monkeypatch: pytest.MonkeyPatch, spoken: Spoken
) -> None:
    monkeypatch.setattr(served, "SEND_TIMEOUT_S", 3.0)
    with (
        running(**spoken.api) as api,
        raw(api, "many", believing=spoken.believing) as sock,
    ):
        (line,) = api.server.server_state.connections
        fill(sock, line)
        sock.sendall(masked(Opcode.CLOSE, b"\x03\xe8"))
        wait(lambda: len(api.hub) == 0)
    # `running` waits for the end of the server, and fails if it does not come.


@pytest.mark.parametrize(
    "more", ["X-Long: " + "x" * 9_000, "\r\n".join(f"X-{n}: 1" for n in range(200))]
)
def test_a_handshake_that_is_none_is_answered_and_ended(more: str) -> None:
    with running() as api, sockets.socket() as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", api.port))
        sock.sendall(
            f"GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"{more}\r\n\r\n".encode()
        )
        while sock.recv(4_096):
            pass  # until it is closed, whatever the answer is
        wait(lambda: not api.server.server_state.connections)


def test_refusals_write_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with running() as api:
        with pytest.raises(InvalidStatus):
            api.dial(additional_headers={"Authorization": "Bearer nonsense"})
        wait(lambda: not api.server.server_state.connections)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
