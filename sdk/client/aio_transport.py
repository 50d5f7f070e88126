"""How a request reaches the server without blocking: HTTP, and the connection that pokes.

The ports are those of `sdk.client.transport` with `await`; what travels is written and read by
`sdk.client.wire`, as there. One task reads the connection's frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, Protocol

import httpx

from schemas.frames import ServerFrame
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import limits
from sdk.client.errors import AuthError, ClientError, NetworkError
from sdk.client.line import Line, connect_options, dialling, writing
from sdk.client.tokens import AsyncTokens, TokenSource
from sdk.client.traffic import Counted, Traffic
from sdk.client.transport import NEEDLESS, Signal, check_room, format_of, not_reached, options
from sdk.client.wire import (
    SYNC_PATH,
    answer_in,
    answer_of,
    body_of,
    check_url,
    connect_url,
    fixed_headers,
)

if TYPE_CHECKING:
    import ssl

    from websockets.asyncio.client import ClientConnection


class AsyncTransport(Protocol):
    """Carries a request to the server and its answer back."""

    @property
    def traffic(self) -> Traffic:
        """What went over the wire until now."""

    async def send(self, request: SyncRequest) -> SyncResponse:
        """Send and wait for the answer; raises `ClientError` and its kinds only."""

    async def close(self) -> None:
        """Let go of connections. Never raises."""


class AsyncConnection(AsyncTransport, Protocol):
    """A transport that stands, and over which the server speaks, too."""

    async def open(self, on_signal: Callable[[Signal], None]) -> None:
        """Connect; raises `ClientError`. `on_signal` is called in the loop."""


class AsyncHttpTransport(Counted):
    """`POST {url}/v1/sync`; see `HttpTransport`. `wire` is an `httpx.AsyncBaseTransport`."""

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        encoding: Literal["msgpack", "json"] = "msgpack",
        seconds: float = limits.SECONDS_PER_REQUEST_DEFAULT,
        wire: httpx.AsyncBaseTransport | None = None,
        on_token: Callable[[str], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self._url = check_url(url) + SYNC_PATH
        self.tokens = AsyncTokens(token, on_token)
        self._format = format_of(encoding)
        self._client = httpx.AsyncClient(
            headers=fixed_headers(self._format), transport=wire, **options(seconds, tls)
        )
        for name in NEEDLESS:
            del self._client.headers[name]

    async def send(self, request: SyncRequest) -> SyncResponse:
        """Send a request and decode its answer; once more, with a new token, if one is refused."""
        token, new = await self.tokens.present()
        status, headers, body = await self._exchange(*body_of(request, self._format, token))
        if status == HTTPStatus.UNAUTHORIZED and self.tokens.refused() and not new:
            token, _ = await self.tokens.present()
            status, headers, body = await self._exchange(*body_of(request, self._format, token))
            if status == HTTPStatus.UNAUTHORIZED:
                self.tokens.refused()
        return answer_of(status, headers, body, self._format)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _exchange(
        self, content: bytes, headers: dict[str, str]
    ) -> tuple[int, httpx.Headers, bytes]:
        self._spend(up=len(content))
        try:
            async with self._client.stream(
                "POST", self._url, content=content, headers=headers
            ) as got:
                self._spend(trips=1)
                body = bytearray()
                try:
                    async for chunk in got.aiter_raw():
                        body += chunk
                        check_room(len(body))
                finally:
                    self._spend(down=got.num_bytes_downloaded)
                return got.status_code, got.headers, bytes(body)
        except httpx.RequestError as error:
            raise not_reached(self._url, error) from error


class AsyncSocketConnection(Counted):
    """`/v1/connect`; see `sdk.client.sockets.SocketConnection`."""

    def __init__(
        self,
        url: str,
        tokens: AsyncTokens,
        *,
        seconds: float = limits.SECONDS_PER_REQUEST_DEFAULT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self._tls = tls
        self._url = connect_url(url)
        self._tokens = tokens
        self._seconds = seconds
        self._line: _TaskLine | None = None

    async def open(self, on_signal: Callable[[Signal], None]) -> None:
        """Connect; with a new token, if the present one is refused."""
        await self.close()
        token, new = await self._tokens.present()
        try:
            socket = await self._dial(token)
        except AuthError:
            if not self._tokens.refused() or new:
                raise
            socket = await self._dial((await self._tokens.present())[0])
        self._line = _TaskLine(socket, self._spend, on_signal, self._tokens, self._seconds)
        await self._line.begin()

    async def send(self, request: SyncRequest) -> SyncResponse:
        """Send a request and wait for its answer."""
        if self._line is None:
            raise NetworkError("the connection is not open")
        return answer_in(await self._line.ask(request))

    async def close(self) -> None:
        """Close the connection."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def _dial(self, token: str) -> ClientConnection:
        from websockets.asyncio.client import connect

        with dialling(self._url):
            return await connect(self._url, **connect_options(token, self._tls))


class _TaskLine(Line):
    """A line with an open socket, and the task that reads it."""

    def __init__(
        self,
        socket: ClientConnection,
        spend: Callable[..., None],
        on_signal: Callable[[Signal], None],
        tokens: AsyncTokens,
        seconds: float,
    ) -> None:
        super().__init__(socket.protocol, spend, on_signal, tokens, seconds)
        self._socket = socket
        self._reader: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self._write(self.hello())
        self._reader = asyncio.create_task(self._read(), name="sync-connection")

    async def ask(self, request: SyncRequest) -> ServerFrame:
        began_s = time.monotonic()
        try:
            with self.question(request) as (data, answer):
                await self._write(data)
                came = asyncio.wrap_future(answer)
                while not came.done():
                    await asyncio.wait({came}, timeout=self.left_s(began_s))
                return came.result()
        except NetworkError:
            self._socket.transport.abort()  # who is written off is not said goodbye to
            await self.close()
            raise

    async def close(self) -> None:
        try:
            if self._reader is not None and self._reader is not asyncio.current_task():
                self._reader.cancel()
                await asyncio.gather(self._reader, return_exceptions=True)
            with contextlib.suppress(Exception):
                await self._socket.close()
        except BaseException:
            self._socket.transport.abort()
            raise

    async def _write(self, data: bytes) -> None:
        self._spend(up=len(data))
        with writing():
            async with asyncio.timeout(self._seconds):
                await self._socket.send(data)

    async def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                try:
                    async with asyncio.timeout(limits.SILENCE_SECONDS_MAX):
                        data: Any = await self._socket.recv()
                except TimeoutError:
                    if self.is_silent():
                        raise
                    continue
                self.take(data)
        except (ConnectionClosed, OSError, ClientError) as error:
            self.end(error)
            self._on_signal(Signal(poke=False))
            with contextlib.suppress(Exception):
                await self._socket.close()
