"""The connection that pokes, with blocking calls: `/v1/connect` over WebSocket.

A thread of its own reads frames: an answer goes to who waits for it, a poke, a drain or the end to
`on_signal`. `websockets` is imported with the first connection.

What counts as dead is silence, not slowness: the time of the last byte is noted as it arrives,
inside of frames too. The server pings every 45 seconds, so a line that is silent for longer is cut.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from schemas.frames import ServerFrame
from schemas.limits import ANSWER_BYTES_MAX
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import limits
from sdk.client.errors import AuthError, ClientError, NetworkError
from sdk.client.tokens import Tokens
from sdk.client.traffic import Traffic
from sdk.client.transport import Signal, not_reached
from sdk.client.wire import CONNECT_PATH, Frames, answer_in, check_url, refusal_of

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection


def connect_options(token: str) -> dict[str, Any]:
    """Options of both WebSocket clients."""
    return {
        "additional_headers": {"Authorization": f"Bearer {token}"},
        "compression": None,  # frames are compressed inside
        "open_timeout": limits.SECONDS_TO_CONNECT_DEFAULT,
        "ping_interval": None,  # the server pings; behind a long answer ours would time out
        "close_timeout": limits.SECONDS_TO_CLOSE,
        "max_size": ANSWER_BYTES_MAX,
        "proxy": None,
    }


def count_bytes(protocol: Any, on_bytes: Callable[[int], None]) -> None:
    """Have `on_bytes` told of every chunk as it arrives, before it is a whole frame."""
    receive = protocol.receive_data

    def counted(data: bytes | bytearray) -> None:
        on_bytes(len(data))
        receive(data)

    protocol.receive_data = counted


def silent(seconds: float) -> NetworkError:
    """Build the error of a line on which nothing moved."""
    return NetworkError(f"nothing came for {seconds:g} seconds")


class SocketConnection:
    """One connection at a time; after `close`, or its end, `open` makes another."""

    def __init__(
        self, url: str, tokens: Tokens, *, seconds: float = limits.SECONDS_PER_REQUEST_DEFAULT
    ) -> None:
        self._url = check_url(url).replace("http", "ws", 1) + CONNECT_PATH
        self._tokens = tokens
        self._seconds = seconds
        self._line: _Line | None = None
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        """What went over the wire until now; bytes are those of frames."""
        return self._traffic

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
        self._line = _Line(socket, self._spend, on_signal, self._tokens, self._seconds)

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

    def _spend(self, *, trips: int = 0, up: int = 0, down: int = 0) -> None:
        self._traffic = self._traffic.plus(round_trips=trips, bytes_up=up, bytes_down=down)

    def _dial(self, token: str) -> ClientConnection:
        from websockets.exceptions import InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        try:
            dialled: Any = connect(self._url, **connect_options(token))
            socket: ClientConnection = dialled.__enter__()
        except InvalidStatus as error:
            answer = error.response
            raise refusal_of(
                answer.status_code, dict(answer.headers.raw_items()), bytes(answer.body or b"")
            ) from error
        except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
            raise not_reached(self._url, error) from error
        return socket


class _Line:
    """An open socket, and the thread that reads it."""

    def __init__(
        self,
        socket: ClientConnection,
        spend: Callable[..., None],
        on_signal: Callable[[Signal], None],
        tokens: Tokens,
        seconds: float,
    ) -> None:
        self._socket = socket
        self._spend = spend
        self._on_signal = on_signal
        self._tokens = tokens
        self._seconds = seconds
        self._frames = Frames()
        self._answers: dict[int, ServerFrame | None] = {}
        self._told = threading.Condition()
        self._ended: ClientError | None = None
        self._closing = False
        self._moved_s = time.monotonic()
        count_bytes(socket.protocol, self._moved)
        self._write(self._frames.hello())
        self._reader = threading.Thread(target=self._read, name="sync-connection", daemon=True)
        self._reader.start()

    def ask(self, request: SyncRequest) -> ServerFrame:
        number, data = self._frames.request(request)
        with self._told:
            self._answers[number] = None
        began_s = time.monotonic()
        try:
            self._write(data)
            with self._told:
                while self._answers[number] is None:
                    if self._ended is not None:
                        raise self._ended
                    left_s = self._seconds - (time.monotonic() - max(began_s, self._moved_s))
                    if left_s <= 0:
                        raise silent(self._seconds)
                    self._told.wait(left_s)
                frame = self._answers[number]
        except NetworkError:
            self.close()
            raise
        finally:
            with self._told:
                del self._answers[number]
        assert frame is not None
        self._spend(trips=1)
        return frame

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(Exception):
            self._socket.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(limits.SECONDS_TO_CLOSE)

    def _write(self, data: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        self._spend(up=len(data))
        try:
            self._socket.send(data)
        except (OSError, ConnectionClosed) as error:
            raise NetworkError(f"the connection broke: {error}") from error

    def _moved(self, size: int) -> None:
        self._moved_s = time.monotonic()
        self._spend(down=size)

    def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                try:
                    data = self._socket.recv(timeout=limits.SILENCE_SECONDS_MAX)
                except TimeoutError:
                    if time.monotonic() - self._moved_s < limits.SILENCE_SECONDS_MAX:
                        continue
                    raise
                self._take(self._frames.read(data))
        except (ConnectionClosed, OSError, ClientError) as error:
            code = getattr(getattr(error, "rcvd", None), "code", None)
            if code == limits.CLOSE_TOKEN_EXPIRED:
                self._tokens.refused()
            self._end(NetworkError(f"the connection ended: {error}"))

    def _take(self, frame: ServerFrame) -> None:
        if frame.poke:
            self._on_signal(Signal(poke=True))
        elif frame.drain_ms is not None:
            self._on_signal(Signal(poke=False, after_ms=frame.drain_ms))
        elif frame.id is not None:
            with self._told:
                if frame.id in self._answers:
                    self._answers[frame.id] = frame
                    self._told.notify_all()

    def _end(self, error: ClientError) -> None:
        with self._told:
            self._ended = error
            self._told.notify_all()
        with contextlib.suppress(Exception):
            self._socket.close()
        if not self._closing:
            self._on_signal(Signal(poke=False))
