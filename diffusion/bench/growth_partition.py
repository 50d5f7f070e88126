"""What another row of one user costs, whatever he has already: his partition grows, and the work
does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from diffusion.bench import children
from diffusion.bench.growth_cost import Spent, middle, timed
from infra.cassandra import changes_by_user
from infra.cassandra.changes_by_user import RowKey
from infra.cassandra.schema import open_session
from infra.cassandra.session import Session, Statement
from infra.clock import now_ms
from infra.settings import Settings
from schemas.versions import window_start

ROWS: Final = 8_000
"""Rows of a round: some tenths of a second, and as many ticks of the clock."""

ROUNDS: Final = 5
BATCH_ROWS: Final = 50
IN_FLIGHT: Final = 8
CONVERSATIONS_MAX: Final = 100
"""Rows are written for so many conversations of the user in turns: all that he has grows by at most
so many rows, also where he has few."""

FIRST_SEQ: Final = 1_000_000
"""Above all sequences before, so that every row is news to its cells."""


def row_costs(
    settings: Settings, user_id: str, conversations: Sequence[str], version: int, cassandra: int
) -> dict[str, float]:
    """Costs of a row of the present window, by the names that a point has. To be called last: what
    is written is no message that anybody sent.
    """
    some = list(conversations)[:CONVERSATIONS_MAX]
    spent, _ = children.run(_write, settings, user_id, some, version, cassandra)
    return {
        "write_cassandra_us_per_row": spent.cassandra_us,
        "write_cpu_us_per_row": spent.cpu_us,
        "write_wall_us_per_row": spent.wall_us,
    }


def _write(
    settings: Settings, user_id: str, conversations: Sequence[str], version: int, cassandra: int
) -> Spent:
    session, rounds = open_session(settings.cassandra), []
    window_ms = window_start(now_ms(), settings.log.window_ms)
    ttl_s = settings.log.retention_ms // 1_000
    for number in range(1 + ROUNDS):  # the first warms up

        def work(first: int = FIRST_SEQ + number * ROWS) -> int:
            found = _batches(session, user_id, conversations, window_ms, ttl_s, (version, first))
            session.write(list(found), in_flight=IN_FLIGHT)
            return ROWS

        rounds.append(timed(work, cassandra))
    session.close()
    return middle(rounds[1:], by="cassandra_us")


def _batches(
    session: Session,
    user_id: str,
    conversations: Sequence[str],
    window_ms: int,
    ttl_s: int,
    place: tuple[int, int],
) -> Iterator[Statement]:
    version, first = place
    for start in range(0, ROWS, BATCH_ROWS):
        yield session.batch(
            changes_by_user.message(
                session,
                RowKey(user_id, window_ms, conversations[number % len(conversations)]),
                ttl_s,
                version=version,
                max_seq=first + number,
                active_at_ms=now_ms(),
            )
            for number in range(start, start + BATCH_ROWS)
        )
