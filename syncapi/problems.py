"""Problems: every answer that is no answer is a problem document (RFC 9457).

The table `PROBLEMS` maps errors to a status; a test walks the error tree and finds none unmapped.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.status_codes import (
    HTTP_400_BAD_REQUEST,
    HTTP_401_UNAUTHORIZED,
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_503_SERVICE_UNAVAILABLE,
)
from msgspec import Struct

from infra import metrics
from schemas.errors import DiffusionError, InputError, PermanentError, RetryableError
from syncapi.auth import NotAuthenticated

log = logging.getLogger("diffusion.api")

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2


class Problem(Struct, frozen=True, omit_defaults=True):
    """A problem document. `type` is always `about:blank`: the status says it all."""

    status: int
    title: str
    detail: str = ""
    type: str = "about:blank"


PROBLEMS: Final[dict[type[DiffusionError], tuple[int, str]]] = {
    NotAuthenticated: (401, "Not authenticated"),
    InputError: (400, "The request does not fit the schema"),
    RetryableError: (503, "Temporarily unavailable"),
    PermanentError: (500, "The service is not set up to answer"),
}
"""The most particular class of an error that is in the table decides."""

INTERNAL: Final = (500, "Internal error")
"""Of what is no error of ours, and of one that the table forgot."""


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Make a problem document of any error."""
    headers: dict[str, str] = {}
    if isinstance(error, DiffusionError):
        status, title = next((PROBLEMS[c] for c in type(error).__mro__ if c in PROBLEMS), INTERNAL)
        detail = str(error) if status < HTTP_500_INTERNAL_SERVER_ERROR else ""
    elif isinstance(error, ValidationException):
        status, title, detail = 400, PROBLEMS[InputError][1], _validation(error)
    elif isinstance(error, RecursionError):
        # Only the body's decoder goes as deep as its input says.
        status, title, detail = 400, PROBLEMS[InputError][1], "The body is nested too deeply."
    elif isinstance(error, HTTPException):
        status, title, detail = error.status_code, _title(error), error.detail
        headers.update(error.headers or {})
    else:
        (status, title), detail = INTERNAL, ""
    if status >= HTTP_500_INTERNAL_SERVER_ERROR:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if status == HTTP_401_UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTP_503_SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    metrics.api_errors.labels(str(status)).inc()
    return Response(
        Problem(status=status, title=title, detail=detail),
        status_code=status,
        media_type=PROBLEM_TYPE,
        headers=headers,
    )


def _title(error: HTTPException) -> str:
    if error.status_code == HTTP_400_BAD_REQUEST:
        return PROBLEMS[InputError][1]
    return HTTPStatus(error.status_code).phrase


def _validation(error: ValidationException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    parts = [
        f"{found.get('key') or 'body'}: {found.get('message')}"
        for found in extra
        if isinstance(found, dict)
    ]
    return "; ".join(parts) or error.detail
