"""Table `schema_locks`: one migration at a time, however many are started.

Cassandra does not put changes of the schema in an order when they come by several nodes: two that
make the same table at once may leave it with two ids, and lose what is written to one of them. So a
migration holds a lock, taken and kept by light-weight transactions. It expires by itself, when its
holder was killed; statements of migrations may be repeated, so the next one goes on from there.

The table of the lock itself cannot be made under the lock: it has an id that follows from the name
of the keyspace, so that making it twice makes the same.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from infra.cassandra.session import Session
from infra.clock import monotonic_s
from schemas.errors import RetryableError

LOCK_S: Final = 180
"""Life of the lock without being kept: longer than a statement may take, which are 60 seconds and
10 until all nodes agree. So a migration waits at most so long for one that was killed."""

WAIT_S: Final = 900.0
"""Longest wait for others. Migrations of a few statements take seconds."""

POLL_S: Final = 0.5

TAKE: Final = "UPDATE ks.schema_locks USING TTL ? SET owner = ? WHERE id = 1 IF owner = NULL"
KEEP: Final = "UPDATE ks.schema_locks USING TTL ? SET owner = ? WHERE id = 1 IF owner = ?"
GIVE_BACK: Final = "UPDATE ks.schema_locks SET owner = NULL WHERE id = 1 IF owner = ?"

_IDS: Final = uuid.UUID("5f6e0c3a-3d7e-4b52-9c55-6f0f6c8f9a01")
"""Namespace of the ids of lock tables: of two keyspaces they differ, as they must."""


class MigrationUnderWay(RetryableError):
    """Another migration holds the lock, or took it over."""


def create(keyspace: str) -> str:
    """The statement that makes the table."""
    return (
        f"CREATE TABLE IF NOT EXISTS {keyspace}.schema_locks (id int PRIMARY KEY, owner text) "
        f"WITH ID = {uuid.uuid5(_IDS, keyspace)}"
    )


@contextmanager
def held(
    session: Session, on_wait: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> Iterator[Callable[[], None]]:
    """Hold the lock in the block; waits for it. Yields what keeps it, to be called before each
    statement.

    Raises `MigrationUnderWay` after `WAIT_S`; and from a call of what was yielded, if the lock
    expired and is another's.
    """
    owner = str(uuid.uuid4())
    _take(session, owner, on_wait, sleep)

    def keep() -> None:
        if not _applied(session, KEEP, (LOCK_S, owner, owner)):
            raise MigrationUnderWay(
                "This migration stood still for so long that another took over. Run it again."
            )

    try:
        yield keep
    finally:
        with suppress(RetryableError):  # it expires
            _applied(session, GIVE_BACK, (owner,))


def _take(
    session: Session, owner: str, on_wait: Callable[[str], None], sleep: Callable[[float], None]
) -> None:
    deadline = monotonic_s() + WAIT_S
    told = False
    while not _applied(session, TAKE, (LOCK_S, owner)):
        if monotonic_s() > deadline:
            raise MigrationUnderWay(
                f"Other migrations of this keyspace have run for {WAIT_S:,.0f} seconds. See what "
                "they do, and run this one again."
            )
        if not told:
            on_wait("another migration runs: waiting for it")
            told = True
        sleep(POLL_S)


def _applied(session: Session, cql: str, values: tuple[object, ...]) -> bool:
    # The first column of the answer to a conditional statement says whether it was applied.
    return bool(session.read(cql, values)[0][0])
