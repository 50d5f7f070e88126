"""The session: connect, prepare, read, write, and whose fault an error is.

Blocking and asyncio programs share one driver session; `read`/`write` block a thread,
`aread`/`awrite`/`awrite_once` wait in the event loop, which may serve the connections itself
(`join_loop`). Rows come back as plain tuples, in the order
of the statement's columns.

Writes here are idempotent by their explicit timestamps, so a time-out, after which nobody knows
whether the write was applied, is answered by writing the same again until it is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from cassandra import (
    AuthenticationFailed,
    DriverException,
    InvalidRequest,
    RequestExecutionException,
    RequestValidationException,
    Unauthorized,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.query import BatchStatement, BatchType, BoundStatement

from infra import metrics
from infra.cassandra import on_loop
from infra.cassandra.cluster import cluster
from infra.settings import CassandraSettings
from schemas.errors import PermanentError, RetryableError

Statement: TypeAlias = BoundStatement | BatchStatement
Row: TypeAlias = tuple[Any, ...]

RETRY_FIRST_S: Final = 0.05
RETRY_LONGEST_S: Final = 2.0
"""Waits between tries double from the first to the longest, each with full jitter."""

WRITE_DEADLINE_S: Final = 120.0
"""A write that is not acknowledged for so long ends the batch; the program then starts anew, from
what Kafka says was finished. Longer than a node's restart, shorter than Kafka's patience."""

KEYSPACE_MARK: Final = "ks."
"""Stands before every table name in a statement, for the keyspace of the settings; a statement that
relies on a `USE` sent before is ambiguous, and Cassandra warns of each."""

PING: Final = "SELECT key FROM system.local"

PAGE_ROWS: Final = 5_000
"""The driver's own default: rows fetched at once."""

# Looked up once; a look-up costs more than what it is for.
_read_seconds = metrics.store_seconds.labels("read")
_write_seconds = metrics.store_seconds.labels("write")


class StoreUnavailable(RetryableError):
    """Cassandra does not answer, or not enough replicas do."""


class StoreRefused(PermanentError):
    """Cassandra answers, and will not do it: credentials, missing tables, a statement it
    rejects.
    """


_REFUSALS: Final = (
    AuthenticationFailed,
    Unauthorized,
    InvalidRequest,
    RequestValidationException,
)
_OUTAGES: Final = (NoHostAvailable, ConnectionException, RequestExecutionException, DriverException)


def translate(error: BaseException) -> Exception:
    """Map a driver error to ours: `StoreRefused` where retrying is useless, else
    `StoreUnavailable`.
    """
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict):
        inner = [e for e in error.errors.values() if isinstance(e, _REFUSALS)]
        if inner:
            return StoreRefused(f"Cassandra refused: {inner[0]}")
    if isinstance(error, _REFUSALS):
        return StoreRefused(f"Cassandra refused: {error}")
    if isinstance(error, _OUTAGES):
        return StoreUnavailable(f"Cassandra did not answer: {type(error).__name__}: {error}")
    return error if isinstance(error, Exception) else RuntimeError(repr(error))


def _failed(operation: str, error: BaseException) -> Exception:
    """`translate`, and count it."""
    translated = translate(error)
    outcome = "refused" if isinstance(translated, PermanentError) else "away"
    metrics.store_failures.labels(operation, outcome).inc()
    return translated


class Session:
    """A connection to the cluster. Safe for threads and event loops."""

    acknowledged = 0
    """Writes that replicas have taken: it grows for as long as anything goes on."""

    def __init__(self, settings: CassandraSettings) -> None:
        self.settings = settings
        self._home = on_loop.Home()
        self._cluster = cluster(settings, self._home)
        # What goes wrong here is our sentence; the driver would log a traceback for each host.
        driver_log = logging.getLogger("cassandra")
        level = driver_log.level
        driver_log.setLevel(logging.CRITICAL)
        try:
            self._session = self._cluster.connect()
        except Exception as error:
            self._cluster.shutdown()
            raise _unreachable(settings, error) from error
        finally:
            driver_log.setLevel(level)
        self._session.default_fetch_size = PAGE_ROWS
        self.prepare: Callable[[str], Any] = cache(self._prepare)
        self._prepared: dict[str, Any] = {}
        self._replicas: dict[bytes, int] = {}
        self._single_host = len(self._cluster.metadata.all_hosts()) == 1

    @property
    def driver(self) -> Any:
        """The driver's own session, for what is measured against it."""
        return self._session

    def close(self) -> None:
        """Close all connections."""
        self._cluster.shutdown()

    def join_loop(self) -> None:
        """Have the running event loop serve the connections, for a program that does little but
        read in it. From then on nothing on the loop may wait for this session but by `await`.
        """
        self._home.settle(asyncio.get_running_loop())

    def _prepare(self, cql: str) -> Any:
        assert not self._home.is_here(), "the loop would wait for what it has to read"
        try:
            statement = self._session.prepare(
                cql.replace(KEYSPACE_MARK, f"{self.settings.keyspace}.")
            )
        except Exception as error:
            raise translate(error) from error
        self._prepared[cql] = statement
        return statement

    async def aprepare(self, cql: str) -> None:
        """Prepare in a thread what `bind` needs, if that was not done."""
        if cql not in self._prepared:
            await asyncio.to_thread(self.prepare, cql)

    def bind(self, cql: str, values: Sequence[Any]) -> BoundStatement:
        """Prepare (once) and bind. `cql` is a constant of the table's module."""
        return self.prepare(cql).bind(values)

    def ping(self, timeout_s: float) -> None:
        """Ask for nothing; raises `StoreUnavailable` when nobody answers."""
        try:
            self._session.execute(PING, timeout=timeout_s)
        except Exception as error:
            raise translate(error) from error

    def run_ddl(self, cql: str) -> list[Row]:
        """Run a statement that is not prepared: migrations only. Returns when all nodes have it."""
        try:
            found = self._session.execute(cql, timeout=60.0)
            rows = list(found)
        except Exception as error:
            raise translate(error) from error
        if not found.response_future.is_schema_agreed:
            raise StoreUnavailable(
                "The nodes of Cassandra do not agree on the schema yet. See that all of them are "
                "up, and run `diffusion migrate` again: it goes on where it was."
            )
        return rows

    # Reading.

    def read(self, cql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run a query and fetch all its rows. Raises `StoreUnavailable` or `StoreRefused`."""
        started = time.monotonic()
        try:
            rows = list(self._session.execute(self.bind(cql, values)))
        except Exception as error:
            raise _failed("read", error) from error
        _read_seconds.observe(time.monotonic() - started)
        return rows

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[Row]:
        """`read` for an event loop."""
        if cql not in self._prepared:
            await self.aprepare(cql)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Row]] = loop.create_future()
        rows: list[Row] = []
        started = time.monotonic()
        future = self._session.execute_async(self._prepared[cql].bind(values))

        def on_page(page: Iterable[Row]) -> None:
            rows.extend(page)
            if future.has_more_pages:
                future.start_fetching_next_page()
            else:
                _read_seconds.observe(time.monotonic() - started)
                self._tell(loop, done, rows, None)

        def on_error(error: BaseException) -> None:
            self._tell(loop, done, None, _failed("read", error))

        future.add_callbacks(on_page, on_error)
        return await done

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        done: asyncio.Future[list[Row]],
        rows: list[Row] | None,
        error: Exception | None,
    ) -> None:
        if self._home.is_here():
            _settle(done, rows, error)
        else:
            loop.call_soon_threadsafe(_settle, done, rows, error)

    # Writing.

    def write(self, statements: Sequence[Statement], *, in_flight: int) -> None:
        """Write all, at most `in_flight` at once, each until acknowledged; blocks.

        Raises `StoreRefused` at once, `StoreUnavailable` after `WRITE_DEADLINE_S`.
        """
        todo = list(statements)
        deadline = time.monotonic() + WRITE_DEADLINE_S
        for wait_s in _waits():
            todo, error = self._write_once(todo, in_flight, deadline)
            if not todo:
                return
            if isinstance(error, PermanentError) or time.monotonic() > deadline:
                raise error or StoreUnavailable("Cassandra did not answer in time.")
            time.sleep(wait_s)

    def _write_once(
        self, statements: list[Statement], in_flight: int, deadline: float
    ) -> tuple[list[Statement], Exception | None]:
        """Try each statement once: those that failed, and one of the reasons (a refusal first).

        None is sent after the deadline: one round of many statements may take longer than all of
        it, and what the read side calls news rests on no write being later than that.
        """
        slots = threading.Semaphore(in_flight)
        failed: list[Statement] = []
        errors: list[Exception] = []

        def on_error(error: BaseException, statement: Statement) -> None:
            failed.append(statement)
            errors.append(_failed("write", error))
            slots.release()

        def on_done(_: object, sent_s: float) -> None:
            self.acknowledged += 1
            _write_seconds.observe(time.monotonic() - sent_s)
            slots.release()

        for number, statement in enumerate(statements):
            slots.acquire()
            now_s = time.monotonic()
            if now_s > deadline:
                slots.release()
                failed.extend(statements[number:])
                errors.append(StoreUnavailable("Cassandra did not answer in time."))
                break
            future = self._session.execute_async(statement)
            future.add_callbacks(
                on_done, on_error, callback_args=(now_s,), errback_args=(statement,)
            )
        for _ in range(in_flight):
            slots.acquire()
        errors.sort(key=lambda error: not isinstance(error, PermanentError))
        return failed, errors[0] if errors else None

    async def awrite(self, statements: Sequence[Statement], *, in_flight: int) -> None:
        """`write` for an event loop: runs in a thread, so that the loop goes on."""
        if statements:
            await asyncio.to_thread(self.write, statements, in_flight=in_flight)

    async def awrite_once(self, statement: Statement) -> None:
        """Write without a second try, for what may be lost. Waits in the event loop: an outage
        holds no thread, and so never the end of the process.

        Raises `StoreRefused`, or `StoreUnavailable` after one request's time-out.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Row]] = loop.create_future()
        started = time.monotonic()

        def on_done(_: object) -> None:
            _write_seconds.observe(time.monotonic() - started)
            self._tell(loop, done, [], None)

        def on_error(error: BaseException) -> None:
            self._tell(loop, done, None, _failed("write", error))

        self._session.execute_async(statement).add_callbacks(on_done, on_error)
        await done

    # Grouping.

    def replica_set(self, partition_key: bytes) -> object:
        """Name the replicas of a single-column text partition key, for grouping statements."""
        if self._single_host:
            return None
        replicas = self._cluster.metadata.get_replicas(self.settings.keyspace, partition_key)
        return tuple(sorted(str(host.endpoint) for host in replicas))

    @staticmethod
    def batch(statements: Iterable[BoundStatement]) -> BatchStatement:
        """Put statements of one replica set into an UNLOGGED batch."""
        batch = BatchStatement(BatchType.UNLOGGED)
        for statement in statements:
            batch.add(statement)
        return batch


def _waits() -> Iterable[float]:
    wait_s = RETRY_FIRST_S
    while True:
        yield random.uniform(0, wait_s)  # noqa: S311  # jitter, no secret
        wait_s = min(wait_s * 2, RETRY_LONGEST_S)


def _settle(
    done: asyncio.Future[list[Row]], rows: list[Row] | None, error: Exception | None
) -> None:
    if done.done():  # the waiter was cancelled; nobody is there to tell
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(rows or [])


def _unreachable(settings: CassandraSettings, error: Exception) -> Exception:
    translated = translate(error)
    if isinstance(translated, PermanentError):
        return StoreRefused(
            f"{translated}. Set DIFFUSION_CASSANDRA_USERNAME and DIFFUSION_CASSANDRA_PASSWORD to "
            "what it knows."
        )
    where = f"Cassandra at {settings.contact_points}:{settings.port}"
    if "[SSL" in str(error):  # the driver makes another error of it, with the text of this one
        return StoreRefused(
            f"{where} and we cannot agree on TLS: set DIFFUSION_CASSANDRA_CA_FILE to the authority "
            "that signed its certificate, which must name that address, or leave out "
            f"DIFFUSION_CASSANDRA_TLS if it speaks none. ({error})"
        )
    # Else the connection stood, and was ended without a word.
    silent = not settings.tls and "Tried connecting" not in str(error)
    return StoreUnavailable(
        f"{where} (datacenter {settings.local_datacenter}) does not answer. Start it with "
        "`diffusion up`, or set DIFFUSION_CASSANDRA_CONTACT_POINTS and DIFFUSION_CASSANDRA_PORT"
        f"{', and DIFFUSION_CASSANDRA_TLS if it speaks TLS' if silent else ''}. ({error})"
    )
