"""How a request reaches the server: the port, and its HTTP implementation.

Nothing here knows what a request means. `send` blocks, and either returns the answer or raises one
of `NetworkError`, `ServerError`, `AuthError`, `ProtocolError`; it may then be called again. httpx
is imported with the first request, because an app shows its list before it talks to anyone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol
from urllib.parse import urlsplit

from schemas.encoding import (
    CODINGS,
    FORMATS,
    Coding,
    Format,
    codings,
    decode,
    decompress,
    encode,
    shrink,
)
from schemas.errors import InputError
from schemas.frames import PROBLEM_TYPE
from schemas.limits import ANSWER_BYTES_MAX
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client.errors import AuthError, InvalidAnswerError, NetworkError
from sdk.client.limits import SECONDS_PER_REQUEST_DEFAULT, SECONDS_TO_CONNECT_DEFAULT
from sdk.client.statuses import STATUS_OK, error_of

if TYPE_CHECKING:
    import httpx

SYNC_PATH: Final = "/v1/sync"

_BEARER: Final = re.compile(r"[!-~]+")
"""Visible ASCII: wider than RFC 6750 allows, and nothing that could end a header."""

_FORMATS: Final = {"msgpack": Format.MSGPACK, "json": Format.JSON}

_REQUEST_CODING: Final = Coding.DEFLATE
"""Of request bodies: every server and every device has it."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over the wire since the transport was made, failed attempts included.

    `round_trips` counts answers of any status; bytes are those of bodies as they were transferred,
    compressed if they were.
    """

    round_trips: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def plus(self, *, round_trips: int = 0, bytes_up: int = 0, bytes_down: int = 0) -> Traffic:
        """Count more."""
        return Traffic(
            self.round_trips + round_trips, self.bytes_up + bytes_up, self.bytes_down + bytes_down
        )

    def since(self, earlier: Traffic) -> Traffic:
        """Count what came after `earlier`."""
        return Traffic(
            self.round_trips - earlier.round_trips,
            self.bytes_up - earlier.bytes_up,
            self.bytes_down - earlier.bytes_down,
        )


class Transport(Protocol):
    """Carries a request to the server and its answer back."""

    @property
    def traffic(self) -> Traffic:
        """What went over the wire until now."""

    def send(self, request: SyncRequest) -> SyncResponse:
        """Send and wait for the answer. Blocks; raises `ClientError` and its kinds only."""

    def close(self) -> None:
        """Let go of connections. Never raises."""


class HttpTransport:
    """`POST {url}/v1/sync`. One connection is kept open between requests.

    `token` is the bearer token, or a function that gives the present one. `encoding` is how
    requests are written, and answers asked for: `json` is for looking at. `wire` replaces the way
    bytes travel (an `httpx.BaseTransport`), for proxies and tests.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        encoding: Literal["msgpack", "json"] = "msgpack",
        seconds: float = SECONDS_PER_REQUEST_DEFAULT,
        wire: httpx.BaseTransport | None = None,
    ) -> None:
        _check_url(url)
        if encoding not in _FORMATS:
            raise ValueError(f"{encoding!r} is no encoding: it must be one of {list(_FORMATS)}")
        self._url = url.rstrip("/") + SYNC_PATH
        self._token = token
        self._format = _FORMATS[encoding]
        self._seconds = seconds
        self._wire = wire
        self._client: httpx.Client | None = None
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        """What went over the wire until now."""
        return self._traffic

    def send(self, request: SyncRequest) -> SyncResponse:
        """Send a request and decode its answer; the errors are those of `sdk.client.statuses`."""
        status, headers, body = self._exchange(encode(request, self._format))
        if status != STATUS_OK:
            raise error_of(status, headers, _unpacked_problem(headers, body))
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            unpacked = decompress(body, _coding_of(headers), ANSWER_BYTES_MAX)
            return decode(unpacked, SyncResponse, FORMATS.get(media, self._format))
        except InputError as error:
            raise InvalidAnswerError(f"the answer cannot be read: {error}") from error

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _exchange(self, content: bytes) -> tuple[int, httpx.Headers, bytes]:
        import httpx

        if self._client is None:
            self._client = self._connect()
        headers = {"Authorization": f"Bearer {self._present_token()}"}
        content, coding = shrink(content, _REQUEST_CODING)
        if coding is not Coding.IDENTITY:
            headers["Content-Encoding"] = coding.token
        self._traffic = self._traffic.plus(bytes_up=len(content))
        try:
            with self._client.stream("POST", self._url, content=content, headers=headers) as got:
                self._traffic = self._traffic.plus(round_trips=1)
                try:
                    return got.status_code, got.headers, _read(got)
                finally:
                    self._traffic = self._traffic.plus(bytes_down=got.num_bytes_downloaded)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise NetworkError(f"{self._url} was not reached: {reason}") from error

    def _present_token(self) -> str:
        token = self._token if isinstance(self._token, str) else self._token()
        if not _BEARER.fullmatch(token):
            # Found here, because an error of the HTTP library would quote it.
            raise AuthError("the token is empty or holds characters that a bearer token cannot")
        return token

    def _connect(self) -> httpx.Client:
        import httpx

        return httpx.Client(
            headers={
                "Content-Type": self._format.value,
                "Accept": f"{self._format.value}, {PROBLEM_TYPE}",
                "Accept-Encoding": ", ".join(one.token for one in codings() if one),
            },
            timeout=httpx.Timeout(
                self._seconds, connect=min(self._seconds, SECONDS_TO_CONNECT_DEFAULT)
            ),
            # A redirected request would hand the token to whoever the answer names.
            follow_redirects=False,
            transport=self._wire,
        )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{url!r} is not the address of a server: give http(s)://host[:port]")


def _read(answer: httpx.Response) -> bytes:
    """Read the body as it travels. httpx would unpack it without a bound: a packet of 64 KiB may
    promise gigabytes.
    """
    body = bytearray()
    for chunk in answer.iter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise InvalidAnswerError(f"the answer is larger than {ANSWER_BYTES_MAX:,} bytes")
    return bytes(body)


def _coding_of(headers: Mapping[str, str]) -> Coding:
    """Read `Content-Encoding`; raises `InvalidAnswerError` for one that was not asked for."""
    name = headers.get("content-encoding", "").strip().lower()
    coding = CODINGS.get(name or Coding.IDENTITY.token)
    if coding is None:
        raise InvalidAnswerError(f"the answer is packed by {name[:64]!r}, which is not known here")
    return coding


def _unpacked_problem(headers: Mapping[str, str], body: bytes) -> bytes:
    """Unpack the body of an error; nothing, if it cannot be: the status says enough."""
    try:
        return decompress(body, _coding_of(headers), ANSWER_BYTES_MAX)
    except (InputError, InvalidAnswerError):
        return b""
