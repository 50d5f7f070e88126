"""A client that sends bytes as they are, over one connection, and says what became of them.

Interim answers are passed over. A connection is used again as long as both sides are in step.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import msgspec

from diffusion.fuzz import frames
from diffusion.fuzz.asked import SOCKET, Asked
from schemas.encoding import Coding, Format, decode, decompress
from schemas.errors import DiffusionError
from schemas.frames import ServerFrame
from schemas.limits import ANSWER_BYTES_MAX

ANSWER_S: Final = 30.0
"""Longer than the server waits for a head. Who has no answer and no close by then has none."""

QUIET_S: Final = 2.0
"""A connection on which nothing comes for so long is ended by the client."""

SWITCHING: Final = 101
OK: Final = 200
INTERNAL: Final = 500
HEAD_BYTES_MAX: Final = 2**20


class Outcome(NamedTuple):
    """What became of a request. `status` None: closed without an answer, or (`silent`) neither.

    Of a connection that stood: whether the good request in it was `answered`, and the greatest
    status of a problem.
    """

    status: int | None = None
    silent: bool = False
    answered: bool = False
    problem: int = 0
    close_code: int | None = None

    @property
    def name(self) -> str:
        """The line of the account that it is counted in."""
        if self.silent:
            return "silent"
        if self.status is None:
            return "closed"
        if self.status == SWITCHING:
            return f"{SWITCHING}, closed with {self.close_code or 'nothing'}"
        return str(self.status)


class Line:
    """One client, with one connection at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.opened = 0
        self.again = 0
        """Requests sent once more, because a connection that had been used was closed meanwhile."""

    async def exchange(self, asked: Asked) -> Outcome:
        """Send a request, and wait for what becomes of it."""
        if asked.closes:
            self.close()
        used = self._writer is not None
        outcome = await self._exchange(asked)
        if used and outcome.status is None and not outcome.silent:
            # Closed before it came, perhaps: as every client, ask once more on a new connection.
            self.again += 1
            outcome = await self._exchange(asked)
        return outcome

    def close(self) -> None:
        """Cut the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    async def _exchange(self, asked: Asked) -> Outcome:
        keep = False
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await self._connection()
                writer.write(asked.data)
                if asked.ends and asked.closes != SOCKET:
                    writer.write_eof()
                status, keep = await _answer(reader, head_only=asked.head_only)
                if status == SWITCHING and asked.closes == SOCKET:
                    return await _Standing(reader, writer, asked).run()
                return Outcome(status)
        except TimeoutError:
            keep = False
            return Outcome(silent=True)
        except (OSError, EOFError, ValueError):
            keep = False
            return Outcome()
        finally:
            if not keep or asked.ends or asked.closes:
                self.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, limit=HEAD_BYTES_MAX
            )
            self.opened += 1
        return self._reader, self._writer


async def _answer(reader: asyncio.StreamReader, *, head_only: bool) -> tuple[int, bool]:
    """Status of the next answer, and whether the connection may be used again."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        if status >= OK or status == SWITCHING:
            break
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    keep = headers.get(b"connection") != b"close" and status != SWITCHING
    if head_only or status in {SWITCHING, 204, 304}:
        return status, keep
    if b"content-length" in headers:
        await reader.readexactly(int(headers[b"content-length"]))
    else:
        await reader.read()
        keep = False
    return status, keep


class _Standing:
    """A connection that stands, until it ends."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._asked = asked
        self._outcome = Outcome(SWITCHING)
        self._heard_last = False
        self._ended = False

    async def run(self) -> Outcome:
        """Send frames, listen until the last ping is answered or the other side ends, and end."""
        self._say(self._asked.frames)
        if self._asked.ends:
            self._end()
        self._say(frames.last_ping())
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    opcode, payload = await _frame(self._reader)
            except TimeoutError:
                self._end()  # what was sent last waits for more of it
            except (OSError, EOFError):
                return self._outcome
            else:
                self._hear(opcode, payload)

    def _hear(self, opcode: int, payload: bytes) -> None:
        outcome = self._outcome
        if opcode == frames.CLOSE:
            self._outcome = outcome._replace(close_code=int.from_bytes(payload[:2]) or None)
            self._say(frames.frame(frames.CLOSE, payload[:2]))
        told = _told(opcode, payload)
        if told is None:
            return
        status = 0 if told.problem is None else told.problem.status
        answered = told.id == frames.GOOD_ID and told.answer is not None
        self._outcome = outcome._replace(
            problem=max(outcome.problem, status), answered=outcome.answered or answered
        )
        self._heard_last = self._heard_last or told.id == frames.LAST_ID
        if self._heard_last and self._outcome.answered >= self._asked.good:
            self._say(frames.frame(frames.CLOSE, b"\x03\xe8"))

    def _say(self, data: bytes) -> None:
        if not self._ended:
            self._writer.write(data)

    def _end(self) -> None:
        if not self._ended:
            self._writer.write_eof()
        self._ended = True


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, size = await reader.readexactly(2)
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8))
    return first & 15, await reader.readexactly(size)


def _told(opcode: int, payload: bytes) -> ServerFrame | None:
    """Read what the server says; raises `ValueError` for what is none of its frames."""
    try:
        if opcode == frames.TEXT:
            return decode(payload, ServerFrame, Format.JSON)
        if opcode == frames.BINARY:
            plain = decompress(payload[2:], Coding(payload[1]), ANSWER_BYTES_MAX)
            return decode(plain, ServerFrame, Format.MSGPACK)
    except (DiffusionError, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error
    return None
