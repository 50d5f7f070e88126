"""The materializer draining a change log that was filled before, and the same rows by the driver
alone. Distinct pairs of user and conversation, so that coalescing helps neither.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from consumers.materializer import Materializer
from infra import epochs, metrics
from infra.cassandra import changes_by_user, yardstick
from infra.cassandra.schema import open_session
from infra.clock import monotonic_s, now_ms
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from infra.settings import Settings
from schemas import ids, topics
from schemas.changes import MessageChange
from schemas.codec import encode_change
from schemas.versions import version_of, window_start
from streams.diffusion import share

MEMBERS: Final = 128
"""Of each conversation: about the median of the group trace."""

USERS: Final = 20_000
BATCHES: Final = (20, 50, 100, 200)
IN_FLIGHT: Final = (16, 32, 64)
"""What the best batches of the yardstick are looked for among."""

TRY_ROWS: Final = 6_000
"""Rows of each try: half a second."""

TRIES: Final = 2

ROWS_PER_USER_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Conversation:
    """A message to be marked for all members."""

    conversation_id: str
    members: tuple[str, ...]
    seq: int
    sent_at_ms: int


def conversations(number: int, rows: int, seed: int) -> list[Conversation]:
    """Conversations of `MEMBERS` each, of so many members together; another `number`, others."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 -- a reproducible run
    users = [str(3_000_000_000 + user) for user in range(USERS)]
    return [
        Conversation(
            ids.group(f"{seed}_{number}_{place}"),
            tuple(sorted(rng.sample(users, MEMBERS))),
            rng.randint(1, 2_000),
            1_750_000_000_000 + rng.randrange(86_400_000),
        )
        for place in range(rows // MEMBERS)
    ]


def fill(settings: Settings, found: list[Conversation], partitions: int) -> int:
    """Write the change records of a message to each conversation; how many records."""
    delivery, count = Delivery(settings.kafka, "diffusion-bench"), 0
    for one in found:
        for partition, users in share(one.members, partitions).items():
            change = MessageChange(one.conversation_id, users, one.seq, one.sent_at_ms)
            delivery.produce(topics.CHANGES.name, partition, encode_change(change))
            count += 1
    delivery.flush()
    return count


def drain(settings: Settings, rows: int) -> float:
    """Run a materializer until it has written so many rows; rows a second, after its first batch.

    For a process of its own: it counts what the process's metrics count.
    """
    written = metrics.materializer_rows.labels("changes_by_user")
    first: tuple[float, float] | None = None
    last: tuple[float, float] = (0, 0)

    def is_done() -> bool:
        nonlocal first, last
        last = monotonic_s(), written._value.get()
        if last[1] and first is None:
            first = last
        return last[1] >= rows

    run_materializer(settings, is_done)
    assert first is not None
    return (last[1] - first[1]) / (last[0] - first[0])


def run_materializer(settings: Settings, is_done: Callable[[], bool]) -> None:
    """Run a materializer in this process; between two batches `is_done` may end it."""
    session = open_session(settings.cassandra)
    epoch = epochs.ensure_change_log(settings, session, Admin(settings.kafka))
    delivery = Delivery(settings.kafka, "diffusion-materializer-dead-letters")
    Materializer(settings, session, epoch, delivery, now_ms).run(is_done)
    session.close()


def find_best(settings: Settings, seed: int) -> tuple[int, int]:
    """The rows a batch and the batches under way with which the driver alone is fastest."""
    session = open_session(settings.cassandra)
    tries = [(rows, in_flight) for rows in BATCHES for in_flight in IN_FLIGHT]
    found: dict[tuple[int, int], float] = {}
    # The first round warms the server up, and does not count; the order of the others is drawn.
    for number in range(1 + TRIES):
        random.Random(f"{seed}/{number}").shuffle(tries)  # noqa: S311 -- a reproducible run
        for place, (rows, in_flight) in enumerate(tries):
            drawn = conversations(-1 - len(tries) * number - place, TRY_ROWS, seed)
            values = list(_values(settings, drawn))
            seconds = _seconds(_write(session, values, rows, in_flight))
            if number:
                found[rows, in_flight] = min(seconds, found.get((rows, in_flight), seconds))
    session.close()
    return min(found, key=lambda one: found[one])


def limit(
    settings: Settings, found: list[Conversation], rows_per_batch: int, in_flight: int
) -> float:
    """Write the same rows with the driver alone; rows a second."""
    session = open_session(settings.cassandra)
    values = list(_values(settings, found))
    seconds = _seconds(_write(session, values, rows_per_batch, in_flight))
    session.close()
    return len(values) / seconds


def _write(session: Any, values: list[Any], rows: int, in_flight: int) -> Callable[[], None]:
    return lambda: yardstick.write_best(session, values, rows_per_batch=rows, in_flight=in_flight)


def _values(settings: Settings, found: list[Conversation]) -> Iterator[tuple[Any, ...]]:
    """Values of `changes_by_user.UPDATE_MESSAGE`, one partition of Cassandra after the other."""
    window_ms = window_start(now_ms(), settings.log.window_ms)
    ttl_s = settings.log.retention_ms // 1_000
    for number, one in enumerate(found):
        version = version_of(1, number)
        stamp = changes_by_user.row_stamp(window_ms, one.seq)
        for user in one.members:
            yield (
                *(ttl_s, stamp, version, one.seq, one.sent_at_ms),
                *(user, window_ms, one.conversation_id),
            )


def _seconds(work: Callable[[], None]) -> float:
    began_s = monotonic_s()
    work()
    return monotonic_s() - began_s


CONVERSATIONS_CHECKED: Final = 10


def wrong_rows(settings: Settings, found: list[Conversation]) -> list[str]:
    """Index rows of some conversations that are missing, or say something else."""
    session = open_session(settings.cassandra)
    wrong: list[str] = []
    for one in found[:: max(1, len(found) // CONVERSATIONS_CHECKED)]:
        for user in one.members:
            rows = session.read(changes_by_user.SELECT_SINCE, (user, 0, ROWS_PER_USER_MAX))
            said = [row[3] for row in rows if row[1] == one.conversation_id]
            if said != [one.seq]:
                wrong.append(f"{user} in {one.conversation_id}: {said}, not {one.seq}")
    session.close()
    return wrong
