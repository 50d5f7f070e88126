"""Errors of the driver: what a person must mend, and what the next try may."""

from __future__ import annotations

import pytest
from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    RequestExecutionException,
    Unauthorized,
    Unavailable,
    WriteTimeout,
    WriteType,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException, ConnectionShutdown

from infra.cassandra.session import StoreRefused, StoreUnavailable, translate
from schemas.errors import PermanentError, RetryableError

HOST = "10.0.0.1"
LEVEL = ConsistencyLevel.LOCAL_QUORUM

OUTAGES = [
    OperationTimedOut(),
    NoHostAvailable("all down", {}),
    NoHostAvailable("all down", {HOST: ConnectionException("refused")}),
    NoHostAvailable("all down", {HOST: OperationTimedOut()}),
    NoHostAvailable("all down", []),
    Unavailable("too few", LEVEL, 2, 1),
    ReadTimeout("late", consistency=LEVEL),
    WriteTimeout("late", consistency=LEVEL, write_type=WriteType.BATCH),
    ReadFailure("tombstones", consistency=LEVEL),
    ConnectionException("reset"),
    ConnectionShutdown("gone"),
    RequestExecutionException("overloaded"),
    DriverException("anything"),
]
REFUSALS = [
    AuthenticationFailed("who?"),
    Unauthorized("no"),
    InvalidRequest("unconfigured table"),
    NoHostAvailable("all refuse", {HOST: AuthenticationFailed("who?")}),
    NoHostAvailable("mixed", {"a": OperationTimedOut(), "b": Unauthorized("no")}),
]


@pytest.mark.parametrize("error", OUTAGES, ids=repr)
def test_an_outage_may_be_tried_again(error: Exception) -> None:
    found = translate(error)
    assert type(found) is StoreUnavailable
    assert isinstance(found, RetryableError)
    assert type(error).__name__ in str(found), "what happened is for the log"


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_a_refusal_is_for_a_person(error: Exception) -> None:
    found = translate(error)
    assert type(found) is StoreRefused
    assert isinstance(found, PermanentError)


@pytest.mark.parametrize("error", [ValueError("x"), StoreRefused("x"), StoreUnavailable("x")])
def test_what_is_not_the_drivers_stays_as_it_is(error: Exception) -> None:
    assert translate(error) is error


def test_what_is_no_exception_becomes_one() -> None:
    assert isinstance(translate(KeyboardInterrupt()), RuntimeError)
