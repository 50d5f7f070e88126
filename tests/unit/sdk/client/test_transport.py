"""HTTP against a real server on this machine, one answer at a time."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable, Iterator

import httpx
import msgspec
import pytest

from schemas.encoding import Coding, codings, compress
from schemas.protocol import Correction, KeyRange, RangeRows, SyncRequest, SyncResponse
from sdk.client.errors import (
    AuthError,
    ClientError,
    InvalidAnswerError,
    NetworkError,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
)
from sdk.client.traffic import Traffic
from sdk.client.transport import HttpTransport
from tests.unit.sdk.client.http_server import Server
from tests.unit.sdk.client.support import delta, entry

REQUEST = SyncRequest("phone", cursor="c1")
ANSWER = delta(entry("sg_1", 2, 3), cursor="c2")
JSON = {"Content-Type": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(200, JSON, msgspec.json.encode(ANSWER)) as server:
        yield server


@pytest.fixture
def wire(server: Server) -> Iterator[HttpTransport]:
    transport = HttpTransport(server.url, "t0ken")
    yield transport
    transport.close()


def test_a_request_is_a_post_of_messagepack_with_the_token(
    server: Server, wire: HttpTransport
) -> None:
    server.answer = (200, MSGPACK, msgspec.msgpack.encode(ANSWER))
    assert wire.send(REQUEST) == ANSWER
    ((path, headers, body),) = server.seen
    assert path == "/v1/sync"
    assert msgspec.msgpack.decode(body, type=SyncRequest) == REQUEST
    assert headers["authorization"] == "Bearer t0ken"
    assert headers["content-type"] == "application/msgpack"
    assert "accept" not in headers, "the answer comes in the form of the request"
    assert headers["accept-encoding"] in {"zstd, deflate, gzip", "deflate, gzip"}
    assert "content-encoding" not in headers


def test_json_for_people(server: Server) -> None:
    transport = HttpTransport(server.url, "t", encoding="json")
    assert transport.send(REQUEST) == ANSWER
    transport.close()
    ((_, headers, body),) = server.seen
    assert msgspec.json.decode(body, type=SyncRequest) == REQUEST
    assert headers["content-type"] == "application/json"
    assert "accept" not in headers
    with pytest.raises(ValueError, match="no encoding"):
        HttpTransport(server.url, "t", encoding="xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/X-MsgPack", ""])
def test_an_answer_is_read_as_what_it_says_it_is(
    server: Server, wire: HttpTransport, media: str
) -> None:
    encoder = msgspec.json if "json" in media else msgspec.msgpack
    server.answer = (200, {"Content-Type": media}, encoder.encode(ANSWER))
    assert wire.send(REQUEST) == ANSWER


def test_a_long_request_is_compressed(server: Server, wire: HttpTransport) -> None:
    ranges = tuple(RangeRows(KeyRange(12, n), bytes(40)) for n in range(100))
    request = SyncRequest("phone", cursor="c1", correct=Correction(listed=ranges))
    wire.send(request)
    ((_, headers, body),) = server.seen
    assert headers["content-encoding"] == "deflate"
    assert msgspec.msgpack.decode(zlib.decompress(body), type=SyncRequest) == request
    assert wire.traffic.bytes_up == len(body) < 1_000


def test_the_path_follows_the_address(server: Server) -> None:
    transport = HttpTransport(server.url + "/im/", "t")
    transport.send(REQUEST)
    transport.close()
    assert server.seen[0][0] == "/im/v1/sync"


def test_one_connection_serves_all_requests(server: Server, wire: HttpTransport) -> None:
    for _ in range(3):
        wire.send(REQUEST)
    server.answer = (500, {}, b"")
    for _ in range(3):
        with pytest.raises(ServerError):
            wire.send(REQUEST)
    assert server.connections == 1
    wire.close()
    server.answer = (200, JSON, msgspec.json.encode(ANSWER))
    wire.send(REQUEST)
    assert server.connections == 2


def test_a_token_is_asked_for_once_and_again_when_it_is_refused(server: Server) -> None:
    tokens = iter(["one", "two", "three"])
    told: list[str] = []
    transport = HttpTransport(server.url, lambda: next(tokens), on_token=told.append)
    transport.send(REQUEST)
    transport.send(REQUEST)
    server.answer = (401, {}, b"")
    with pytest.raises(AuthError):
        transport.send(REQUEST)
    assert next(tokens, None) == "three", "a token that was just given is not asked for again"
    transport.close()
    sent = [seen[1]["authorization"] for seen in server.seen]
    assert sent == ["Bearer one", "Bearer one", "Bearer one", "Bearer two"]
    assert told == ["one", "two"]


@pytest.mark.parametrize("token", ["", "with space", "end\r\nX-Other: 1", "t\u00f6ken"])
def test_a_token_that_is_none_is_not_sent_and_not_quoted(server: Server, token: str) -> None:
    transport = HttpTransport(server.url, token)
    with pytest.raises(AuthError) as caught:
        transport.send(REQUEST)
    transport.close()
    assert server.seen == []
    assert not token or token not in str(caught.value)
    assert transport.traffic == Traffic()


@pytest.mark.parametrize("coding", [one for one in codings() if one], ids=lambda c: c.token)
def test_bytes_are_counted_as_they_travel(
    server: Server, wire: HttpTransport, coding: Coding
) -> None:
    many = delta(*(entry(f"sg_{n}", 2, 3) for n in range(500)), cursor="c2")
    plain = msgspec.json.encode(many)
    packed = compress(plain, coding)
    server.answer = (200, {**JSON, "Content-Encoding": coding.token}, packed)
    assert wire.send(REQUEST) == many
    up = len(msgspec.msgpack.encode(REQUEST))
    assert wire.traffic == Traffic(round_trips=1, bytes_up=up, bytes_down=len(packed))
    assert len(packed) < len(plain)
    server.answer = (503, {}, b"busy")
    with pytest.raises(ServerBusyError):
        wire.send(REQUEST)
    assert wire.traffic.since(Traffic(1, up, len(packed))) == Traffic(1, up, 4)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, InvalidAnswerError),
        (302, InvalidAnswerError),
        (400, RequestRefusedError),
        (401, AuthError),
        (403, AuthError),
        (404, RequestRefusedError),
        (410, RequestRefusedError),
        (429, ServerBusyError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerBusyError),
    ],
)
def test_statuses_become_errors(
    server: Server, wire: HttpTransport, status: int, kind: type[ClientError]
) -> None:
    body = b"" if status == 204 else b'{"title": "why", "status": 1, "detail": "because"}'
    headers = {"Content-Type": "application/problem+json", "Location": "/elsewhere"}
    server.answer = (status, headers, body)
    with pytest.raises(kind) as caught:
        wire.send(REQUEST)
    assert type(caught.value) is kind
    assert len(server.seen) == 1, "neither repeated nor redirected"


def test_retry_after_reaches_the_caller(server: Server, wire: HttpTransport) -> None:
    server.answer = (429, {"Retry-After": "12"}, b"")
    with pytest.raises(ServerBusyError) as caught:
        wire.send(REQUEST)
    assert caught.value.retry_after_seconds == 12.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"path": "sideways", "cursor": "c"}',
        b'{"path": "delta", "v": "2", "cursor": "c"}',
        b'{"path": "delta", "cursor": "\xff"}',
        b'{"path": "delta", "cursor": "\\ud800"}',
        b'{"path": "delta", "conversations": [{"conversation_id": "a", "version": "1"}]}',
        b'{"path": "delta", "conversations": [{"conversation_id": "a", "version": 1.5}]}',
        b'{"path": "full", "reason": "boredom"}',
        b'{"x": ' + b"[" * 200_000,
    ],
)
def test_an_answer_that_cannot_be_read_says_so(
    server: Server, wire: HttpTransport, body: bytes
) -> None:
    server.answer = (200, JSON, body)
    with pytest.raises(InvalidAnswerError, match="cannot be read"):
        wire.send(REQUEST)


def test_unknown_fields_of_a_newer_server_are_ignored(server: Server, wire: HttpTransport) -> None:
    server.answer = (200, JSON, b'{"path": "delta", "cursor": "c2", "news": [1]}')
    assert wire.send(REQUEST) == SyncResponse("delta", cursor="c2")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_what_cannot_be_unpacked_says_so(server: Server, wire: HttpTransport, coding: str) -> None:
    server.answer = (200, {"Content-Encoding": coding}, b"not packed at all")
    with pytest.raises(InvalidAnswerError, match="cannot be read"):
        wire.send(REQUEST)
    server.answer = (503, {"Content-Encoding": coding}, b"not packed at all")
    with pytest.raises(ServerBusyError, match="Service Unavailable"):
        wire.send(REQUEST)


def test_a_coding_that_was_not_asked_for_says_so(server: Server, wire: HttpTransport) -> None:
    for coding in ("br", "gzip, deflate"):
        server.answer = (200, {**JSON, "Content-Encoding": coding}, b"x")
        with pytest.raises(InvalidAnswerError, match="not known here"):
            wire.send(REQUEST)
        server.answer = (503, {"Content-Encoding": coding}, b"x")
        with pytest.raises(ServerBusyError, match="Service Unavailable"):
            wire.send(REQUEST)


def test_a_packed_problem_document_is_read(server: Server, wire: HttpTransport) -> None:
    problem = b'{"status": 400, "title": "t", "reason": "unreadable"}'
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/problem+json"}
    server.answer = (400, headers, gzip.compress(problem))
    with pytest.raises(RequestRefusedError) as caught:
        wire.send(REQUEST)
    assert caught.value.problem.reason == "unreadable"


@pytest.mark.parametrize("coding", codings(), ids=lambda c: c.token)
def test_an_answer_without_end_is_not_held_in_memory(
    server: Server, wire: HttpTransport, monkeypatch: pytest.MonkeyPatch, coding: Coding
) -> None:
    monkeypatch.setattr("sdk.client.transport.ANSWER_BYTES_MAX", 10_000)
    monkeypatch.setattr("sdk.client.wire.ANSWER_BYTES_MAX", 10_000)
    headers = {"Content-Encoding": coding.token} if coding else {}
    server.answer = (200, headers, compress(b" " * 10_001, coding))
    with pytest.raises(InvalidAnswerError, match="larger than 10,000"):
        wire.send(REQUEST)


def test_an_answer_that_breaks_off_is_a_network_error(server: Server, wire: HttpTransport) -> None:
    server.answer = (200, {"Content-Length": "5000", "Connection": "close"}, b'{"path": ')
    with pytest.raises(NetworkError):
        wire.send(REQUEST)
    server.answer = (200, JSON, msgspec.json.encode(ANSWER))
    assert wire.send(REQUEST) == ANSWER


def test_a_server_that_is_not_there_is_a_network_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        transport = HttpTransport(f"http://127.0.0.1:{free.getsockname()[1]}", "t")
        with pytest.raises(NetworkError, match="was not reached"):
            transport.send(REQUEST)
        transport.close()
    assert transport.traffic.round_trips == 0


def test_a_server_that_says_nothing_is_a_network_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        transport = HttpTransport(f"http://127.0.0.1:{port}", "t", seconds=0.05)
        with pytest.raises(NetworkError, match="was not reached"):
            transport.send(REQUEST)
        transport.close()


class Raising(httpx.BaseTransport):
    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        del request
        raise self.error()


def kinds_of(root: type[httpx.RequestError]) -> Iterator[type[httpx.RequestError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds_of(kind)


@pytest.mark.parametrize("kind", list(kinds_of(httpx.RequestError)), ids=lambda k: k.__name__)
def test_no_error_of_the_http_library_gets_through(kind: type[httpx.RequestError]) -> None:
    transport = HttpTransport("http://host", "t", wire=Raising(lambda: kind("no")))
    with pytest.raises(ClientError):
        transport.send(REQUEST)
    transport.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "im.example",
        "ftp://im.example",
        "http://",
        "http://:80",
        "http://[::1",
        "http://h:x",
        "http://h:99999",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="not the address"):
        HttpTransport(url, "t")
