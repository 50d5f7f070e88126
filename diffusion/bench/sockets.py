"""A client of the persistent connection for benchmarks: small, many to a process, text frames.

`websockets` speaks the protocol, without compression; what it costs must not be what is measured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.uri import parse_uri

from schemas.errors import RetryableError
from schemas.frames import ClientFrame, ServerFrame
from schemas.limits import ANSWER_BYTES_MAX
from schemas.protocol import SyncRequest, SyncResponse

CONNECT_TIMEOUT_S: Final = 20.0
ANSWER_TIMEOUT_S: Final = 30.0

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(ServerFrame)


class Lost(RetryableError):
    """The connection was refused or ended."""


class Socket(asyncio.Protocol):
    """One connection; `on_poke` is called with every poke."""

    def __init__(self, url: str, token: str, on_poke: Callable[[], None]) -> None:
        self._protocol = ClientProtocol(parse_uri(url), max_size=ANSWER_BYTES_MAX)
        self._token = token
        self._on_poke = on_poke
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers: dict[int, asyncio.Future[ServerFrame]] = {}
        self._last_id = 0

    @classmethod
    async def open(
        cls, host: str, port: int, token: str, on_poke: Callable[[], None] = lambda: None
    ) -> Socket:
        """Connect; raises `Lost` when it is refused."""
        socket = cls(f"ws://{host}:{port}/v1/connect", token, on_poke)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(lambda: socket, host, port)
                await socket._opened
        except (OSError, TimeoutError) as error:
            raise Lost(f"The connection did not come about: {error!r}.") from error
        return socket

    async def sync(self, request: SyncRequest) -> SyncResponse:
        """Ask and wait for the answer; raises `Lost` for a problem too."""
        self._last_id += 1
        answer = asyncio.get_running_loop().create_future()
        self._answers[self._last_id] = answer
        self._protocol.send_text(_encoder.encode(ClientFrame(self._last_id, request)))
        self._flush()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            told: ServerFrame = await answer
        if told.answer is None:
            raise Lost(f"The server has no answer: {told.problem}.")
        return told.answer

    def close(self) -> None:
        """Cut it."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {self._token}"
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._answered(event)
            elif isinstance(event, Frame) and event.opcode in {1, 2}:
                self._take(_decoder.decode(event.data))
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail whoever waits."""
        lost = Lost(f"The connection ended: {error or self._protocol.close_rcvd}.")
        if not self._opened.done():
            self._opened.set_exception(lost)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(lost)

    @property
    def stands(self) -> bool:
        """Whether it is open."""
        return self._transport is not None and not self._transport.is_closing()

    def _answered(self, response: Response) -> None:
        if self._opened.done():
            return
        refused: InvalidHandshake | Exception | None = self._protocol.handshake_exc
        if refused is None:
            self._opened.set_result(None)
        else:
            told = (response.body or b"").decode(errors="replace")
            self._opened.set_exception(Lost(f"The connection was refused: {refused} {told}"))

    def _take(self, frame: ServerFrame) -> None:
        if frame.poke:
            self._on_poke()
        elif frame.id is not None and (answer := self._answers.pop(frame.id, None)) is not None:
            answer.set_result(frame)

    def _flush(self) -> None:
        assert self._transport is not None
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()
