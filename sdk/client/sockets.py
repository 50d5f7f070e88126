"""The connection that pokes, with blocking calls: `/v1/connect` over WebSocket.

A thread of its own reads frames; what they are is `sdk.client.line`'s. `websockets` is imported
with the first connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from schemas.frames import ServerFrame
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import limits
from sdk.client.errors import AuthError, ClientError, NetworkError
from sdk.client.line import Line, connect_options, dialling, writing
from sdk.client.tokens import Tokens
from sdk.client.traffic import Counted
from sdk.client.transport import Signal
from sdk.client.wire import answer_in, connect_url

if TYPE_CHECKING:
    import ssl

    from websockets.sync.client import ClientConnection


class SocketConnection(Counted):
    """One connection at a time; after `close`, or its end, `open` makes another."""

    def __init__(
        self,
        url: str,
        tokens: Tokens,
        *,
        seconds: float = limits.SECONDS_PER_REQUEST_DEFAULT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self._tls = tls
        self._url = connect_url(url)
        self._tokens = tokens
        self._seconds = seconds
        self._line: _SocketLine | None = None

    def open(self, on_signal: Callable[[Signal], None]) -> None:
        """Connect; `on_signal` is called by the reading thread. Raises `ClientError`."""
        self.close()
        token, new = self._tokens.present()
        try:
            socket = self._dial(token)
        except AuthError:
            if not self._tokens.refused() or new:
                raise
            socket = self._dial(self._tokens.present()[0])
        self._line = _SocketLine(socket, self._spend, on_signal, self._tokens, self._seconds)

    def send(self, request: SyncRequest) -> SyncResponse:
        """Send a request and wait for its answer."""
        if self._line is None:
            raise NetworkError("the connection is not open")
        return answer_in(self._line.ask(request))

    def close(self) -> None:
        """Close the connection."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _dial(self, token: str) -> ClientConnection:
        from websockets.sync.client import connect

        with dialling(self._url):
            dialled: Any = connect(self._url, **connect_options(token, self._tls))
            socket: ClientConnection = dialled.__enter__()
        return socket


class _SocketLine(Line):
    """A line with an open socket, and the thread that reads it."""

    def __init__(
        self,
        socket: ClientConnection,
        spend: Callable[..., None],
        on_signal: Callable[[Signal], None],
        tokens: Tokens,
        seconds: float,
    ) -> None:
        super().__init__(socket.protocol, spend, on_signal, tokens, seconds)
        self._socket = socket
        self._closing = False
        self._write(self.hello())
        self._reader = threading.Thread(target=self._read, name="sync-connection", daemon=True)
        self._reader.start()

    def ask(self, request: SyncRequest) -> ServerFrame:
        began_s = time.monotonic()
        try:
            with self.question(request) as (data, answer):
                self._write(data)
                while not answer.done():
                    with contextlib.suppress(TimeoutError):
                        answer.exception(self.left_s(began_s))
                return answer.result()
        except NetworkError:
            self._cut()  # who is written off is not said goodbye to, which takes a second
            self.close()
            raise

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(Exception):
            self._socket.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(limits.SECONDS_TO_CLOSE)

    def _write(self, data: bytes) -> None:
        """Send; a line that takes nothing for too long is cut, which ends the sending."""
        self._spend(up=len(data))
        timer = threading.Timer(self._seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            with writing():
                self._socket.send(data)
        finally:
            timer.cancel()

    def _cut(self) -> None:
        """End the line at once: whoever reads, writes or closes it goes on. The socket's own method
        and not that of TLS, which would write.
        """
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket.socket, socket.SHUT_RDWR)

    def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                try:
                    data = self._socket.recv(timeout=limits.SILENCE_SECONDS_MAX)
                except TimeoutError:
                    if self.is_silent():
                        raise
                    continue
                self.take(data)
        except (ConnectionClosed, OSError, ClientError) as error:
            self.end(error)
            self._cut()
            with contextlib.suppress(Exception):
                self._socket.close()
            if not self._closing:
                self._on_signal(Signal(poke=False))
