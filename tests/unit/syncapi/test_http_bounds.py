"""What is no request gets a problem document as well, and a bound, before any handler is asked."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import msgspec
import pytest

from infra.settings import Settings
from schemas.frames import PROBLEM_TYPE, Problem
from syncapi.http_bounds import HEAD_BYTES_MAX
from tests.unit.syncapi.test_sockets import Gate, Running, wait

GOOD = b'{"device_id":"phone"}'


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(Gate(), Settings()) as running:
        yield running


def dial(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def head(server: Running, *more: str) -> bytes:
    lines = ("POST /v1/sync HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token()}", *more)
    return "\r\n".join((*lines, "", "")).encode()


def send(line: socket.socket, data: bytes) -> None:
    """Send for as long as the other side listens."""
    try:
        line.sendall(data)
    except OSError:
        return


def answer(line: socket.socket) -> tuple[int, str, bytes]:
    """Status, head and body of the next answer."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = line.recv(65_536)
        assert more, got
        got += more
    text, _, body = got.partition(b"\r\n\r\n")
    length = next(
        int(one.partition(b":")[2])
        for one in text.lower().split(b"\r\n")
        if one.startswith(b"content-length")
    )
    while len(body) < length:
        body += line.recv(65_536)
    return int(text.split()[1]), text.decode().lower(), body


def is_closed(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def refusal(line: socket.socket, status: int) -> Problem:
    found, text, body = answer(line)
    assert found == status
    assert f"content-type: {PROBLEM_TYPE}" in text
    problem = msgspec.json.decode(body, type=Problem)
    assert problem.status == status
    assert problem.title
    assert problem.detail
    return problem


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/sync HTTP/9.9\r\n\r\n",
        b"POST /v1/sync HTTP/1.1\r\nNo colon\r\n\r\n",
        b"POST /v1/sync HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/sync HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda data: repr(data)[:40],
)
def test_what_is_no_http_is_a_problem(server: Running, data: bytes) -> None:
    with dial(server) as line:
        send(line, data)
        refusal(line, 400)
        assert is_closed(line)


@pytest.mark.parametrize("unit", [b"a", b"a: b\r\n"], ids=["one header", "many headers"])
def test_a_head_without_end_is_refused(server: Running, unit: bytes) -> None:
    with dial(server) as line:
        send(line, head(server)[:-2] + b"X-Long: ")
        for _ in range(4):
            send(line, unit * (HEAD_BYTES_MAX // 2 // len(unit)))
        refusal(line, 431)
        assert is_closed(line)


def test_trailers_without_end_are_cut_off(server: Running) -> None:
    with dial(server) as line:
        send(line, head(server, "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\n")
        for _ in range(40):
            send(line, b"a: b\r\n" * (HEAD_BYTES_MAX // 2 // 6))
        assert answer(line)[0] in {400, 431}
        assert is_closed(line)


def test_answers_to_a_client_that_went_away_leave_no_trace(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn tells the last request of a connection that it is lost, and not those before."""
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    lines = server.server.server_state.connections
    wait(lambda: not lines)
    server.store.open.clear()
    with dial(server) as line:
        send(line, 2 * (head(server, "Content-Length: 21") + GOOD))
        wait(lambda: any(one.pipeline for one in lines))
    wait(lambda: not lines)
    server.store.open.set()
    wait(lambda: not server.server.server_state.tasks)
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def test_honest_requests_of_any_length_share_a_connection(server: Running) -> None:
    long = GOOD[:-1] + b',"new":"' + b"x" * 100_000 + b'"}'
    with dial(server) as line:
        for body in (GOOD, long, GOOD, long):
            length = f"Content-Length: {len(body)}"
            for _ in range(HEAD_BYTES_MAX // 30_000 + 1):
                line.sendall(head(server, length, "X-Long: " + "a" * 30_000))
                line.sendall(body)
                assert answer(line)[0] == 200
