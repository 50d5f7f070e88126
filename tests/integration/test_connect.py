"""The persistent connection on real servers: requests, pokes, limits, and processes that end."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket as sockets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as dial

from diffusion.processes import Child
from diffusion.system import System, environment_of, wait_ready
from infra.clock import now_ms
from infra.local.ports import free_ports
from infra.settings import Settings
from schemas import ids
from schemas.encoding import Coding, Format, compress, decode, pack, unpack
from schemas.events import MembersJoined, Message, ModuleChanged, Read, WriteEvent
from schemas.frames import ClientFrame, ServerFrame
from schemas.limits import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX
from schemas.protocol import PROTOCOL_VERSION, SyncRequest, SyncResponse
from sdk.backend import WriteProducer
from syncapi.auth import issue
from tests.integration.support import NOW_MS, World

Unique = Callable[[str], str]

POKE_S = 20.0
"""A poke is there much sooner; a busy machine is no failure."""

FEED_S = 15.0
"""After its start a process pokes everybody once, over some seconds."""

SHORT_S = 2
"""Life of a token that is to expire: long enough to connect with it, and less than idleness takes."""

_numbers = itertools.count(1)


class Phone:
    """A device on a persistent connection."""

    def __init__(self, url: str, token: str, **options: Any) -> None:
        address = url.replace("http", "ws", 1) + "/v1/connect"
        headers = {"Authorization": f"Bearer {token}"}
        dialled = dial(
            address, additional_headers=headers, compression=None, close_timeout=2, **options
        )
        self.wire: ClientConnection = dialled.__enter__()
        self.pokes = 0
        self.drain_ms: int | None = None
        self.cursor: str | None = None
        self.answers: dict[int | None, ServerFrame] = {}
        self._ids = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def send(self, request: SyncRequest | None, coding: Coding | None = None) -> int:
        frame = ClientFrame(next(self._ids), request)
        if coding is None:
            self.wire.send(msgspec.json.encode(frame).decode())
        else:
            plain = pack(frame, Coding.IDENTITY)[2:]
            self.wire.send(bytes((PROTOCOL_VERSION, coding)) + compress(plain, coding))
        return frame.id

    def take(self, seconds: float) -> ServerFrame:
        data = self.wire.recv(seconds)
        if isinstance(data, str):
            frame = decode(data.encode(), ServerFrame, Format.JSON)
        else:
            frame = unpack(data, ServerFrame, ANSWER_BYTES_MAX)
        if frame.poke:
            self.pokes += 1
        elif frame.drain_ms is not None:
            self.drain_ms = frame.drain_ms
        else:
            self.answers[frame.id] = frame
        return frame

    def answer(self, number: int, seconds: float = 15) -> ServerFrame:
        deadline = time.monotonic() + seconds
        while number not in self.answers:
            self.take(max(0.01, deadline - time.monotonic()))
        return self.answers.pop(number)

    def sync(self, coding: Coding | None = None, **parts: Any) -> SyncResponse:
        """One request, continued from the last cursor."""
        request = SyncRequest("phone", cursor=self.cursor, **parts)
        told = self.answer(self.send(request, coding)).answer
        assert told is not None
        self.cursor = told.cursor or self.cursor
        return told

    def poked(self, seconds: float = POKE_S) -> None:
        """Wait for a poke; what came before counts."""
        deadline = time.monotonic() + seconds
        while not self.pokes:
            self.take(max(0.01, deadline - time.monotonic()))
        self.pokes = 0

    def quiet(self, seconds: float) -> bool:
        """Whether nothing comes."""
        try:
            self.take(seconds)
        except TimeoutError:
            return True
        return False

    def closed(self, seconds: float = 15) -> int:
        """Read to the end; the close code."""
        try:
            while True:
                self.take(seconds)
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd is not None else CloseCode.ABNORMAL_CLOSURE


def phone(system: System, user: str, url: str | None = None) -> Phone:
    return Phone(url or system.url, system.token(user))


@contextlib.contextmanager
def another_api(system: System, logs: Path, **changed: Any) -> Iterator[str]:
    """One more API process, with settings of its own; yields its address."""
    (port,) = free_ports(1)
    settings = system.settings
    api = settings.api.model_copy(update={"port": port, **changed})
    name = f"api-{next(_numbers)}"
    with process(system, settings.model_copy(update={"api": api}), name, logs) as url:
        yield url


@contextlib.contextmanager
def process(system: System, settings: Settings, name: str, logs: Path) -> Iterator[str]:
    from diffusion.processes import Processes

    url = f"http://127.0.0.1:{settings.api.port}"
    with Processes() as processes:
        environment = environment_of(settings)
        processes.start(Child(name, ("api",), environment, logs / f"{name}.log", f"{url}/metrics"))
        wait_ready(url, processes)
        yield url
    log = (logs / f"{name}.log").read_text()
    assert "Traceback" not in log, log


def metric(url: str, line: str) -> float:
    for found in httpx.get(f"{url}/metrics").text.splitlines():
        if found.startswith(f"{line} "):
            return float(found.rpartition(" ")[2])
    return 0.0


def wait(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def feed_follows(system: System) -> None:
    wait(lambda: metric(system.url, "diffusion_api_poke_feed") == 1)


# Requests.


def test_requests_are_multiplexed_in_both_kinds_of_frames(system: System, unique: Unique) -> None:
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    world.write(Message(chat, 1, bob, NOW_MS, (ann, bob)))
    with phone(system, ann) as one:
        kinds = [None, Coding.IDENTITY, Coding.DEFLATE, Coding.ZSTD]
        numbers = [one.send(SyncRequest("phone"), kind) for kind in kinds for _ in range(5)]
        answers = [one.answer(number).answer for number in numbers]
        assert all(answer is not None for answer in answers)
        for answer in answers:
            assert answer is not None
            assert [entry.conversation_id for entry in answer.conversations] == [chat]
        ping = one.send(None)
        assert one.answer(ping) == ServerFrame(id=ping)
        # The cursor of one transport is as good on the other.
        cursor = answers[0].cursor if answers[0] is not None else None
        over_http = httpx.post(
            f"{system.url}/v1/sync",
            json={"device_id": "phone", "cursor": cursor},
            headers={"Authorization": f"Bearer {system.token(ann)}"},
        ).json()
        assert over_http["path"] == "delta"


# Pokes.


def test_every_kind_of_change_pokes_and_the_sync_after_it_sees_it(
    system: System, unique: Unique
) -> None:
    ann, bob, eve = unique("ann"), unique("bob"), unique("eve")
    chat, group = ids.one_to_one(ann, bob), ids.group(unique("g"))
    changes: list[tuple[WriteEvent, Callable[[SyncResponse], bool]]] = [
        (Message(chat, 1, bob, NOW_MS, (ann, bob)), seen(chat, max_seq=1)),
        (Message(chat, 2, bob, NOW_MS + 1, (ann, bob)), seen(chat, max_seq=2)),
        (Read(ann, chat, 2), seen(chat, read_seq=2)),
        (MembersJoined(group, (ann, eve), 0, NOW_MS), seen(group)),
        (Message(group, 1, eve, NOW_MS + 2), seen(group, max_seq=1)),
        (
            ModuleChanged(ann, "friends", "eve", "insert", 1),
            lambda answer: any(item.item_id == "eve" for item in answer.modules),
        ),
    ]
    with (
        phone(system, ann) as one,
        phone(system, ann) as two,
        phone(system, unique("stranger")) as stranger,
        WriteProducer(system.settings.kafka.bootstrap_servers) as producer,
    ):
        one.sync()
        stranger.sync()
        for change, is_seen in changes:
            producer.send(change)
            two.poked()
            # A poke may be left from a change that became two. One that came early would be the
            # last: nothing more would come.
            one.poked()
            while not is_seen(one.sync()):
                one.poked()
        assert stranger.quiet(0.1)


def seen(conversation_id: str, **parts: Any) -> Callable[[SyncResponse], bool]:
    def check(answer: SyncResponse) -> bool:
        return any(
            entry.conversation_id == conversation_id
            and all(getattr(entry, name) == value for name, value in parts.items())
            for entry in answer.conversations
        )

    return check


def test_changes_that_do_not_stop_are_poked_for_once_a_second_and_all_seen(
    system: System, unique: Unique
) -> None:
    ann, bob = unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    with (
        phone(system, ann) as one,
        WriteProducer(system.settings.kafka.bootstrap_servers) as producer,
    ):
        one.sync()
        started = time.monotonic()
        seq, last, pokes = 0, 0, 0
        while time.monotonic() - started < 5:
            seq += 1
            producer.send(Message(chat, seq, bob, NOW_MS + seq, (ann, bob)))
            if not one.quiet(0.03):
                pokes += one.pokes
                one.pokes = 0
        taken_s = time.monotonic() - started
        assert 1 <= pokes <= taken_s + 1
        while last < seq:
            one.poked()
            for entry in one.sync().conversations:
                last = max(last, entry.max_seq or 0)


def test_without_kafka_connections_are_served_and_nothing_is_poked(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    settings = system.settings.model_copy(
        update={
            "kafka": system.settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"}),
            "api": system.settings.api.model_copy(update={"port": port}),
        }
    )
    with process(system, settings, "api-alone", tmp_path) as url:
        with phone(system, unique("ann"), url) as one:
            assert one.sync().path == "full"
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert metric(url, "diffusion_api_poke_feed") == 0


# Limits.


def test_limits_idleness_and_expiry(system: System, unique: Unique, tmp_path: Path) -> None:
    limits = {"connections_max": 4, "connections_per_user_max": 2, "idle_s": 3.0}
    with another_api(system, tmp_path, **limits) as url:
        ann, bob = unique("ann"), unique("bob")
        with pytest.raises(InvalidStatus) as caught:
            Phone(url, "nonsense")
        assert caught.value.response.status_code == 401
        with phone(system, ann, url), phone(system, ann, url) as idle:
            with pytest.raises(InvalidStatus) as caught:
                phone(system, ann, url)
            assert caught.value.response.status_code == 429
            with phone(system, bob, url), phone(system, bob, url):
                with pytest.raises(InvalidStatus) as caught:
                    phone(system, unique("cid"), url)
                assert caught.value.response.status_code == 503
                assert int(caught.value.response.headers["retry-after"]) >= 1
            assert idle.closed() == 4000
        wait(lambda: metric(url, "diffusion_api_connections") == 0)
        short = issue(
            system.settings.api,
            ann,
            now_ms=now_ms(),
            lifetime_s=SHORT_S - system.settings.api.jwt_leeway_s,
        )
        with Phone(url, short) as expiring:
            assert expiring.closed() == 4401
        with pytest.raises(InvalidStatus) as caught:
            Phone(url, short)
        assert caught.value.response.status_code == 401


def test_hostile_frames_get_a_problem_and_hurt_nobody_else(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    with phone(system, unique("ann")) as one, phone(system, unique("bob")) as other:
        bomb = bytes((PROTOCOL_VERSION, Coding.ZSTD)) + compress(bytes(10**9), Coding.ZSTD)
        assert len(bomb) < REQUEST_BYTES_MAX
        for data in ("", "[" * 100_000, '{"id":[]}', b"", b"\x09\x00", bomb, os.urandom(1_000)):
            one.wire.send(data)
            told = one.take(15)
            assert told.problem is not None, data[:50]
            assert told.problem.status in {400, 413}
        assert one.sync().path == "full"
        one.wire.send("x" * (REQUEST_BYTES_MAX + 1))
        assert one.closed() == CloseCode.MESSAGE_TOO_BIG
        assert other.sync().path == "full"


# Readers that do not read.


def test_slow_readers_are_closed_and_memory_stays_bounded(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    ann = unique("ann")
    groups = [ids.group(unique(f"g{number:03}")) for number in range(500)]
    World(system).write(*(MembersJoined(group, (ann,), 0, NOW_MS) for group in groups))
    request = SyncRequest("phone", page_max=500, bytes_max=2**20)
    with another_api(system, tmp_path) as url, contextlib.ExitStack() as stack:
        host, port = url.removeprefix("http://").split(":")
        memory = psutil.Process(listener(int(port))).memory_info
        with phone(system, ann, url) as one:
            told = one.answer(one.send(request)).answer
            assert told is not None
            assert len(told.conversations) == 500
        before = memory().rss
        frame = Frame(Opcode.TEXT, msgspec.json.encode(ClientFrame(1, request)))
        slow = [stack.enter_context(unread(host, int(port), system.token(ann))) for _ in range(3)]
        deadline = time.monotonic() + 120
        resync = 'diffusion_api_closes_total{reason="resync"}'
        while metric(url, resync) < len(slow):
            assert time.monotonic() < deadline
            for sock in slow:
                with contextlib.suppress(OSError):  # full, or closed
                    sock.sendall(frame.serialize(mask=True) * 5)
            assert memory().rss - before < 60 * 2**20
            time.sleep(0.05)
        with phone(system, ann, url) as one:
            assert one.sync().path == "full"


def unread(host: str, port: int, token: str) -> sockets.socket:
    sock = sockets.socket()
    sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    sock.connect((host, port))
    sock.sendall(
        f"GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    assert b" 101 " in sock.recv(2_000)
    sock.settimeout(0.1)
    return sock


def listener(port: int) -> int:
    """Process that listens there."""
    (pid,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid
    }
    return pid


# The end of a process.


def test_sigterm_sends_everybody_away_and_other_processes_go_on(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    ann, bob = unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    with (
        another_api(system, tmp_path, reconnect_spread_s=3.0) as url,
        WriteProducer(system.settings.kafka.bootstrap_servers) as producer,
        phone(system, ann, url) as one,
        phone(system, ann) as stays,
    ):
        one.sync()
        stays.sync()
        number = one.send(SyncRequest("phone", cursor=one.cursor))
        pid = listener(int(url.rpartition(":")[2]))
        os.kill(pid, signal.SIGTERM)
        assert one.closed() == CloseCode.SERVICE_RESTART
        assert one.drain_ms is not None
        assert 0 <= one.drain_ms <= 3_000
        assert one.answers[number].answer is not None
        producer.send(Message(chat, 1, bob, NOW_MS, (ann, bob)))
        stays.poked()
        assert seen(chat, max_seq=1)(stays.sync())
        # The supervisor starts it again; the device comes back, syncs, and is poked again.
        wait(lambda: answers(url))
        with phone(system, ann, url) as back:
            back.cursor = one.cursor
            assert seen(chat, max_seq=1)(back.sync())
            wait(lambda: metric(url, "diffusion_api_poke_feed") == 1)
            producer.send(Message(chat, 2, bob, NOW_MS + 1, (ann, bob)))
            deadline = time.monotonic() + FEED_S
            while time.monotonic() < deadline:
                back.poked()
                if seen(chat, max_seq=2)(back.sync()):
                    return
        raise AssertionError("not poked for the second message")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
