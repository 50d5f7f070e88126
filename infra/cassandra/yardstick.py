"""What benchmarks measure against: the driver and nothing of ours around it.

`write_best` is what a program that knows its rows beforehand can do at best: one prepared
statement, UNLOGGED batches, a bounded number of them under way. `write_naive` is what people write
by hand: one insert for each message and member, by the driver's own `execute_concurrent`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import BatchStatement, BatchType

from infra.cassandra.changes_by_user import UPDATE_MESSAGE
from infra.cassandra.session import KEYSPACE_MARK, Session

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
