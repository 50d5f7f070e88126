"""What an HTTP status means to the client, as a table. Pure; httpx is not needed to read it.

Answers other than 200 carry a problem document (RFC 9457). Proxies and gateways answer without one,
so its absence is no error of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Final

import msgspec

from sdk.client.errors import (
    AuthError,
    ClientError,
    InvalidAnswerError,
    Problem,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
)
from sdk.client.limits import DETAIL_CHARS_MAX, REQUEST_ID_CHARS_MAX, RETRY_AFTER_SECONDS_MAX

STATUS_OK: Final = 200


class Meaning(Enum):
    """What to make of a status other than 200."""

    AUTH = "the token is not accepted"
    BUSY = "wait and send it again"
    FAILED = "send it again later"
    REFUSED = "the request is wrong"
    STRANGE = "no answer of this protocol"


BY_STATUS: Final[Mapping[int, Meaning]] = {
    401: Meaning.AUTH,
    403: Meaning.AUTH,
    # The server gave up waiting for the request, which slow networks cause, not the request.
    408: Meaning.FAILED,
    429: Meaning.BUSY,
    503: Meaning.BUSY,
}

BY_CLASS: Final[Mapping[int, Meaning]] = {4: Meaning.REFUSED, 5: Meaning.FAILED}
"""By the first digit, for a status that is not in `BY_STATUS`. The others are strange: a redirect
is not followed, because it would take the token along."""


def meaning_of(status: int) -> Meaning:
    """Look up what a status means."""
    return BY_STATUS.get(status) or BY_CLASS.get(status // 100, Meaning.STRANGE)


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """Build the error for an answer other than 200."""
    problem = problem_of(status, body)
    match meaning_of(status):
        case Meaning.AUTH:
            return AuthError(
                f"the server did not accept the token ({status}): {problem.in_words()}"
            )
        case Meaning.BUSY:
            return ServerBusyError(
                f"the server is busy ({status}): {problem.in_words()}", retry_after_seconds(headers)
            )
        case Meaning.FAILED:
            return ServerError(f"the server failed with {status}: {problem.in_words()}")
        case Meaning.REFUSED:
            return RequestRefusedError(status, problem)
        case Meaning.STRANGE:
            return InvalidAnswerError(
                f"the server answered {status} ({problem.in_words()}): check the address"
            )


def problem_of(status: int, body: bytes) -> Problem:
    """Read a problem document, or make one of whatever the answer says."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = body.decode(errors="replace").strip()
        return Problem(title=_phrase(status), status=status, detail=text[:DETAIL_CHARS_MAX])
    return Problem(
        problem.type[:DETAIL_CHARS_MAX],
        problem.title[:DETAIL_CHARS_MAX] or _phrase(status),
        problem.status or status,
        problem.detail[:DETAIL_CHARS_MAX],
        problem.reason,
        problem.request_id and problem.request_id[:REQUEST_ID_CHARS_MAX],
    )


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` (RFC 9110, 10.2.3): seconds, or a date; None if absent or unreadable.

    A date is compared with the answer's own `Date`, because the device's clock may be wrong.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_SECONDS_MAX)
    until, now = _date(value), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)


def _date(text: str) -> datetime | None:
    # Takes 10 ms to import, and most servers say seconds.
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"
