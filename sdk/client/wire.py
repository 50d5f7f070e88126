"""What travels: requests and answers as bodies of HTTP and as frames of the connection. Pure.

Both transports of both clients, blocking and asynchronous, write and read through here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import Final
from urllib.parse import urlsplit

from schemas.encoding import (
    CODINGS,
    FORMATS,
    Coding,
    Format,
    codings,
    compress,
    decode,
    decompress,
    encode,
    pack,
    prepare,
    shrink,
    unpack,
)
from schemas.errors import InputError
from schemas.frames import ClientFrame, Problem, ServerFrame
from schemas.limits import ANSWER_BYTES_MAX, REQUEST_ID_MAX
from schemas.protocol import PROTOCOL_VERSION, SyncRequest, SyncResponse
from sdk.client.errors import ClientError, InvalidAnswerError
from sdk.client.statuses import STATUS_OK, error_of

SYNC_PATH: Final = "/v1/sync"
CONNECT_PATH: Final = "/v1/connect"

prepare(SyncResponse, ServerFrame)

_REQUEST_CODING: Final = Coding.DEFLATE
"""Of request bodies: every server and every device has it."""


def check_url(url: str) -> str:
    """Return the address without a slash at its end; raises `ValueError` if it is none."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{url!r} is not the address of a server: give http(s)://host[:port]")
    return url.rstrip("/")


def connect_url(url: str) -> str:
    """Return the address of the connection at a server; raises `ValueError` as `check_url`."""
    return check_url(url).replace("http", "ws", 1) + CONNECT_PATH


# HTTP.


def fixed_headers(form: Format) -> dict[str, str]:
    """Headers of every request in a format. Answers come in the same, if nothing is said of it."""
    return {
        "Content-Type": form.value,
        "Accept-Encoding": ", ".join(one.token for one in codings() if one),
    }


def body_of(request: SyncRequest, form: Format, token: str) -> tuple[bytes, dict[str, str]]:
    """Write a request: its body, and the headers that go with it."""
    content, coding = shrink(encode(request, form), _REQUEST_CODING)
    headers = {"Authorization": f"Bearer {token}"}
    if coding is not Coding.IDENTITY:
        headers["Content-Encoding"] = coding.token
    return content, headers


def answer_of(status: int, headers: Mapping[str, str], body: bytes, form: Format) -> SyncResponse:
    """Read an answer; raises the errors of `sdk.client.statuses` and `InvalidAnswerError`."""
    if status != STATUS_OK:
        raise refusal_of(status, headers, body)
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        unpacked = decompress(body, _coding_of(headers), ANSWER_BYTES_MAX)
        return decode(unpacked, SyncResponse, FORMATS.get(media, form))
    except InputError as error:
        raise InvalidAnswerError(f"the answer cannot be read: {error}") from error


def refusal_of(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """Build the error of an answer other than 200."""
    try:
        unpacked = decompress(body, _coding_of(headers), ANSWER_BYTES_MAX)
    except (InputError, InvalidAnswerError):
        unpacked = b""  # the status says enough
    return error_of(status, headers, unpacked)


def _coding_of(headers: Mapping[str, str]) -> Coding:
    """Read `Content-Encoding`; raises `InvalidAnswerError` for one that was not asked for."""
    name = headers.get("content-encoding", "").strip().lower()
    coding = CODINGS.get(name or Coding.IDENTITY.token)
    if coding is None:
        raise InvalidAnswerError(f"the answer is packed by {name[:64]!r}, which is not known here")
    return coding


# The connection.


class Frames:
    """Writes and reads the frames of one connection."""

    def __init__(self) -> None:
        self._ids = count(1)

    def hello(self) -> bytes:
        """Write a ping, compressed by force: the server then compresses what it sends."""
        plain = pack(ClientFrame(self._next()), Coding.IDENTITY)[2:]
        best = codings()[0]
        return bytes((PROTOCOL_VERSION, best)) + compress(plain, best)

    def request(self, request: SyncRequest) -> tuple[int, bytes]:
        """Write a request: its id, and the frame."""
        number = self._next()
        return number, pack(ClientFrame(number, request), codings()[0])

    def read(self, data: str | bytes) -> ServerFrame:
        """Read a frame; raises `InvalidAnswerError`."""
        try:
            if isinstance(data, str):
                return decode(data.encode(), ServerFrame, Format.JSON)
            return unpack(data, ServerFrame, ANSWER_BYTES_MAX)
        except InputError as error:
            raise InvalidAnswerError(f"the frame cannot be read: {error}") from error

    def _next(self) -> int:
        return next(self._ids) % (REQUEST_ID_MAX + 1)


def answer_in(frame: ServerFrame) -> SyncResponse:
    """Take the answer out of a frame; raises what its problem means, as HTTP would have it."""
    if frame.answer is not None:
        return frame.answer
    if frame.problem is None:
        raise InvalidAnswerError("the frame has neither an answer nor a problem")
    raise error_in(frame.problem)


def error_in(problem: Problem) -> ClientError:
    """Build the error of a problem that came in a frame."""
    headers = {}
    if problem.retry_after_ms is not None:
        headers["retry-after"] = str(math.ceil(problem.retry_after_ms / 1_000))
    return error_of(problem.status, headers, encode(problem, Format.JSON))
