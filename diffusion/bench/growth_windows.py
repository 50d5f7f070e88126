"""What a sync costs a user of whom the index has rows of an hour to a week, and another row of his.

The rows of windows that are over are written straight, with the statements of the product, at
versions that the change log has given already: records of others come first in the partition of
the users. What happens in the present window goes through the change log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Final

from diffusion.bench.growth_cost import CHANGES_TOLD, Prober, cassandra_pid, wait_calm
from diffusion.bench.growth_fit import Point, Series
from diffusion.bench.growth_partition import row_costs
from diffusion.console import Console
from diffusion.system import System, running
from infra import epochs
from infra.cassandra import changes_by_user
from infra.cassandra.changes_by_user import RowKey
from infra.cassandra.grouping import batches
from infra.cassandra.schema import open_session
from infra.cassandra.session import Session, Statement
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from infra.settings import Settings
from schemas import ids, topics
from schemas.changes import MessageChange
from schemas.codec import encode_change
from schemas.cursor import Cursor, seal, user_digest
from schemas.partitioner import partition_of
from schemas.versions import version_of, window_start
from syncapi.auth import cursor_key

SIZES: Final = (6, 36, 144, 1_008)
"""Windows of ten minutes: an hour, six hours, a day, a week."""

ROWS_PER_WINDOW: Final = 8
"""A week of them is 8,064 rows; half of it is one page of a read."""

CONVERSATIONS: Final = 200
"""They take turns, so that in half a week each changed again and again, and a sync tells as many
entries after half a day as after half a week: what grows is the rows that it reads."""

FIRST_USER: Final = 8_000_000_000
CROWD: Final = 8_500_000_000
SENT_AT_MS: Final = 1_750_000_000_000
PARTITION: Final = 0
"""All users are of this one of the change log, so that its offsets are used up for all at once."""

IN_FLIGHT: Final = 16
BATCH_ROWS: Final = 50
TTL_MIN_S: Final = 3_600


def users(partitions: int) -> list[str]:
    """One for each size, all of one partition."""
    numbers = (str(FIRST_USER + number) for number in count())
    return list(
        islice((u for u in numbers if partition_of(u, partitions) == PARTITION), len(SIZES))
    )


def conversation(user: str, number: int) -> str:
    """The conversation whose turn it is."""
    return ids.group(f"{user}_{number % CONVERSATIONS}")


class Past:
    """The windows of one user that are over, oldest first, and what is in them."""

    def __init__(self, user: str, windows: int, settings: Settings, epoch: int) -> None:
        self.user = user
        self.windows = windows
        self._log = settings.log
        self._key = cursor_key(settings.api)
        self._epoch = epoch
        self._now_ms = now_ms()

    def window_ms(self, number: int) -> int:
        """Start of the window of this number, from 0; the last is the one before the present."""
        present_ms = window_start(self._now_ms, self._log.window_ms)
        return present_ms - (self.windows - number) * self._log.window_ms

    def statements(self, session: Session) -> Iterator[Statement]:
        """All rows, in the order of their versions, in batches."""
        for number in range(self.windows):
            window_ms = self.window_ms(number)
            left_ms = window_ms + self._log.retention_ms - self._now_ms
            rows = [
                changes_by_user.message(
                    session,
                    RowKey(self.user, window_ms, conversation(self.user, place)),
                    max(TTL_MIN_S, left_ms // 1_000),
                    version=version_of(self._epoch, place),
                    max_seq=place + 1,
                    active_at_ms=SENT_AT_MS + place,
                )
                for place in self._places(number)
            ]
            yield from batches(session, [(self.user, rows)], BATCH_ROWS)

    def _places(self, number: int) -> range:
        return range(number * ROWS_PER_WINDOW, (number + 1) * ROWS_PER_WINDOW)

    @property
    def half(self) -> int:
        """The window in the middle: a device saw all up to its end."""
        return self.windows // 2 - 1

    def cursor(self) -> str:
        """The cursor of that device, as the API made it then."""
        window_ms = self.window_ms(self.half)
        version = version_of(self._epoch, self._places(self.half)[-1])
        return seal(
            Cursor(
                user_digest=user_digest(self.user),
                epoch=self._epoch,
                version=version,
                modules_version=version,
                window_ms=window_ms,
                modules_window_ms=window_ms,
                issued_at_ms=window_ms + self._log.window_ms,
            ),
            self._key,
        )

    @property
    def rows_since(self) -> int:
        """Rows newer than that cursor."""
        return (self.windows - self.half - 1) * ROWS_PER_WINDOW

    def changed_since(self) -> dict[str, int]:
        """What it must be told: conversations and their last sequences."""
        first = self._places(self.half)[-1] + 1
        places = range(first, self.windows * ROWS_PER_WINDOW)
        return {conversation(self.user, place): place + 1 for place in places}


class _Bench:
    def __init__(self, settings: Settings, system: System, epoch: int) -> None:
        self._settings = settings
        self._system = system
        self._epoch = epoch
        self._cassandra = cassandra_pid(settings)
        self._differences: list[str] = []

    def point(self, past: Past, prober: Prober) -> Point:
        """Measure one user, whose past is written."""
        user, new = past.user, past.windows * ROWS_PER_WINDOW
        old = past.cursor()
        half = prober.measure({user: old})
        self._check(past, "half", prober, old, past.changed_since())
        cursor = prober.caught_up(user)
        self._tell(user, range(new, new + 1))
        cursor = prober.caught_up(user, cursor)
        empty = prober.measure({user: cursor})
        changed = range(new + 1, new + 1 + CHANGES_TOLD)
        self._tell(user, changed)
        some = prober.measure({user: cursor})
        told = {conversation(user, place): place + 1 for place in changed}
        self._check(past, "20", prober, cursor, told)
        mine = [conversation(user, place) for place in range(CONVERSATIONS)]
        version = version_of(self._epoch, 0)
        costs = {
            **empty.costs("sync_0"),
            **some.costs("sync_20"),
            **half.costs("sync_half"),
            "sync_half_rows": float(past.rows_since),
            "sync_half_cpu_us_per_row": half.cpu_ms * 1_000 / past.rows_since,
        }
        costs |= row_costs(self._settings, user, mine, version, self._cassandra)
        return Point(past.windows, costs)

    def _tell(self, user: str, places: range) -> None:
        messages = [((user,), conversation(user, place), place + 1) for place in places]
        produce(self._settings, messages)
        self._system.wait_quiet()

    def _check(
        self, past: Past, name: str, prober: Prober, cursor: str, wanted: dict[str, int]
    ) -> None:
        answer = prober.send(past.user, cursor)
        told = {one.conversation_id: one.max_seq for one in answer.conversations}
        if answer.path != "delta" or told != wanted:
            self.differences.append(
                f"{past.windows:,} windows, {name}: {answer.path}, {len(told)} of {len(wanted)}"
            )

    @property
    def differences(self) -> list[str]:
        """What was told wrongly."""
        return self._differences


def produce(settings: Settings, messages: Sequence[tuple[tuple[str, ...], str, int]]) -> None:
    """Write change records of messages (users, conversation, sequence) to the one partition."""
    delivery = Delivery(settings.kafka, "diffusion-bench-growth")
    for some, name, seq in messages:
        change = MessageChange(name, some, seq, SENT_AT_MS + seq)
        delivery.produce(topics.CHANGES.name, PARTITION, encode_change(change))
    delivery.flush()


def _crowd(partitions: int) -> list[tuple[tuple[str, ...], str, int]]:
    """Messages of others, one record for each row that the longest past has."""
    numbers = (str(CROWD + number) for number in count())
    found = (one for one in numbers if partition_of(one, partitions) == PARTITION)
    return [((one,), ids.group("crowd"), 1) for one in islice(found, max(SIZES) * ROWS_PER_WINDOW)]


def measure(settings: Settings, folder: Path, console: Console) -> tuple[Series, list[str]]:
    """Measure all sizes; with what was told wrongly."""
    partitions = settings.kafka.change_partitions
    with running(
        settings, logs=folder / "logs", stream_workers=0, materializers=1, report=console.say
    ) as system:
        produce(settings, _crowd(partitions))
        system.wait_quiet()
        session = open_session(settings.cassandra)
        epoch = epochs.ensure_change_log(settings, session, Admin(settings.kafka)).epoch
        pasts = [
            Past(user, size, settings, epoch)
            for user, size in zip(users(partitions), SIZES, strict=True)
        ]
        for past in pasts:
            session.write(list(past.statements(session)), in_flight=IN_FLIGHT)
        session.close()
        bench, points = _Bench(settings, system, epoch), []
        wait_calm(cassandra_pid(settings))
        with (
            console.progress("windows in the index", total=len(SIZES)) as update,
            Prober(system, cassandra_pid(settings)) as prober,
        ):
            # Not counted: servers that were just started are still compiling.
            prober.measure({pasts[0].user: pasts[0].cursor()})
            for past in pasts:
                points.append(bench.point(past, prober))
                update(advance=1)
    series = Series(
        "windows",
        "windows in the user's index",
        tuple(points),
        flat=(
            *("sync_0_cpu_ms", "sync_20_cpu_ms"),
            *("sync_half_cpu_us_per_row", "write_cassandra_us_per_row"),
        ),
        expected={"sync_half_cpu_ms": "with the rows that changed since, half of all"},
    )
    return series, bench.differences
