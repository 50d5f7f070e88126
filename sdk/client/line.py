"""What an open connection keeps: who waits for which answer, and when a byte last moved.

Both kinds of `/v1/connect` read and write frames through here; how they wait is theirs
(`sdk.client.sockets` by blocking, `sdk.client.aio_transport` by `await`).

What counts as dead is silence, not slowness: the time of the last byte is noted as it arrives,
inside of frames too. The server pings every 45 seconds, so a line that is silent for longer is cut.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from schemas.frames import ServerFrame
from schemas.limits import ANSWER_BYTES_MAX
from schemas.protocol import SyncRequest
from sdk.client import limits
from sdk.client.errors import NetworkError
from sdk.client.tokens import HeldToken
from sdk.client.transport import Signal, not_reached
from sdk.client.wire import Frames, refusal_of

if TYPE_CHECKING:
    import ssl


class Line:
    """One connection from its opening to its end.

    `spend` counts what moves, `on_signal` hears of pokes, drains and the end, and `seconds` is how
    long nothing may move while an answer is waited for.
    """

    def __init__(
        self,
        protocol: Any,
        spend: Callable[..., None],
        on_signal: Callable[[Signal], None],
        tokens: HeldToken,
        seconds: float,
    ) -> None:
        self._spend = spend
        self._on_signal = on_signal
        self._tokens = tokens
        self._seconds = seconds
        self._frames = Frames()
        self._answers: dict[int, Future[ServerFrame]] = {}
        self._ended: NetworkError | None = None
        self._moved_s = time.monotonic()
        self._count_bytes(protocol)

    def _count_bytes(self, protocol: Any) -> None:
        """Note every chunk as it arrives, before it is a whole frame."""
        receive = protocol.receive_data

        def counted(data: bytes | bytearray) -> None:
            self._moved_s = time.monotonic()
            self._spend(down=len(data))
            receive(data)

        protocol.receive_data = counted

    def hello(self) -> bytes:
        """Write the first frame."""
        return self._frames.hello()

    @contextlib.contextmanager
    def question(self, request: SyncRequest) -> Iterator[tuple[bytes, Future[ServerFrame]]]:
        """Write the frame of a request; within the block, its answer is waited for."""
        number, data = self._frames.request(request)
        answer: Future[ServerFrame] = Future()
        self._answers[number] = answer
        # After it is listed: whichever of this and `end` comes second sees the other.
        if self._ended is not None:
            raise self._ended
        try:
            yield data, answer
        finally:
            del self._answers[number]
        self._spend(trips=1)

    def left_s(self, began_s: float) -> float:
        """Say how long to wait for an answer yet; raises `NetworkError` when nothing moved."""
        left_s = self._seconds - (time.monotonic() - max(began_s, self._moved_s))
        if left_s <= 0:
            raise NetworkError(f"nothing came for {self._seconds:g} seconds")
        return left_s

    def is_silent(self) -> bool:
        """Say whether the server's pings stay away."""
        return time.monotonic() - self._moved_s >= limits.SILENCE_SECONDS_MAX

    def take(self, data: str | bytes) -> None:
        """Take a frame: an answer to who waits for it, the others to `on_signal`."""
        frame = self._frames.read(data)
        if frame.poke:
            self._on_signal(Signal(poke=True))
        elif frame.drain_ms is not None:
            self._on_signal(Signal(poke=False, after_ms=frame.drain_ms))
        elif frame.id is not None:
            answer = self._answers.get(frame.id)
            if answer is not None and not answer.done():
                answer.set_result(frame)

    def end(self, error: BaseException) -> None:
        """Tell all who wait that nothing will come, and forget a token that has expired."""
        code = getattr(getattr(error, "rcvd", None), "code", None)
        if code == limits.CLOSE_TOKEN_EXPIRED:
            self._tokens.refused()
        self._ended = NetworkError(f"the connection ended: {error}")
        for answer in list(self._answers.values()):
            if not answer.done():
                answer.set_exception(self._ended)


def connect_options(token: str, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Options of both WebSocket clients."""
    believed = {} if tls is None else {"ssl": tls}
    return believed | {
        "additional_headers": {"Authorization": f"Bearer {token}"},
        "compression": None,  # frames are compressed inside
        "open_timeout": limits.SECONDS_TO_CONNECT_DEFAULT,
        "ping_interval": None,  # the server pings; behind a long answer ours would time out
        "close_timeout": limits.SECONDS_TO_CLOSE,
        "max_size": ANSWER_BYTES_MAX,
        "proxy": None,
    }


@contextlib.contextmanager
def dialling(url: str) -> Iterator[None]:
    """Have what is raised while connecting mean what it would for a request."""
    from websockets.exceptions import InvalidStatus, WebSocketException

    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        raise refusal_of(
            answer.status_code, dict(answer.headers.raw_items()), bytes(answer.body or b"")
        ) from error
    except (OSError, WebSocketException, EOFError) as error:
        # A redirection to what is no WebSocket, as of a captive portal, is among them.
        raise not_reached(url, error) from error


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Have what is raised while sending be a `NetworkError`."""
    from websockets.exceptions import ConnectionClosed

    try:
        yield
    except (OSError, ConnectionClosed) as error:
        raise NetworkError(f"the connection broke: {error}") from error
