"""What a row costs, and a sync, when the index has the partitions of 1,000 to a million users.

At each size the table holds a row of every user, written before by the driver alone; then a
materializer drains a change log with as many rows at every size, spread over the users at random,
in a process of its own. Some users, evenly among them, get one row each before their empty sync is
measured, and rows of `CHANGES_TOLD` conversations before the sync that tells them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from diffusion.bench import children, drain, growth_disk
from diffusion.bench.growth_cost import (
    CHANGES_TOLD,
    Prober,
    Spent,
    cassandra_pid,
    middle,
    own_cpu_ms,
    wait_calm,
)
from diffusion.bench.growth_fit import Point, Series
from diffusion.bench.measure import cpu_ms
from diffusion.console import Console
from diffusion.system import System, running
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
from schemas.partitioner import partition_of
from schemas.protocol import SyncResponse
from schemas.versions import version_of, window_start

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
FIRST_USER: Final = 7_000_000_000
ROUNDS: Final = 3
ROWS: Final = 48_000
"""Rows of a round: three batches of the materializer, the first of which does not count."""

MEMBERS: Final = 128
"""Of each conversation, as in `diffusion bench write`."""

SAMPLED: Final = 100
"""Users who sync."""

FILL_CHUNK: Final = 50_000
FILL_BATCH: Final = 100
FILL_IN_FLIGHT: Final = 32
FILL_AGE_MS: Final = 3_600_000
"""The row that every user has is so old: no sync looks at it."""

USERS_CHECKED: Final = 500
"""Of all, those whose first row is looked for in the end."""

SENT_AT_MS: Final = 1_750_000_000_000


@dataclass(frozen=True, slots=True)
class Marked:
    """A conversation with a message for some users."""

    conversation_id: str
    users: tuple[str, ...]
    seq: int


def user(number: int) -> str:
    """Id of the user of this number, from 0."""
    return str(FIRST_USER + number)


def sampled(size: int) -> list[str]:
    """The users who sync, evenly among those who are new at this size: no change of a smaller one,
    which a sync would read again for some minutes, is theirs.
    """
    first = size // 10
    return [user(first + number * (size - first) // SAMPLED) for number in range(SAMPLED)]


def spread(size: int, number: int, rows: int, seed: int) -> Iterator[Marked]:
    """Conversations of `MEMBERS` drawn from the first `size` users, none of whom syncs."""
    rng = random.Random(f"{seed}/{size}/{number}")  # noqa: S311 -- a reproducible run
    left_out = set(sampled(size))
    for place in range(rows // MEMBERS):
        drawn = [user(one) for one in rng.sample(range(size), min(size, 2 * MEMBERS))]
        members = sorted([one for one in drawn if one not in left_out][:MEMBERS])
        name = ids.group(f"{seed}_{size}_{number}_{place}")
        yield Marked(name, tuple(members), rng.randint(1, 2_000))


def told(size: int, changes: int, seq: int) -> Iterator[Marked]:
    """So many conversations of each user who syncs."""
    for one in sampled(size):
        for place in range(changes):
            yield Marked(ids.group(f"{size}_{one}_{place}"), (one,), seq)


def fill_log(settings: Settings, marked: Sequence[Marked], partitions: int) -> tuple[int, int]:
    """Write the change records of these messages: rows that they make, and records."""
    delivery = Delivery(settings.kafka, "diffusion-bench-growth")
    for one in marked:
        shares: dict[int, list[str]] = {}
        for member in one.users:
            shares.setdefault(partition_of(member, partitions), []).append(member)
        for partition, some in shares.items():
            change = MessageChange(one.conversation_id, tuple(some), one.seq, SENT_AT_MS + one.seq)
            delivery.produce(topics.CHANGES.name, partition, encode_change(change))
    delivery.flush()
    return sum(len(one.users) for one in marked), delivery.delivered


def fill_table(settings: Settings, first: int, last: int, epoch: int) -> None:
    """Write a row of each user from number `first` to `last`, exclusive. For its own process."""
    session = open_session(settings.cassandra)
    window_ms = window_start(now_ms() - FILL_AGE_MS, settings.log.window_ms)
    ttl_s, stamp = settings.log.retention_ms // 1_000, changes_by_user.row_stamp(window_ms, 1)
    values = (ttl_s, stamp, version_of(epoch, 0), 1, SENT_AT_MS)
    for start in range(first, last, FILL_CHUNK):
        rows: list[tuple[Any, ...]] = [
            (*values, user(number), window_ms, _old(number))
            for number in range(start, min(last, start + FILL_CHUNK))
        ]
        yardstick.write_best(session, rows, rows_per_batch=FILL_BATCH, in_flight=FILL_IN_FLIGHT)
    session.close()


def drain_log(settings: Settings, rows: int, cassandra: int) -> Spent:
    """What the materializer spends on rows that are in the log. For a process of its own."""
    watch = _Watch(rows, cassandra)
    drain.run_materializer(settings, watch.is_done)
    return watch.spent()


class _Watch:
    """Looks at a materializer between its batches, and ends it after so many rows. The first batch
    does not count: it prepares statements and opens connections.
    """

    def __init__(self, rows: int, cassandra: int) -> None:
        self._wanted = rows
        self._cassandra = cassandra
        self._counter = metrics.materializer_rows.labels("changes_by_user")
        self._looks: list[tuple[int, float, float, float]] = []

    def is_done(self) -> bool:
        rows = int(self._counter._value.get())
        if rows and (not self._looks or rows > self._looks[-1][0]):
            self._looks.append((rows, monotonic_s(), own_cpu_ms(), cpu_ms(self._cassandra)))
        return rows >= self._wanted

    def spent(self) -> Spent:
        first, last = self._looks[0], self._looks[-1]
        seconds, cpu, server = (end - begin for begin, end in zip(first[1:], last[1:], strict=True))
        return Spent(last[0] - first[0], seconds, cpu, server)


def wrong_rows(settings: Settings, marked: Sequence[Marked], numbers: Sequence[int]) -> list[str]:
    """Rows of these messages, and those that the users of these numbers had from the beginning,
    that are missing or say something else. For a process of its own.
    """
    session, wrong = open_session(settings.cassandra), []
    since = changes_by_user.SELECT_SINCE
    for one in marked:
        for member in one.users:
            rows = session.read(since, (member, 0, drain.ROWS_PER_USER_MAX))
            said = [row[3] for row in rows if row[1] == one.conversation_id]
            if said != [one.seq]:
                wrong.append(f"{member} in {one.conversation_id}: {said}, not {one.seq}")
    for number in numbers:
        rows = session.read(since, (user(number), 0, drain.ROWS_PER_USER_MAX))
        if [row[1] for row in rows if row[1].startswith("sg_old")] != [_old(number)]:
            wrong.append(f"{user(number)} has lost the row that he had")
    session.close()
    return wrong


def _old(number: int) -> str:
    return ids.group(f"old_{number % MEMBERS}")


@dataclass(slots=True)
class _Bench:
    settings: Settings
    system: System
    cassandra: int
    epoch: int
    seed: int
    differences: list[str] = field(default_factory=list)
    checked: list[Marked] = field(default_factory=list)
    rows: int = 0
    records: int = 0

    def drained(self, marked: list[Marked]) -> Spent:
        """Fill the log, and drain it."""
        partitions = self.settings.kafka.change_partitions
        rows, records = fill_log(self.settings, marked, partitions)
        self.rows += rows
        self.records += records
        spent, _ = children.run(drain_log, self.settings, rows, self.cassandra)
        return spent

    def point(self, size: int, filled: int) -> Point:
        """Fill up to `size` users, then measure."""
        children.run(fill_table, self.settings, filled, size, self.epoch)
        first = [*spread(size, -1, ROWS, self.seed), *told(size, 1, 1)]
        self.drained(first)
        wait_calm(self.cassandra)
        rounds = []
        for number in range(ROUNDS):
            marked = list(spread(size, number, ROWS, self.seed))
            rounds.append(self.drained(marked))
            self.checked.append(marked[number])
        with Prober(self.system, self.cassandra) as prober:
            cursors = {one: prober.caught_up(one) for one in sampled(size)}
            if not filled:
                prober.measure(cursors)  # servers that were just started are still compiling
            empty = prober.measure(cursors)
            self.drained(list(told(size, CHANGES_TOLD, 2)))
            some = prober.measure(cursors)
            for one, cursor in cursors.items():
                self._check(size, one, prober.send(one, cursor))
        spent = middle(rounds)
        return Point(
            size,
            {
                "materializer_cpu_us_per_row": spent.cpu_us,
                "cassandra_us_per_row": spent.cassandra_us,
                "wall_us_per_row": spent.wall_us,
                **empty.costs("sync_0"),
                **some.costs("sync_20"),
            },
        )

    def _check(self, size: int, one: str, answer: SyncResponse) -> None:
        found = {entry.conversation_id: entry.max_seq for entry in answer.conversations}
        wanted = {
            marked.conversation_id: marked.seq
            for marked in told(size, CHANGES_TOLD, 2)
            if marked.users == (one,)
        }
        if found != wanted:
            self.differences.append(f"{size:,} users: {one} was told {len(found)} conversations")


def measure(
    settings: Settings, folder: Path, seed: int, console: Console
) -> tuple[Series, list[str], dict[str, float]]:
    """Measure all sizes; with what is wrong in the end, and what is stored of each row."""
    with running(
        settings, logs=folder / "logs", stream_workers=0, materializers=0, report=console.say
    ) as system:
        session = open_session(settings.cassandra)
        epoch = epochs.ensure_change_log(settings, session, Admin(settings.kafka)).epoch
        session.close()
        bench = _Bench(settings, system, cassandra_pid(settings), epoch, seed)
        points, filled = [], 0
        with console.progress("users in the index", total=len(SIZES)) as update:
            for size in SIZES:
                points.append(bench.point(size, filled))
                filled = size
                update(advance=1)
        rng = random.Random(seed)  # noqa: S311 -- a reproducible run
        numbers = rng.sample(range(filled), USERS_CHECKED)
        wrong, _ = children.run(wrong_rows, settings, bench.checked, numbers)
    stored = growth_disk.bytes_stored(settings, filled + bench.rows, bench.records)
    names = ("materializer_cpu_us_per_row", "cassandra_us_per_row")
    flat = (*names, "sync_0_cpu_ms", "sync_20_cpu_ms")
    series = Series("users", "users in the index", tuple(points), flat)
    return series, [*bench.differences, *wrong], stored
