"""Problems: every error of the tree has a status, and no detail that is nobody's business."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from litestar import get
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.testing import create_test_client

import infra
import schemas
import syncapi
from infra.faults import Seldom
from schemas.errors import (
    DiffusionError,
    InputError,
    PermanentError,
    RefusedTokenError,
    RetryableError,
    TooLargeError,
    UnsupportedVersionError,
)
from schemas.frames import PROBLEM_TYPE
from syncapi import problems
from syncapi.auth import NotAuthenticated
from syncapi.negotiation import UnsupportedContent
from syncapi.problems import PROBLEMS, RETRY_AFTER_S, counted, on_error, problem_of


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


PACKAGES = (schemas, infra, syncapi)
"""What runs in the API's process; other programs and the client have errors of their own."""


def tree() -> list[type[DiffusionError]]:
    for package in PACKAGES:
        list(modules(package))
    names = {package.__name__ for package in PACKAGES}
    return [one for one in below(DiffusionError) if one.__module__.partition(".")[0] in names]


def below(root: type[DiffusionError]) -> Iterator[type[DiffusionError]]:
    for child in root.__subclasses__():
        yield child
        yield from below(child)


def answer(error: Exception) -> Any:
    @get("/")
    async def fail() -> None:
        raise error

    with create_test_client(fail, exception_handlers={Exception: on_error}) as client:
        return client.get("/")


def test_every_class_of_the_tree_is_mapped() -> None:
    found = tree()
    assert NotAuthenticated in found, "the walk sees the programs' own errors too"
    unmapped = [one for one in found if not any(c in PROBLEMS for c in one.__mro__)]
    assert unmapped == []


def test_the_branch_says_whose_fault_it_is() -> None:
    for error in tree():
        status = next(PROBLEMS[c][0] for c in error.__mro__ if c in PROBLEMS)
        assert (400 <= status < 500) is issubclass(error, InputError)
        assert (status == 503) is issubclass(error, RetryableError)
        assert (status == 500) is issubclass(error, PermanentError)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (NotAuthenticated("who?"), 401, "who?"),
        (InputError("what?"), 400, "what?"),
        (TooLargeError("long"), 413, "long"),
        (UnsupportedVersionError("old", (1,)), 400, "old"),
        (RefusedTokenError("forged", "unreadable"), 400, "forged"),
        (UnsupportedContent("what?", {}), 415, "what?"),
        (RetryableError("node 10.0.0.1 is away"), 503, None),
        (PermanentError("table diffusion.inbox is missing"), 500, None),
        (DiffusionError("unsorted"), 500, None),
        (ValueError("a bug with a secret"), 500, None),
        (HTTPException(status_code=418, detail="short and stout"), 418, "short and stout"),
        (HTTPException(status_code=507, detail="disk of node 10.0.0.1"), 507, None),
        (NotAuthorizedException("no"), 401, "no"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_a_problem_document(error: Exception, status: int, told: str | None) -> None:
    response = answer(error)
    assert response.status_code == status
    assert response.headers["content-type"].startswith(PROBLEM_TYPE)
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem.get("detail") == told, "what is our fault is in our log, not in the answer"


def test_a_problem_says_in_one_word_what_a_program_acts_on() -> None:
    assert problem_of(RefusedTokenError("forged", "unreadable")).reason == "unreadable"
    assert problem_of(UnsupportedVersionError("old", (1, 2))).supported == (1, 2)
    assert problem_of(RetryableError("away")).retry_after_ms == RETRY_AFTER_S * 1_000
    plain = problem_of(InputError("what?"))
    assert (plain.reason, plain.supported, plain.retry_after_ms) == (None, None, None)


def test_who_sends_an_unknown_form_is_told_the_known_ones() -> None:
    assert answer(UnsupportedContent("?", {"Accept": "a, b"})).headers["accept"] == "a, b"


def test_who_must_wait_is_told_how_long() -> None:
    assert answer(RetryableError("away")).headers["retry-after"] == str(RETRY_AFTER_S)
    assert "retry-after" not in answer(PermanentError("no")).headers


def test_who_is_nobody_is_told_how_to_say_it() -> None:
    assert answer(NotAuthenticated("who?")).headers["www-authenticate"] == "Bearer"


def test_an_outage_is_told_by_a_sentence_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(problems, "_outage", Seldom(3_600))
    for _ in range(5):
        assert counted(RetryableError("Cassandra is away."), "POST %s failed", "/x").status == 503
    assert caplog.messages == ["POST /x failed: RetryableError: Cassandra is away."]
    counted(PermanentError("no tables"), "POST %s failed", "/x")
    assert caplog.messages[1].startswith("POST /x failed\nPermanentError: no tables")
