"""A client of HTTP/1.1 that costs next to nothing: bytes made before, answers by their length.

For benchmarks in which client and server share the cores. One request at a time on a connection;
answers must have a `Content-Length`, as those of the API do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Self, cast

from schemas.errors import RetryableError

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body as they came. `head` has what stands above the body, unread."""

    status: int
    body: bytes
    head: bytes = field(default=b"", compare=False)

    @property
    def headers(self) -> dict[str, str]:
        """Headers by their names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        parted = (line.partition(":") for line in lines)
        return {name.strip().lower(): value.strip() for name, _, value in parted}


def request_bytes(
    path: str, host: str, token: str, body: bytes, content_type: str, *, accept_encoding: str = ""
) -> bytes:
    """A POST as it goes over the line; asks for an answer of the same type, and uncompressed unless
    `accept_encoding` says otherwise.
    """
    codings = f"Accept-Encoding: {accept_encoding}\r\n" if accept_encoding else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {content_type}\r\nAccept: {content_type}\r\n{codings}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection, kept alive until `close`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect; raises `OSError`."""
        _, protocol = await asyncio.get_running_loop().create_connection(cls, host, port)
        return protocol

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and wait for its answer; raises `RetryableError` if the line breaks."""
        assert self._waiting is None, "one request at a time"
        if self._transport is None or self._transport.is_closing():
            raise RetryableError("The connection is closed.")
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._transport.write(request)
        try:
            return await waiting
        finally:
            self._waiting = None

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

    # Of asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # Not asserted: those of uvloop are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._received += data
        end = self._received.find(_END)
        if end < 0:
            return
        body_at = end + len(_END)
        body_to = body_at + _length(bytes(self._received[:end]))
        if len(self._received) < body_to:
            return
        status = int(self._received[9:12])
        body, head = bytes(self._received[body_at:body_to]), bytes(self._received[:end])
        answer = Answer(status, body, head)
        del self._received[:body_to]
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; who waits is told."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(RetryableError(f"The connection was lost: {exc}"))


def _length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.index(_LENGTH) + len(_LENGTH)
    return int(lowered[at:].split(b"\r\n", 1)[0])
