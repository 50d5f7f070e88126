"""What each status means, and how problem documents and Retry-After are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RetryableError
from sdk.client.errors import (
    AuthError,
    ClientError,
    InvalidAnswerError,
    Problem,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
)
from sdk.client.limits import DETAIL_CHARS_MAX, RETRY_AFTER_SECONDS_MAX
from sdk.client.statuses import (
    BY_CLASS,
    BY_STATUS,
    Meaning,
    error_of,
    meaning_of,
    problem_of,
    retry_after_seconds,
)

KINDS = {
    Meaning.AUTH: AuthError,
    Meaning.BUSY: ServerBusyError,
    Meaning.FAILED: ServerError,
    Meaning.REFUSED: RequestRefusedError,
    Meaning.STRANGE: InvalidAnswerError,
}


def test_every_meaning_has_an_error_and_a_status() -> None:
    assert set(KINDS) == set(Meaning)
    assert {meaning_of(status) for status in range(100, 600)} == set(Meaning)
    assert {*BY_STATUS.values(), *BY_CLASS.values(), Meaning.STRANGE} == set(Meaning)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (204, InvalidAnswerError, False),
        (301, InvalidAnswerError, False),
        (307, InvalidAnswerError, False),
        (400, RequestRefusedError, False),
        (401, AuthError, False),
        (403, AuthError, False),
        (404, RequestRefusedError, False),
        (408, ServerError, True),
        (410, RequestRefusedError, False),
        (413, RequestRefusedError, False),
        (422, RequestRefusedError, False),
        (429, ServerBusyError, True),
        (500, ServerError, True),
        (502, ServerError, True),
        (503, ServerBusyError, True),
        (504, ServerError, True),
        (599, ServerError, True),
        (799, InvalidAnswerError, False),
    ],
)
def test_a_status_becomes_one_error(
    status: int, kind: type[ClientError], *, retryable: bool
) -> None:
    error = error_of(status, {}, b'{"title": "why", "detail": "because"}')
    assert type(error) is kind
    assert isinstance(error, RetryableError) is retryable
    assert str(status) in str(error)
    assert "why: because" in str(error)


def test_a_problem_document_is_kept() -> None:
    body = msgspec.json.encode(
        {"type": "urn:x", "title": "Bad", "status": 400, "detail": "page", "instance": "/1"}
    )
    error = error_of(400, {}, body)
    assert isinstance(error, RequestRefusedError)
    assert (error.status, error.problem) == (400, Problem("urn:x", "Bad", 400, "page"))


def test_a_reason_is_kept_and_one_that_is_no_word_is_no_problem_document() -> None:
    body = msgspec.json.encode({"status": 400, "title": "t", "reason": "unreadable", "new": [1]})
    assert problem_of(400, body).reason == "unreadable"
    assert problem_of(400, b'{"reason": 5, "title": "t"}').title == "Bad Request"


def test_an_answer_of_a_gateway_is_quoted() -> None:
    problem = problem_of(502, b"<html>upstream \xff gone</html>\n")
    assert problem.title == "Bad Gateway"
    assert problem.detail == "<html>upstream \ufffd gone</html>"
    assert problem_of(418, b"").in_words() == "I'm a Teapot"
    assert problem_of(599, b"[]").title == "status 599"
    assert problem_of(500, b"[" * 100_000).title == "Internal Server Error"


def test_a_problem_without_words_still_says_something() -> None:
    assert problem_of(400, b"{}").in_words() == "Bad Request"
    assert Problem().in_words() == "about:blank"


def test_the_id_of_a_request_is_said_and_cut_where_it_is_none() -> None:
    body = msgspec.json.encode({"status": 503, "title": "Away", "request_id": "ab" * 100})
    assert problem_of(503, body).in_words() == f"Away (request {'ab' * 32})"
    assert str(error_of(503, {}, body)).endswith(f"(request {'ab' * 32})")


@given(st.integers(100, 999), st.binary(max_size=200) | st.just(b'{"detail": "x"}' * 500))
def test_any_body_makes_a_bounded_problem(status: int, body: bytes) -> None:
    problem = problem_of(status, body)
    for text in (problem.type, problem.title, problem.detail):
        assert len(text) <= DETAIL_CHARS_MAX
    assert isinstance(error_of(status, {}, body), ClientError)


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_retry_after_in_seconds() -> None:
    assert retry_after_seconds({"retry-after": "7"}) == 7.0
    assert retry_after_seconds({"retry-after": " 0 "}) == 0.0
    assert retry_after_seconds({"retry-after": "9" * 500}) == RETRY_AFTER_SECONDS_MAX


def test_retry_after_as_a_date_is_compared_with_the_servers_own_clock() -> None:
    def headers(until: datetime) -> dict[str, str]:
        return {
            "retry-after": format_datetime(until, usegmt=until.tzinfo is UTC),
            "date": format_datetime(NOW, usegmt=True),
        }

    assert retry_after_seconds(headers(NOW + timedelta(seconds=90))) == 90.0
    assert retry_after_seconds(headers(NOW - timedelta(seconds=90))) == 0.0
    assert retry_after_seconds(headers(NOW + timedelta(days=9))) == RETRY_AFTER_SECONDS_MAX
    elsewhere = (NOW + timedelta(seconds=5)).astimezone(timezone(timedelta(hours=5)))
    assert retry_after_seconds(headers(elsewhere)) == 5.0
    # "-0000": a time of no known zone is read as UTC, instead of being mixed up with one.
    assert retry_after_seconds(headers((NOW + timedelta(seconds=5)).replace(tzinfo=None))) == 5.0


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "\u0663", "Mon, 99 Foo 2026"])
def test_an_unreadable_retry_after_is_none(value: str) -> None:
    date = format_datetime(NOW, usegmt=True)
    assert retry_after_seconds({"retry-after": value, "date": date}) is None
    assert retry_after_seconds({"retry-after": date}) is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_header_breaks_the_reading(value: str, date: str) -> None:
    seconds = retry_after_seconds({"retry-after": value, "date": date})
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_SECONDS_MAX
