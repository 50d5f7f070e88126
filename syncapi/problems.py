"""Problems: every answer that is no answer is a problem document (RFC 9457).

The table `PROBLEMS` maps errors to a status; a test walks the error tree and finds none unmapped.
Over HTTP a problem is JSON and uncompressed whatever `Accept` says: the negotiation may be what
failed, and a person will read it.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import (
    HTTP_400_BAD_REQUEST,
    HTTP_401_UNAUTHORIZED,
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_503_SERVICE_UNAVAILABLE,
)

from infra import metrics
from infra.clock import monotonic_s
from infra.faults import Seldom, sentence_of, trace_of
from schemas.encoding import Format, encode
from schemas.errors import (
    DiffusionError,
    InputError,
    PermanentError,
    RefusedTokenError,
    RetryableError,
    TooLargeError,
    UnsupportedVersionError,
)
from schemas.frames import PROBLEM_TYPE, Problem
from syncapi.admission import Overloaded, TooManyRequests
from syncapi.auth import NotAuthenticated, OtherDevice
from syncapi.connections import TooManyConnections
from syncapi.negotiation import HeaderTooLong, NotAcceptable, UnsupportedContent
from syncapi.request_ids import REQUEST_ID, asked_id, new_id

log = logging.getLogger("diffusion.api")

RETRY_AFTER_S: Final = 2

OUTAGE_LOG_S: Final = 10.0
"""In a minute without Cassandra, a line for each request took 700 KB of the log."""

PROBLEMS: Final[dict[type[DiffusionError], tuple[int, str]]] = {
    NotAuthenticated: (401, "Not authenticated"),
    OtherDevice: (403, "Not this device's token"),
    NotAcceptable: (406, "No answer would be acceptable"),
    TooLargeError: (413, "The request is too large"),
    UnsupportedContent: (415, "The request is in an unknown form"),
    TooManyConnections: (429, "Too many connections"),
    TooManyRequests: (429, "Too many requests"),
    HeaderTooLong: (431, "A header is too long"),
    UnsupportedVersionError: (400, "The protocol version is not supported"),
    RefusedTokenError: (400, "The cursor or page token is refused"),
    InputError: (400, "The request does not fit the schema"),
    RetryableError: (503, "Temporarily unavailable"),
    PermanentError: (500, "The service is not set up to answer"),
}
"""The most particular class of an error that is in the table decides."""

INTERNAL: Final = (500, "Internal error")
"""Of what is no error of ours, and of one that the table forgot."""


def problem_of(error: Exception, request_id: str | None = None) -> Problem:
    """Make a problem document of any error. What is our fault has no detail."""
    if isinstance(error, HTTPException):
        status, title, detail = error.status_code, _title(error), error.detail
    else:
        kinds = type(error).__mro__
        status, title = next((PROBLEMS[kind] for kind in kinds if kind in PROBLEMS), INTERNAL)
        detail = str(error)
    return Problem(
        status=status,
        title=title,
        detail=detail if status < HTTP_500_INTERNAL_SERVER_ERROR else "",
        reason=error.reason if isinstance(error, RefusedTokenError) else None,
        supported=error.supported if isinstance(error, UnsupportedVersionError) else None,
        retry_after_ms=_retry_after_ms(error, status),
        request_id=request_id,
    )


def _retry_after_ms(error: Exception, status: int) -> int | None:
    if isinstance(error, TooManyRequests | Overloaded):
        return error.retry_after_ms
    return RETRY_AFTER_S * 1_000 if status == HTTP_503_SERVICE_UNAVAILABLE else None


def headers_of(problem: Problem) -> dict[str, str]:
    """Headers that go with a problem, whatever the transport: what to send, or when to return."""
    headers: dict[str, str] = {}
    if problem.status == HTTP_401_UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.request_id is not None:
        headers[REQUEST_ID] = problem.request_id
    if problem.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_ms / 1_000)))
    return headers


class Refusal(NamedTuple):
    """A problem as an answer of HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers but the length, as ASGI has them."""
        named = {"Content-Type": PROBLEM_TYPE, **self.headers}
        return [(name.lower().encode(), value.encode("latin-1")) for name, value in named.items()]


_outage: Final = Seldom(OUTAGE_LOG_S)


def counted(error: Exception, message: str, *args: str, request_id: str | None = None) -> Problem:
    """Make the problem document of a request that failed; count it, and log it if it is our fault.
    Without a `request_id` it gets one.

    To send somebody away for the load is no fault; under it, a log would be one more. A store that
    is away is told by a sentence now and then: the way there would be the same for each request.
    """
    problem = problem_of(error, request_id or new_id())
    metrics.api_errors.labels(str(problem.status)).inc()
    if problem.status < HTTP_500_INTERNAL_SERVER_ERROR or isinstance(error, Overloaded):
        return problem
    if not isinstance(error, RetryableError):
        said = f"{message}\n%s"  # the message is ours
        log.error(said, *args, trace_of(error), extra=_fields(problem))
    elif _outage.is_due(monotonic_s()):
        log.error(f"{message}: %s", *args, sentence_of(error), extra=_fields(problem))  # noqa: G004
    return problem


def _fields(problem: Problem) -> dict[str, object]:
    return {"status": problem.status, "request_id": problem.request_id}


def refusal_of(method: str, path: str, error: Exception, request_id: str | None = None) -> Refusal:
    """Build the answer to a request that failed, and count it."""
    problem = counted(error, "%s %s failed", method, path, request_id=request_id)
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        headers.update(error.headers or {})
    elif isinstance(error, UnsupportedContent):
        headers.update(error.headers)
    headers.update(headers_of(problem))
    return Refusal(problem.status, headers, encode(problem, Format.JSON))


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer with the problem document of an error."""
    asked = asked_id(request.scope["headers"])
    refusal = refusal_of(request.method, request.url.path, error, asked)
    return Response(
        refusal.body,
        status_code=refusal.status,
        media_type=PROBLEM_TYPE,
        headers=refusal.headers,
    )


def _title(error: HTTPException) -> str:
    if error.status_code == HTTP_400_BAD_REQUEST:
        return PROBLEMS[InputError][1]
    return HTTPStatus(error.status_code).phrase
