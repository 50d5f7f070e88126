"""What is sent to the API: drawn again from its number, of every kind, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from diffusion.fuzz import frames
from diffusion.fuzz.account import Account, fault
from diffusion.fuzz.asked import BREAKS_OFF, CLOSES, SOCKET, TOO_LONG, Asked, Known
from diffusion.fuzz.line import Line, Outcome
from diffusion.fuzz.requests import draw

SEED = 1
KNOWN = Known("127.0.0.1", "bearer", "cursor", "page", "other", "page2", ("x.y.z",))

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_the_same_number_is_the_same_request() -> None:
    drawn = [draw(SEED, number, KNOWN) for number in range(1_000)]
    assert drawn == [draw(SEED, number, KNOWN) for number in range(1_000)]
    assert {one.closes for one in drawn} == set(CLOSES)
    assert len({one.kind for one in drawn}) == 13


def test_good_requests_are_among_them_and_have_the_token() -> None:
    good = [one for one in (draw(SEED, number, KNOWN) for number in range(1_000)) if one.good]
    assert len(good) > 200
    assert all(b"Bearer bearer\r\n" in one.data for one in good)
    assert any(one.frames for one in good)


@pytest.mark.parametrize(
    ("asked", "outcome", "what"),
    [
        (Asked(b""), Outcome(400), ""),
        (Asked(b""), Outcome(503), "answered 503"),
        (Asked(b""), Outcome(), "closed without an answer"),
        (Asked(b"", BREAKS_OFF), Outcome(), ""),
        (Asked(b"", TOO_LONG), Outcome(), ""),
        (Asked(b"", BREAKS_OFF), Outcome(silent=True), "neither an answer nor a close"),
        (Asked(b"", good=True), Outcome(200), ""),
        (Asked(b"", good=True), Outcome(400), "a good request: 400"),
        (Asked(b"", SOCKET), Outcome(), "a good handshake was not answered"),
        (Asked(b"", SOCKET), Outcome(101, problem=500), "answered 500"),
        (Asked(b"", SOCKET, good=True), Outcome(101, answered=True), ""),
        (
            Asked(b"", SOCKET, good=True),
            Outcome(101, close_code=1002),
            "a good request: 101, closed with 1002",
        ),
    ],
)
def test_what_is_not_in_order_is_named(asked: Asked, outcome: Outcome, what: str) -> None:
    assert fault(asked, outcome) == what


def test_the_account_is_exact() -> None:
    account = Account()
    for number, outcome in enumerate((Outcome(200), Outcome(), Outcome(silent=True), Outcome(101))):
        account.add(SEED, number, Asked(b"", BREAKS_OFF), outcome)
    assert account.exact
    assert account.outcomes == {"200": 1, "closed": 1, "silent": 1, "101, closed with nothing": 1}
    assert account.closed == {BREAKS_OFF: 1}
    assert [one.number for one in account.wrong] == [2]


async def _through(handler: Handler, *asked: Asked) -> list[Outcome]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        line = Line("127.0.0.1", server.sockets[0].getsockname()[1])
        found = [await line.exchange(one) for one in asked]
        line.close()
    return found


ANSWER = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"
ASKED = Asked(b"GET / HTTP/1.1\r\n\r\n")


def test_answers_are_read_and_connections_used_again() -> None:
    peers: set[int] = set()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername")[1])
        for answer in (b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, ANSWER):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    assert asyncio.run(_through(handler, ASKED, ASKED)) == [Outcome(404), Outcome(404)]
    assert len(peers) == 1


def test_a_close_without_an_answer_is_one() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    assert asyncio.run(_through(handler, ASKED)) == [Outcome()]


def test_a_request_that_breaks_off_ends_the_side_of_the_client() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"GET"
        writer.close()

    assert asyncio.run(_through(handler, Asked(b"GET", BREAKS_OFF, ends=True))) == [Outcome()]


def test_a_connection_that_stands_is_listened_to_until_it_ends() -> None:
    def served(opcode: int, payload: bytes) -> bytes:
        return frames.frame(opcode, payload, masked=False)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.readexactly(len(frames.last_ping()))
        writer.write(served(frames.TEXT, b'{"id":99}'))
        writer.write(served(frames.TEXT, b'{"problem":{"status":400,"title":"x"}}'))
        writer.write(served(frames.TEXT, b'{"id":7,"answer":{"path":"delta"}}'))
        writer.write(served(frames.CLOSE, b"\x03\xe8"))
        await reader.read(8)
        writer.close()

    asked = Asked(b"GET / HTTP/1.1\r\n\r\n", SOCKET, good=True)
    (found,) = asyncio.run(_through(handler, asked))
    assert found == Outcome(101, answered=True, problem=400, close_code=1_000)
