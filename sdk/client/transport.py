"""How a request reaches the server: the ports, and HTTP with blocking calls.

Nothing here knows what a request means. `send` blocks, and either returns the answer or raises one
of `NetworkError`, `ServerError`, `AuthError`, `ProtocolError`; it may then be called again. httpx
is imported with the first request, because an app shows its list before it talks to anyone.

A request is given up when nothing moves for `seconds`, not when it takes long: a page that comes
slowly comes.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct

from schemas.encoding import Format
from schemas.limits import ANSWER_BYTES_MAX
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client.errors import InvalidAnswerError, NetworkError
from sdk.client.limits import SECONDS_PER_REQUEST_DEFAULT, SECONDS_TO_CONNECT_DEFAULT
from sdk.client.tokens import Tokens, TokenSource
from sdk.client.traffic import Counted, Traffic
from sdk.client.wire import SYNC_PATH, answer_of, body_of, check_url, fixed_headers

if TYPE_CHECKING:
    import ssl

    import httpx

FORMATS: Final = {"msgpack": Format.MSGPACK, "json": Format.JSON}


class Transport(Protocol):
    """Carries a request to the server and its answer back."""

    @property
    def traffic(self) -> Traffic:
        """What went over the wire until now."""

    def send(self, request: SyncRequest) -> SyncResponse:
        """Send and wait for the answer. Blocks; raises `ClientError` and its kinds only."""

    def close(self) -> None:
        """Let go of connections. Never raises."""


class Signal(Struct, frozen=True):
    """What a connection says by itself: `poke`, that something changed; else that it ends, and when
    to connect again, if the server said so.
    """

    poke: bool
    after_ms: int | None = None


class Connection(Transport, Protocol):
    """A transport that stands, and over which the server speaks, too."""

    def open(self, on_signal: Callable[[Signal], None]) -> None:
        """Connect; blocks, and raises `ClientError`. `on_signal` is called by another thread."""


class HttpTransport(Counted):
    """`POST {url}/v1/sync`. One connection is kept open between requests.

    `token` is the bearer token, or a function that gives one (`sdk.client.tokens`), and `on_token`
    is told each before it is used. `encoding` is how requests are written, and answers asked for:
    `json` is for looking at. `wire` replaces the way bytes travel (an `httpx.BaseTransport`), for
    proxies and tests. `tls` is whom to believe (`sdk.client.tls`).
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        encoding: Literal["msgpack", "json"] = "msgpack",
        seconds: float = SECONDS_PER_REQUEST_DEFAULT,
        wire: httpx.BaseTransport | None = None,
        on_token: Callable[[str], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self._tls = tls
        self._url = check_url(url) + SYNC_PATH
        self.tokens = Tokens(token, on_token)
        self._format = format_of(encoding)
        self._seconds = seconds
        self._wire = wire
        self._client: httpx.Client | None = None

    def send(self, request: SyncRequest) -> SyncResponse:
        """Send a request and decode its answer; the errors are those of `sdk.client.statuses`.

        If the token is refused and another one can be had, it is sent once more with that.
        """
        token, new = self.tokens.present()
        status, headers, body = self._exchange(*body_of(request, self._format, token))
        if status == HTTPStatus.UNAUTHORIZED and self.tokens.refused() and not new:
            token, _ = self.tokens.present()
            status, headers, body = self._exchange(*body_of(request, self._format, token))
            if status == HTTPStatus.UNAUTHORIZED:
                self.tokens.refused()
        return answer_of(status, headers, body, self._format)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _exchange(
        self, content: bytes, headers: dict[str, str]
    ) -> tuple[int, httpx.Headers, bytes]:
        import httpx

        if self._client is None:
            self._client = httpx.Client(
                headers=fixed_headers(self._format),
                transport=self._wire,
                **options(self._seconds, self._tls),
            )
            for name in NEEDLESS:
                del self._client.headers[name]
        self._spend(up=len(content))
        try:
            with self._client.stream("POST", self._url, content=content, headers=headers) as got:
                self._spend(trips=1)
                try:
                    return got.status_code, got.headers, _read(got)
                finally:
                    self._spend(down=got.num_bytes_downloaded)
        except httpx.RequestError as error:
            raise not_reached(self._url, error) from error


NEEDLESS: Final = ("Accept", "Connection")
"""Headers of httpx that say what is so without them: 37 bytes of each request."""


def format_of(encoding: str) -> Format:
    """Return the format of that name; raises `ValueError` if there is none."""
    if encoding not in FORMATS:
        raise ValueError(f"{encoding!r} is no encoding: it must be one of {list(FORMATS)}")
    return FORMATS[encoding]


def options(seconds: float, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Options of both HTTP clients; without a context, httpx knows whom to believe."""
    import httpx

    return {
        "verify": True if tls is None else tls,
        "timeout": httpx.Timeout(seconds, connect=min(seconds, SECONDS_TO_CONNECT_DEFAULT)),
        # A redirected request would hand the token to whoever the answer names.
        "follow_redirects": False,
    }


def not_reached(url: str, error: Exception) -> NetworkError:
    """Build the error of a request or a connection that broke."""
    from sdk.client.tls import advice

    why = str(error) or type(error).__name__
    return NetworkError(f"{url} was not reached: {why}{advice(url, error)}")


def check_room(read: int) -> None:
    """Raise `InvalidAnswerError` for a body that is too large."""
    if read > ANSWER_BYTES_MAX:
        raise InvalidAnswerError(f"the answer is larger than {ANSWER_BYTES_MAX:,} bytes")


def _read(answer: httpx.Response) -> bytes:
    """Read the body as it travels. httpx would unpack it without a bound: a packet of 64 KiB may
    promise gigabytes.
    """
    body = bytearray()
    for chunk in answer.iter_raw():
        body += chunk
        check_room(len(body))
    return bytes(body)
