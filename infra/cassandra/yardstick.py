"""What benchmarks measure against: the driver and nothing of ours around it.

`write_best` is what a program that knows its rows beforehand can do at best: one prepared
statement, UNLOGGED batches, a bounded number of them under way. `write_naive` is what people write
by hand: one insert for each message and member, by the driver's own `execute_concurrent`.

`read_in_turn` is the loop that anybody writes first, and `read_at_once` what the driver can do at
best: the next read begins in the callback of the one before, so that one thread does all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, Final, TypeAlias

from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import BatchStatement, BatchType

from infra.cassandra.changes_by_user import UPDATE_MESSAGE
from infra.cassandra.session import KEYSPACE_MARK, Session
from infra.clock import monotonic_s

Reads: TypeAlias = Sequence[tuple[str, Sequence[Any]]]
"""Statements with their values, one after the other: what one request needs."""

NAIVE_TABLE: Final = "ks.naive_changes_by_user"
CREATE_NAIVE: Final = (
    f"CREATE TABLE IF NOT EXISTS {NAIVE_TABLE} (user_id text, version bigint, conversation_id text,"
    " max_seq bigint, active_at_ms bigint, PRIMARY KEY (user_id, version))"
)
INSERT_NAIVE: Final = (
    f"INSERT INTO {NAIVE_TABLE} (user_id, version, conversation_id, max_seq, active_at_ms)"
    " VALUES (?, ?, ?, ?, ?) USING TTL ?"
)

NAIVE_CONCURRENCY: Final = 100
"""The driver's default."""


def write_best(
    session: Session, rows: Sequence[tuple[Any, ...]], *, rows_per_batch: int, in_flight: int
) -> None:
    """Write rows of the change index (values of `changes_by_user.UPDATE_MESSAGE`)."""
    driver, prepared = session.driver, session.prepare(UPDATE_MESSAGE)
    slots = threading.Semaphore(in_flight)
    errors: list[BaseException] = []

    def on_done(_: object) -> None:
        slots.release()

    def on_error(error: BaseException) -> None:
        errors.append(error)
        slots.release()

    for start in range(0, len(rows), rows_per_batch):
        batch = BatchStatement(BatchType.UNLOGGED)
        for values in rows[start : start + rows_per_batch]:
            batch.add(prepared, values)
        slots.acquire()
        driver.execute_async(batch).add_callbacks(on_done, on_error)
    for _ in range(in_flight):
        slots.acquire()
    if errors:
        raise errors[0]


def make_naive(session: Session) -> None:
    """Make the table of `write_naive`."""
    session.run_ddl(CREATE_NAIVE.replace(KEYSPACE_MARK, f"{session.settings.keyspace}."))


def write_naive(session: Session, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write (user, version, conversation, sequence, time, TTL in seconds), a statement each."""
    execute_concurrent_with_args(
        session.driver,
        session.prepare(INSERT_NAIVE),
        rows,
        concurrency=NAIVE_CONCURRENCY,
        raise_on_first_error=True,
    )


def read_in_turn(session: Session, requests: Sequence[Reads], seconds: float) -> float:
    """Carry out requests again and again, one read at a time, all rows fetched: requests a second
    over so many seconds.
    """
    execute, prepare = session.driver.execute, session.prepare
    began_s = now_s = monotonic_s()
    count = 0
    for reads in cycle(requests):
        for cql, values in reads:
            list(execute(prepare(cql).bind(values)))
        count += 1
        now_s = monotonic_s()
        if now_s - began_s >= seconds:
            break
    return count / (now_s - began_s)


def read_at_once(
    session: Session, requests: Sequence[Reads], seconds: float, in_flight: int
) -> float:
    """`read_in_turn` with so many requests under way at once."""
    loop = _AtOnce(session, requests, monotonic_s() + seconds)
    began_s = monotonic_s()
    for _ in range(in_flight):
        loop.begin()
    for _ in range(in_flight):
        loop.ended.acquire()
    if loop.errors:
        raise loop.errors[0]
    return loop.count / (monotonic_s() - began_s)


class _AtOnce:
    """Requests that follow each other in callbacks. The driver has one thread for these."""

    def __init__(self, session: Session, requests: Sequence[Reads], until_s: float) -> None:
        self._session = session
        self._requests = cycle(requests)
        self._until_s = until_s
        self.count = 0
        self.errors: list[BaseException] = []
        self.ended = threading.Semaphore(0)

    def begin(self) -> None:
        """Begin the next request."""
        self._send(next(self._requests), 0)

    def _send(self, reads: Reads, place: int) -> None:
        cql, values = reads[place]
        rows: list[Any] = []
        future = self._session.driver.execute_async(self._session.prepare(cql).bind(values))

        def on_page(page: Iterable[Any]) -> None:
            rows.extend(page)
            if future.has_more_pages:
                future.start_fetching_next_page()
            elif place + 1 < len(reads):
                self._send(reads, place + 1)
            else:
                self.count += 1
                self._next()

        future.add_callbacks(on_page, self._fail)

    def _next(self) -> None:
        if self.errors or monotonic_s() >= self._until_s:
            self.ended.release()
        else:
            self.begin()

    def _fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self.ended.release()
