"""Errors of the driver: what a person must mend, and what the next try may."""

from __future__ import annotations

from typing import Any

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

from infra.cassandra.session import StoreRefused, StoreUnavailable, _unreachable, translate
from infra.settings import CassandraSettings
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


def away(error: BaseException, **settings: Any) -> Exception:
    found = CassandraSettings(contact_points="node-1", **settings)
    return _unreachable(found, NoHostAvailable("Unable to connect", {"10.0.0.5:9042": error}))


REFUSED = ConnectionRefusedError(
    111, "Tried connecting to [('10.0.0.5', 9042)]. Last error: refused"
)
UNTRUSTED = OSError(
    1, "Tried connecting to [('10.0.0.5', 9042)]. Last error: [SSL: CERTIFICATE_V..."
)


@pytest.mark.parametrize(
    ("error", "settings", "kind", "words"),
    [
        (REFUSED, {}, StoreUnavailable, "DIFFUSION_CASSANDRA_PORT. ("),
        (REFUSED, {"tls": True}, StoreUnavailable, "DIFFUSION_CASSANDRA_PORT. ("),
        (UNTRUSTED, {"tls": True}, StoreRefused, "set DIFFUSION_CASSANDRA_CA_FILE"),
        (ConnectionResetError(104, "reset"), {}, StoreUnavailable, "DIFFUSION_CASSANDRA_TLS if it"),
        (ConnectionShutdown("closed"), {}, StoreUnavailable, "DIFFUSION_CASSANDRA_TLS if it"),
        (ConnectionShutdown("closed"), {"tls": True}, StoreUnavailable, "CASSANDRA_PORT. ("),
        (AuthenticationFailed("who?"), {}, StoreRefused, "Set DIFFUSION_CASSANDRA_USERNAME"),
    ],
)
def test_who_cannot_connect_is_told_what_to_set(
    error: Exception, settings: dict[str, Any], kind: type[Exception], words: str
) -> None:
    told = away(error, **settings)
    assert type(told) is kind
    assert words in str(told)
