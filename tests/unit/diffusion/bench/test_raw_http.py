"""The cheap HTTP client, against a server of a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from diffusion.bench.raw_http import Answer, Connection, request_bytes
from schemas.errors import RetryableError

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nContent-Length: 5\r\n\r\nhello"


async def _served(
    parts: list[bytes], use: Callable[[Connection], Awaitable[list[Answer]]]
) -> tuple[list[Answer], bytes]:
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.read(10_000))
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if parts and parts[-1] == ANSWER:  # and once more on the same connection
            seen.extend(await reader.read(10_000))
            writer.write(ANSWER)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        connection = await Connection.open("127.0.0.1", server.sockets[0].getsockname()[1])
        try:
            return await use(connection), bytes(seen)
        finally:
            connection.close()
            await asyncio.sleep(0.05)


def test_an_answer_in_parts_is_put_together() -> None:
    async def use(connection: Connection) -> list[Answer]:
        return [await connection.exchange(b"x")]

    answers, _ = asyncio.run(_served([ANSWER[:7], ANSWER[7:50], ANSWER[50:]], use))
    assert answers == [Answer(200, b"hello")]


def test_a_connection_is_used_again() -> None:
    async def use(connection: Connection) -> list[Answer]:
        return [await connection.exchange(b"a"), await connection.exchange(b"b")]

    answers, seen = asyncio.run(_served([ANSWER], use))
    assert answers == [Answer(200, b"hello")] * 2
    assert seen == b"ab"


def test_a_line_that_breaks_is_told() -> None:
    async def use(connection: Connection) -> list[Answer]:
        return [await connection.exchange(b"x")]

    with pytest.raises(RetryableError):
        asyncio.run(_served([b"HTTP/1.1 200"], use))


def test_a_request_says_what_it_is() -> None:
    request = request_bytes("/v1/sync", "h:1", "t", b"12", "application/json")
    head, body = request.split(b"\r\n\r\n")
    assert body == b"12"
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/sync HTTP/1.1"
    assert {"Authorization: Bearer t", "Content-Length: 2"} <= set(lines)


def test_headers_of_an_answer_are_read_by_their_names() -> None:
    assert Answer(200, b"", ANSWER.partition(b"\r\n\r\n")[0]).headers == {
        "content-type": "x",
        "content-length": "5",
    }
    request = request_bytes("/v1/sync", "h:1", "t", b"", "x", accept_encoding="zstd, gzip")
    assert b"\r\nAccept-Encoding: zstd, gzip\r\n" in request
