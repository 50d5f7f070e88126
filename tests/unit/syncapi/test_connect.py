"""The route of the persistent connection, over Litestar's test client: handshake and frames."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.exceptions import WebSocketDisconnect
from litestar.testing import TestClient, WebSocketTestSession

from infra.cassandra.session import StoreUnavailable
from infra.settings import Settings, load
from schemas.encoding import Coding, codings, compress, pack, unpack
from schemas.frames import ClientFrame, ServerFrame
from schemas.limits import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX
from schemas.protocol import PROTOCOL_VERSION, SyncRequest
from syncapi.app import build
from syncapi.auth import issue
from tests.unit.syncapi.support import Moody
from tests.unit.syncapi.test_service import joined, message

PATH = "/v1/connect"
REQUEST = SyncRequest(device_id="phone")


@pytest.fixture(scope="module")
def store() -> Moody:
    store = Moody()
    store.add(*joined("sg_1", "sg_2"), message("sg_1", 4))
    store.add(*joined(*(f"sg_{n:03}" for n in range(60)), user="many"))
    return store


@pytest.fixture(scope="module")
def client(store: Moody) -> Iterator[TestClient[Any]]:
    with TestClient(build(Settings(), store)) as client:
        yield client


def token(user: str = "ann") -> str:
    return issue(Settings().api, user, now_ms=time.time_ns() // 1_000_000, lifetime_s=600)


def connected(client: TestClient[Any], user: str = "ann") -> WebSocketTestSession:
    return client.websocket_connect(PATH, headers={"Authorization": f"Bearer {token(user)}"})


def receive(socket: WebSocketTestSession) -> ServerFrame:
    message = socket.receive(timeout=5)
    text, data = message.get("text"), message.get("bytes")
    if text is not None:
        return msgspec.json.decode(text, type=ServerFrame)
    assert data is not None, message
    return unpack(data, ServerFrame, ANSWER_BYTES_MAX)


def ask(socket: WebSocketTestSession, frame: ClientFrame, coding: Coding | None) -> ServerFrame:
    if coding is None:
        socket.send_text(msgspec.json.encode(frame).decode())
    else:
        socket.send_bytes(pack(frame, coding))
    return receive(socket)


def problem(socket: WebSocketTestSession, data: str | bytes) -> tuple[int | None, int, str]:
    if isinstance(data, str):
        socket.send_text(data)
    else:
        socket.send_bytes(data)
    told = receive(socket)
    assert told.problem is not None
    assert told.answer is None
    return told.id, told.problem.status, told.problem.detail


# The handshake.


def test_a_browser_offers_its_token_as_a_subprotocol(client: TestClient[Any]) -> None:
    offered = ["diffusion.v1", f"bearer.{token()}"]
    with client.websocket_connect(PATH, subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "diffusion.v1"
        told = ask(socket, ClientFrame(1, REQUEST), None)
        assert told.answer is not None
        assert told.answer.total == 2


def test_no_subprotocol_is_selected_that_was_not_offered(client: TestClient[Any]) -> None:
    with connected(client) as socket:
        assert socket.accepted_subprotocol is None


@pytest.mark.parametrize(
    "offer",
    [
        {},
        {"headers": {"Authorization": "Bearer nonsense"}},
        {"headers": {"Authorization": "Basic x"}, "subprotocols": ["bearer.x"]},
        {"subprotocols": ["diffusion.v1", "bearer."]},
        {"subprotocols": ["bearer.x", "bearer.y"]},
    ],
)
def test_a_server_that_cannot_answer_a_handshake_closes(
    client: TestClient[Any], offer: dict[str, Any]
) -> None:
    """Litestar's test client is such a server; with uvicorn it is an answer: `test_sockets`."""
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect(PATH, **offer),
    ):
        pass
    assert caught.value.code == 4401


def test_more_connections_than_a_user_may_have_are_refused(store: Moody) -> None:
    app = build(load(api={"connections_per_user_max": 1}), store)
    with TestClient(app) as client:
        with connected(client):
            with pytest.raises(WebSocketDisconnect) as caught, connected(client):
                pass
            assert caught.value.code == 4429
        # The first is removed by its own task.
        deadline = time.monotonic() + 5
        while len(app.state.hub) and time.monotonic() < deadline:
            time.sleep(0.01)
        with connected(client):
            pass


def test_a_process_that_is_full_says_so(store: Moody) -> None:
    with (
        TestClient(build(load(api={"connections_max": 1}), store)) as client,
        connected(client, "bob"),
    ):
        with pytest.raises(WebSocketDisconnect) as caught, connected(client):
            pass
        assert caught.value.code == 4503


# Requests.


@pytest.mark.parametrize("coding", [None, *codings()])
def test_a_frame_is_answered_in_its_kind(client: TestClient[Any], coding: Coding | None) -> None:
    with connected(client) as socket:
        first = ask(socket, ClientFrame(7, REQUEST), coding).answer
        assert first is not None
        assert (first.path, first.total) == ("full", 2)
        following = ClientFrame(8, SyncRequest(device_id="phone", cursor=first.cursor))
        told = ask(socket, following, coding)
        assert told.id == 8
        assert told.answer is not None
        assert told.answer.path == "delta"


def test_answers_are_compressed_for_who_has_sent_a_compressed_frame(
    client: TestClient[Any],
) -> None:
    plain = pack(ClientFrame(1, REQUEST), Coding.IDENTITY)

    def answer(socket: WebSocketTestSession, frame: bytes) -> bytes:
        socket.send_bytes(frame)
        data = socket.receive(timeout=5).get("bytes")
        assert data is not None
        return data

    with connected(client, "many") as socket:
        size = len(answer(socket, plain))
        for coding in codings():
            packed = bytes((PROTOCOL_VERSION, coding)) + compress(plain[2:], coding)
            for frame in (packed, plain):
                found = answer(socket, frame)
                if coding is not Coding.IDENTITY:
                    assert found[1] == coding
                    assert len(found) < size / 2
        # One that is not what it says proves nothing.
        answer(socket, bytes((PROTOCOL_VERSION, Coding.GZIP)) + plain[2:])
        assert answer(socket, plain)[1] == codings()[-2]


def test_a_frame_without_a_request_is_a_ping(client: TestClient[Any]) -> None:
    with connected(client) as socket:
        assert ask(socket, ClientFrame(3), None) == ServerFrame(id=3)
        assert ask(socket, ClientFrame(4), Coding.IDENTITY) == ServerFrame(id=4)


def test_the_user_is_the_tokens(client: TestClient[Any]) -> None:
    with connected(client, "ann") as socket:
        first = ask(socket, ClientFrame(1, REQUEST), None).answer
        assert first is not None
    with connected(client, "bob") as socket:
        request = SyncRequest(device_id="phone", cursor=first.cursor)
        told = ask(socket, ClientFrame(1, request), None).problem
        assert told is not None
        assert (told.status, told.reason) == (400, "other_user")


def test_a_store_that_is_away_is_a_problem_and_the_connection_stays(
    client: TestClient[Any], store: Moody
) -> None:
    with connected(client) as socket:
        store.error = StoreUnavailable("node 10.0.0.7")
        try:
            told = ask(socket, ClientFrame(1, REQUEST), None).problem
        finally:
            store.error = None
        assert told is not None
        assert (told.status, told.detail) == (503, "")
        assert told.retry_after_ms
        assert ask(socket, ClientFrame(2, REQUEST), None).answer is not None


# Frames that do not fit.


def test_a_frame_that_does_not_fit_is_a_problem_under_its_id(client: TestClient[Any]) -> None:
    with connected(client) as socket:
        for sync in ({}, {"device_id": 7}, {"device_id": "p", "changes_max": 0}, 7, "x"):
            found = problem(socket, json.dumps({"id": 5, "sync": sync}))
            expected = 5 if isinstance(sync, dict) else None
            assert found[:2] == (expected, 400)
        assert "device_id" in problem(socket, '{"id":6,"sync":{}}')[2]
        assert ask(socket, ClientFrame(9, REQUEST), None).answer is not None


@pytest.mark.parametrize("sync", [{"v": 2}, {"v": 2, "device_id": {}}])
def test_another_version_is_told_the_spoken_ones(
    client: TestClient[Any], sync: dict[str, Any]
) -> None:
    with connected(client) as socket:
        socket.send_text(json.dumps({"id": 5, "sync": {"device_id": "p", **sync}}))
        told = receive(socket)
        assert told.id == 5
        assert told.problem is not None
        assert (told.problem.status, told.problem.supported) == (400, (PROTOCOL_VERSION,))


GOOD = pack(ClientFrame(1, REQUEST), Coding.IDENTITY)
BOMB = bytes((PROTOCOL_VERSION, Coding.DEFLATE)) + compress(bytes(10**8), Coding.DEFLATE)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("", 400),
        ("null", 400),
        ("[]", 400),
        ("{}", 400),
        ('{"id":-1}', 400),
        ('{"id":1e400}', 400),
        ("[" * 100_000, 400),
        ("é" * REQUEST_BYTES_MAX, 413),
        (b"", 400),
        (b"\x01", 400),
        (b"\x01\x00", 400),
        (b"\x02\x00" + GOOD[2:], 400),
        (b"\x01\x63" + GOOD[2:], 400),
        (GOOD[:-1], 400),
        (b"\x01\x02" + GOOD[2:], 400),
        (BOMB[: REQUEST_BYTES_MAX - 1], 413),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_hostile_frame_is_a_problem_and_the_connection_stays(
    client: TestClient[Any], data: str | bytes, status: int
) -> None:
    with connected(client) as socket:
        assert problem(socket, data)[:2] == (None, status)
        assert ask(socket, ClientFrame(2), None) == ServerFrame(id=2)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=5,
)
texts = st.fixed_dictionaries(
    {}, optional={"id": values, "sync": values, "coding": values, "x": values}
).map(json.dumps)
frames = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    texts,
    st.binary(max_size=100),
    st.binary(max_size=100).map(lambda data: b"\x01\x00" + data),
    st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
        lambda at: GOOD[: at[0]] + bytes([at[1]]) + GOOD[at[0] + 1 :]
    ),
)


@settings(max_examples=30)
@given(st.lists(frames, max_size=8))
def test_whatever_comes_is_answered(client: TestClient[Any], found: list[str | bytes]) -> None:
    with connected(client) as socket:
        for data in found:
            socket.send_text(data) if isinstance(data, str) else socket.send_bytes(data)
            told = receive(socket)
            if told.problem is not None:
                assert told.problem.status in {400, 413}
        assert ask(socket, ClientFrame(2), None) == ServerFrame(id=2)
