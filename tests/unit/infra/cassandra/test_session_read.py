"""Reading in an event loop: prepared in a thread, once, and told without one when the loop reads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from cassandra import OperationTimedOut
from prometheus_client import REGISTRY

from infra.cassandra.on_loop import Home
from infra.cassandra.session import Session, StoreUnavailable
from infra.settings import CassandraSettings

CQL = "SELECT a FROM ks.t WHERE b = ?"


class Prepared:
    def __init__(self, cql: str) -> None:
        self.cql = cql

    def bind(self, values: Any) -> tuple[str, Any]:
        return self.cql, values


class Future:
    """Two pages, or an error, as soon as somebody wants to know."""

    def __init__(self, error: Exception | None) -> None:
        self.has_more_pages = True
        self._error = error

    def add_callbacks(self, on_page: Any, on_error: Any) -> None:
        self._on_page = on_page
        if self._error is not None:
            on_error(self._error)
        else:
            on_page([(1,), (2,)])

    def start_fetching_next_page(self) -> None:
        self.has_more_pages = False
        self._on_page([(3,)])


class Driver:
    def __init__(self) -> None:
        self.prepared: list[tuple[str, int]] = []
        self.sent: list[Any] = []
        self.error: Exception | None = None

    def prepare(self, cql: str) -> Prepared:
        self.prepared.append((cql, threading.get_ident()))
        return Prepared(cql)

    def execute_async(self, statement: Any) -> Future:
        self.sent.append(statement)
        return Future(self.error)


def session_on(driver: Driver) -> Session:
    session = Session.__new__(Session)
    session.settings = CassandraSettings()
    session._session = driver
    session._home = Home()
    session._prepared = {}
    session.prepare = session._prepare
    return session


@pytest.mark.parametrize("joined", [True, False])
def test_all_pages_are_read_and_a_statement_is_prepared_once_in_a_thread(*, joined: bool) -> None:
    driver = Driver()

    async def read_twice() -> None:
        session = session_on(driver)
        if joined:
            session.join_loop()
        for value in "xy":
            assert await session.aread(CQL, (value,)) == [(1,), (2,), (3,)]

    asyncio.run(read_twice())
    ((cql, thread),) = driver.prepared
    assert cql == "SELECT a FROM diffusion.t WHERE b = ?"
    assert thread != threading.get_ident()
    assert driver.sent == [(cql, ("x",)), (cql, ("y",))]


@pytest.mark.parametrize("joined", [True, False])
def test_an_error_is_ours(*, joined: bool) -> None:
    driver = Driver()
    driver.error = OperationTimedOut()

    async def read() -> None:
        session = session_on(driver)
        if joined:
            session.join_loop()
        with pytest.raises(StoreUnavailable):
            await session.aread(CQL, ("x",))

    asyncio.run(read())


def test_a_read_is_timed_once_however_many_pages_it_has_and_a_failure_is_counted() -> None:
    def counted() -> tuple[float, float]:
        failed = {"operation": "read", "outcome": "away"}
        return (
            REGISTRY.get_sample_value("diffusion_store_seconds_count", {"operation": "read"}) or 0,
            REGISTRY.get_sample_value("diffusion_store_failures_total", failed) or 0,
        )

    async def read(driver: Driver) -> None:
        with contextlib.suppress(StoreUnavailable):
            await session_on(driver).aread(CQL, ("x",))

    driver, reads, failures = Driver(), *counted()
    asyncio.run(read(driver))
    assert counted() == (reads + 1, failures)
    driver.error = OperationTimedOut()
    asyncio.run(read(driver))
    assert counted() == (reads + 1, failures + 1)


def test_a_loop_that_reads_does_not_wait_for_itself() -> None:
    async def bind() -> None:
        session = session_on(Driver())
        session.join_loop()
        with pytest.raises(AssertionError, match="wait"):
            session.bind(CQL, ("x",))
        await session.aprepare(CQL)
        session.prepare = lambda cql: session._prepared[cql]
        assert session.bind(CQL, ("x",))

    asyncio.run(bind())
