"""`diffusion bench correction`: find and mend rows that differ, beside other ways to do so.

Rows in the SQLite store of a device that was in step are damaged (`diffusion.bench.damage`), and
the SDK corrects it against the real server. Nothing changes on the server meanwhile. Every number
of rows is damaged several times, other rows each time; of trips and bytes the worst is told.

Alternatives are computed from the same rows, without the server (`diffusion.bench.accounting`).
"""

from __future__ import annotations

import random
import sqlite3
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from diffusion.bench.accounting import (
    NEGENTROPY_BYTES,
    Alternatives,
    Exchange,
    RootCost,
    alternatives,
    root_cost,
    without_payload,
)
from diffusion.bench.damage import Damage, damage
from diffusion.bench.measure import timed_ms
from diffusion.bench.stage import Stage, catch_up
from diffusion.console import Console
from schemas.conversations import ConversationState
from schemas.digests import DigestRow, digest_row, in_order, root_of
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import HttpTransport, SyncClient, SyncReport, Traffic
from sdk.client.rows import UPSERT, row_of

DIFFERING: Final = (0, 1, 10, 100, 1_000)
"""Rows that are damaged, up to a half of all."""

REPETITIONS: Final = 5

REFERENCE_SIZE: Final = 10_000
BYTES_MAX: Final = {1: 1_112, 10: 3_300, 100: 14_000}
"""Without payload, by rows that differ of `REFERENCE_SIZE`: negentropy's, a half, a third of it."""

ROOT_BYTES_MAX: Final = 24
"""What a request may grow by to ask whether anything differs."""

TRIPS_MAX: Final = {10_000: 2, 100_000: 3}
"""Most round trips, by conversations up to which the bound holds."""

DIFFERENCES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Case:
    """So many differing rows of so many. Bytes of both ways; `bytes` as they were transferred,
    compressed; without payload, and the alternatives, uncompressed.
    """

    conversations: int
    differing: int
    repetitions: int
    round_trips: int
    round_trips_median: float
    bytes: int
    bytes_without_payload: int
    bytes_without_payload_median: float
    milliseconds_median: float
    api_cpu_ms: float
    listing_bytes: int | None
    sketch_bytes: int | None
    one_trip_bytes: int | None
    alternatives_failed: int
    negentropy_bytes: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench correction --json` prints."""

    cases: tuple[Case, ...]
    root: RootCost
    differences: tuple[str, ...]

    @property
    def held(self) -> dict[str, bool]:
        """Each bound that was measured, and whether it holds."""
        return held(self.cases, self.root) | {"correct": not self.differences}

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "cases": [asdict(case) for case in self.cases],
            "root_bytes": asdict(self.root),
            "held": self.held,
            "differences": list(self.differences),
        }


def held(cases: Sequence[Case], root: RootCost) -> dict[str, bool]:
    """Judge what was measured; a bound on sizes that were left out is left out too."""
    found = {"bytes_of_root": root.request <= ROOT_BYTES_MAX}
    for case in cases:
        most = BYTES_MAX.get(case.differing)
        if case.conversations == REFERENCE_SIZE and most is not None:
            found[f"bytes_{case.differing}_differ"] = case.bytes_without_payload <= most
    for size, most in TRIPS_MAX.items():
        within = [case for case in cases if case.conversations <= size]
        if within:
            found[f"trips_to_{size}"] = all(case.round_trips <= most for case in within)
    return found


@dataclass(frozen=True, slots=True)
class Mended:
    """One damage and its correction."""

    report: SyncReport
    exchanges: tuple[Exchange, ...]
    milliseconds: float
    others: Alternatives

    @property
    def bytes_without_payload(self) -> int:
        """Of all its trips."""
        return without_payload(self.exchanges)


class RecordingTransport:
    """A `Transport` that keeps what went through it."""

    def __init__(self, url: str, token: str) -> None:
        self._inner = HttpTransport(url, token)
        self.exchanges: list[Exchange] = []

    @property
    def traffic(self) -> Traffic:
        """What went over the wire until now."""
        return self._inner.traffic

    def send(self, request: SyncRequest) -> SyncResponse:
        """Send, and keep both."""
        answer = self._inner.send(request)
        self.exchanges.append(Exchange(request, answer))
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()


def run(stage: Stage, seed: int, console: Console) -> Outcome:
    """Measure on a stage; raises `DiffusionError` when something cannot be done."""
    bench = _Bench(stage, seed)
    for size in stage.accounts:
        stage.bring(size, console)
    total = sum(len(_differing(size)) for size in stage.accounts)
    with console.progress("corrections", total=total) as update:
        for size in stage.accounts:
            bench.measure(size, lambda: update(advance=1))
    assert bench.root is not None, "every size is measured with no difference first"
    return Outcome(tuple(bench.cases), bench.root, tuple(bench.differences))


def _differing(size: int) -> list[int]:
    return [count for count in DIFFERING if count <= size // 2]


class _Bench:
    """Cases of one run, as they come."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._seed = seed
        self.cases: list[Case] = []
        self.root: RootCost | None = None
        self.differences: list[str] = []

    def measure(self, size: int, on_case: Callable[[], None]) -> None:
        """Damage and mend a device of a user, again and again."""
        stage, user_id = self._stage, self._stage.accounts[size].user_id
        path = stage.folder / f"mended-{size}.db"
        with (
            closing(RecordingTransport(stage.system.url, stage.token(size))) as transport,
            SyncClient(
                user_id=user_id, device_id="mended", store=path, transport=transport
            ) as client,
        ):
            catch_up(client)
            right = client.state()
            rows = {cid: digest_row(state) for cid, state in right.items()}
            device = Device(client, transport, path, right, rows)
            for count in _differing(size):
                before_ms = stage.api_cpu_ms()
                found = []
                for number in range(REPETITIONS):
                    rng = random.Random(f"{self._seed}/{size}/{count}/{number}")  # noqa: S311
                    drawn = damage(user_id, list(device.right.values()), count, rng)
                    found.append(device.mend(drawn, count))
                    self._check(size, device, found[-1])
                cpu_ms = (stage.api_cpu_ms() - before_ms) / REPETITIONS
                self.cases.append(case_of(size, count, found, cpu_ms))
                if not count:
                    self.root = root_cost(found[0].exchanges[0])
                on_case()
            self._compare(size, client.state())

    def _check(self, size: int, device: Device, mended: Mended) -> None:
        """The store must be what it was, and its root the one that the server told."""
        told = mended.exchanges[-1].answer.root
        state = device.client.state()
        if state != device.right:
            self._wrong(f"{size:,} conversations: a corrected store is not as it was")
        if told != root_of(map(digest_row, state.values())):
            self._wrong(f"{size:,} conversations: the roots differ after a correction")

    def _compare(self, size: int, state: dict[str, ConversationState]) -> None:
        for one in self._stage.wrong(size, state):
            self._wrong(one)
        if state != self._stage.fresh(size):
            self._wrong(f"{size:,} conversations: a fresh device holds something else")

    def _wrong(self, sentence: str) -> None:
        if len(self.differences) < DIFFERENCES_SHOWN:
            self.differences.append(sentence)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that is in step, its store, and what it rightly holds, also summed up."""

    client: SyncClient
    transport: RecordingTransport
    path: Path
    right: Mapping[str, ConversationState]
    rows: Mapping[str, DigestRow]

    def mend(self, drawn: Damage, count: int) -> Mended:
        """Damage the store, and let the SDK correct it."""
        write(self.path, drawn)
        self.transport.exchanges.clear()
        reports: list[SyncReport] = []
        milliseconds = timed_ms(lambda: reports.append(self.client.sync(verify=True)))
        exchanges = tuple(self.transport.exchanges)
        left = drawn.done_to(self.rows, digest_row)
        others = alternatives(
            in_order(left.values()), in_order(self.rows.values()), count, exchanges[0].request
        )
        return Mended(reports[0], exchanges, milliseconds, others)


def write(path: Path, drawn: Damage) -> None:
    """Do the damage to a store, behind the SDK's back."""
    rows = [row_of(state, 0) for state in (*drawn.older, *drawn.extra)]
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(UPSERT, rows)
        db.executemany(
            "DELETE FROM conversations WHERE conversation_id = ?",
            [(conversation_id,) for conversation_id in drawn.missing],
        )


def case_of(size: int, count: int, found: Sequence[Mended], cpu_ms: float) -> Case:
    """Sum up the repetitions: the worst, and where it says so the median."""
    bare = [one.bytes_without_payload for one in found]
    trips = [one.report.round_trips for one in found]
    others = [(one.others.listing, one.others.sketch, one.others.one_trip) for one in found]
    listing, summed, known = map(_worst, zip(*others, strict=True))
    return Case(
        conversations=size,
        differing=count,
        repetitions=len(found),
        round_trips=max(trips),
        round_trips_median=statistics.median(trips),
        bytes=max(one.report.bytes_up + one.report.bytes_down for one in found),
        bytes_without_payload=max(bare),
        bytes_without_payload_median=statistics.median(bare),
        milliseconds_median=round(statistics.median(one.milliseconds for one in found), 1),
        api_cpu_ms=round(cpu_ms, 1),
        listing_bytes=listing,
        sketch_bytes=summed,
        one_trip_bytes=known,
        alternatives_failed=sum(one.count(None) for one in others),
        negentropy_bytes=NEGENTROPY_BYTES.get(size, {}).get(count),
    )


def _worst(values: Iterable[int | None]) -> int | None:
    return max((one for one in values if one is not None), default=None)
