"""`diffusion bench sync`: a reconnect and a fresh start, beside ordinary incremental sync.

Users with N conversations, written through the pipeline on real servers. For each number K of
changed conversations, written through the pipeline too, the request that a device then makes is
sent again and again over one HTTP connection before the device goes on from its answer. Times are
those of the device, decoding included and SQLite not; CPU time is that of the API process.

The index of changes is cut into windows, and a sync reads again the one that its cursor is in and
the minute before. So the ordinary case is measured when the import's windows are over and a change
has moved the cursor out of them; and the other one, straight after an import, beside it.

How many requests a second one API process answers is in `diffusion.bench.throughput`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from diffusion import baseline
from diffusion.bench import throughput
from diffusion.bench.measure import (
    Rehearsed,
    RehearsingTransport,
    in_mb,
    machine,
    repeated,
    times_of,
)
from diffusion.bench.ordinary import OrdinaryCost, OrdinaryServer
from diffusion.bench.stage import Stage, catch_up
from diffusion.bench.throughput import Throughput
from diffusion.console import Console
from schemas.conversations import ConversationState
from sdk.client import SyncClient, SyncReport

T = TypeVar("T")

REPETITIONS: Final = {0: 1_000, 20: 500, 200: 300}
"""Changed conversations, and how often the sync of them is sent: together a few seconds."""

REPETITIONS_CROWDED: Final = 200

CROWDED_SIZE: Final = 10_000
"""Of this user a sync is measured straight after his import, too."""

FRESH_REPETITIONS_MAX: Final = 20
FRESH_SECONDS_MAX: Final = 8.0

REFERENCE_SIZE: Final = 1_000
"""Conversations with which the bounds on CPU and on a fresh start are stated."""

EMPTY_BYTES_MAX: Final = 64
SMALL_BYTES_MAX: Final = 1_000
FRESH_BYTES_MAX: Final = 60_000
GROWTH_MAX: Final = 1.05

SYNAPSE_CPU_MS: Final = {"nothing": 14.0, "small": 64.0, "fresh": 2_700.0}
"""Matrix Synapse 1.163 with 1,000 rooms, on the same kind of machine: CPU of a simplified sliding
sync when nothing changed (47 KB), when 20 rooms did (57 KB), and of the first one (858 KB)."""

CHEAPER: Final = {"nothing": 10, "small": 20, "fresh": 25}
"""How many times less CPU is to be enough."""

SMALL: Final = 20

DIFFERENCES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Case:
    """A reconnect of a user with so many conversations, of which so many changed.

    Bytes are those of bodies. Of the baseline they are both answers, gzipped.
    """

    conversations: int
    changed: int
    repetitions: int
    round_trips: int
    bytes_up: int
    bytes_down: int
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    baseline_repetitions: int
    baseline_round_trips: int
    baseline_bytes: int
    baseline_bytes_raw: int
    baseline_p50_ms: float
    baseline_p99_ms: float
    baseline_cpu_ms: float


@dataclass(frozen=True, slots=True)
class Fresh:
    """A first sync, on average."""

    conversations: int
    repetitions: int
    round_trips: int
    bytes_up: int
    bytes_down: int
    seconds: float
    cpu_ms: float
    baseline_round_trips: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench sync --json` prints. `load` is that of the machine before the run: what
    others do on it makes times longer, and CPU time too, up to twice.
    """

    cases: tuple[Case, ...]
    crowded: Case | None
    fresh: tuple[Fresh, ...]
    throughput: tuple[Throughput, ...]
    import_seconds: dict[int, float]
    peak_memory_mb: dict[str, float]
    load: float
    machine: str
    differences: tuple[str, ...]

    @property
    def held(self) -> dict[str, bool]:
        """Each bound that was measured, and whether it holds."""
        found = held(self.cases, self.fresh) | throughput.held(self.throughput)
        return found | {"correct": not self.differences}

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "cases": [asdict(case) for case in self.cases],
            "crowded": None if self.crowded is None else asdict(self.crowded),
            "fresh": [asdict(one) for one in self.fresh],
            "throughput": [one.as_json() for one in self.throughput],
            "imported": {
                "through": "pipeline",
                "seconds": {str(size): spent for size, spent in self.import_seconds.items()},
            },
            "peak_memory_mb": self.peak_memory_mb,
            "load": round(self.load, 2),
            "machine": self.machine,
            "held": self.held,
            "differences": list(self.differences),
        }


def held(cases: Sequence[Case], fresh: Sequence[Fresh]) -> dict[str, bool]:
    """Judge what was measured; a bound on sizes that were left out is left out too."""
    found: dict[str, bool] = {}
    if cases:
        found["one_round_trip"] = all(case.round_trips == 1 for case in cases)
    for name, changed, most in (
        ("bytes_nothing_changed", 0, EMPTY_BYTES_MAX),
        ("bytes_20_changed", SMALL, SMALL_BYTES_MAX),
    ):
        sizes = [case.bytes_down for case in cases if case.changed == changed]
        if sizes:
            found[name] = max(sizes) <= most
    if len({case.conversations for case in cases}) > 1:
        found["bytes_do_not_grow"] = _flat(cases)
    for name, changed in (("nothing", 0), ("small", SMALL)):
        for case in cases:
            if (case.conversations, case.changed) == (REFERENCE_SIZE, changed):
                found[f"cpu_{name}"] = case.cpu_ms <= cpu_ms_max(name)
    for one in fresh:
        if one.conversations == REFERENCE_SIZE:
            found["bytes_fresh"] = one.bytes_down <= FRESH_BYTES_MAX
            found["cpu_fresh"] = one.cpu_ms <= cpu_ms_max("fresh")
    return found


def cpu_ms_max(name: str) -> float:
    """Bound on CPU time, from the yardstick's."""
    return SYNAPSE_CPU_MS[name] / CHEAPER[name]


def _flat(cases: Iterable[Case]) -> bool:
    """Whether the answers to as many changes are as long with the most conversations as with the
    fewest.
    """
    ordered = sorted(cases, key=lambda case: case.conversations)
    first = {case.changed: case.bytes_down for case in reversed(ordered)}
    last = {case.changed: case.bytes_down for case in ordered}
    return all(last[changed] <= GROWTH_MAX * first[changed] for changed in last)


def run(stage: Stage, seed: int, console: Console, *, throughput_only: bool = False) -> Outcome:
    """Measure on a stage; raises `DiffusionError` when something cannot be done."""
    return _Bench(stage, seed, console).run(throughput_only=throughput_only)


class _Bench:
    """One run. The steps are in the order of `run`."""

    def __init__(self, stage: Stage, seed: int, console: Console) -> None:
        self._stage = stage
        self._console = console
        self._throughput = throughput.Measure(stage, seed, console)
        self._sizes = list(stage.accounts)
        self._differences: list[str] = []

    def run(self, *, throughput_only: bool) -> Outcome:
        """Import, measure what can be measured at once, wait, measure the ordinary case."""
        stage, crowded = self._stage, None
        self._throughput.begin()
        if throughput_only:
            return self._outcome([], None, [])
        for size in self._sizes:
            stage.bring(size, self._console)
            if size == CROWDED_SIZE:
                crowded = self._crowded(size)
        fresh = list(self._each("fresh starts", self._fresh))
        with OrdinaryServer(stage.system.settings.cassandra) as server:
            costs = self._each(
                "ordinary incremental sync",
                lambda size: server.measure(stage.accounts[size].user_id),
            )
            ordinary = dict(zip(self._sizes, costs, strict=True))
        for size in self._sizes:
            stage.settle(size, self._console)
        cases = [
            case
            for found in self._each("reconnects", lambda size: self._cases(size, ordinary[size]))
            for case in found
        ]
        if crowded is None:
            return self._outcome(cases, None, fresh)
        after_import = case_of(CROWDED_SIZE, 0, *crowded, ordinary[CROWDED_SIZE])
        return self._outcome(cases, after_import, fresh)

    def _outcome(
        self, cases: Sequence[Case], crowded: Case | None, fresh: Sequence[Fresh]
    ) -> Outcome:
        """Measure the throughput, which takes all there is of the machine, and sum up."""
        stage = self._stage
        many = self._throughput.measure()
        self._differences += self._throughput.differences[:DIFFERENCES_SHOWN]
        peaks = stage.system.processes.peaks()
        return Outcome(
            cases=tuple(cases),
            crowded=crowded,
            fresh=tuple(fresh),
            throughput=tuple(many),
            import_seconds=dict(stage.import_seconds),
            peak_memory_mb=in_mb(peaks),
            load=stage.load,
            machine=machine(),
            differences=tuple(self._differences),
        )

    def _each(self, label: str, measure: Callable[[int], T]) -> Iterator[T]:
        with self._console.progress(label, total=len(self._sizes)) as update:
            for size in self._sizes:
                yield measure(size)
                update(advance=1)

    def _crowded(self, size: int) -> tuple[Rehearsed, SyncReport]:
        with self._device(size, "crowded") as (client, transport):
            catch_up(client)
            return _rehearse(client, transport, REPETITIONS_CROWDED)

    def _fresh(self, size: int) -> Fresh:
        reports: list[SyncReport] = []

        def start() -> None:
            with self._stage.new_device(size) as client:
                reports.append(client.sync())

        cpu_before_ms = self._stage.api_cpu_ms()
        spent_ms = repeated(start, FRESH_REPETITIONS_MAX, FRESH_SECONDS_MAX)
        cpu_ms = self._stage.api_cpu_ms() - cpu_before_ms
        times = times_of(spent_ms, cpu_ms)
        return Fresh(
            conversations=size,
            repetitions=times.count,
            round_trips=max(one.round_trips for one in reports),
            bytes_up=max(one.bytes_up for one in reports),
            bytes_down=max(one.bytes_down for one in reports),
            seconds=round(times.p50_ms / 1_000, 3),
            cpu_ms=round(times.cpu_ms, 1),
            baseline_round_trips=baseline.fresh_install_round_trips(size),
        )

    def _cases(self, size: int, ordinary: OrdinaryCost) -> list[Case]:
        account, cases = self._stage.accounts[size], []
        with self._device(size, "phone") as (client, transport):
            catch_up(client)
            self._stage.write(account.changed(1))
            catch_up(client)
            for changed, repetitions in REPETITIONS.items():
                if changed > size:
                    continue
                if changed:
                    self._stage.write(account.changed(changed))
                rehearsed, report = _rehearse(client, transport, repetitions)
                cases.append(case_of(size, changed, rehearsed, report, ordinary))
                if report.entries != changed:
                    self._differences.append(
                        f"{size:,} conversations: told {report.entries} changes of {changed}"
                    )
            self._compare(size, client.state())
        return cases

    def _compare(self, size: int, state: dict[str, ConversationState]) -> None:
        found = self._stage.wrong(size, state)
        if state != self._stage.fresh(size):
            found.append(f"{size:,} conversations: a fresh device holds something else")
        self._differences += found[: DIFFERENCES_SHOWN - len(self._differences)]

    @contextmanager
    def _device(self, size: int, name: str) -> Iterator[tuple[SyncClient, RehearsingTransport]]:
        stage = self._stage
        transport = RehearsingTransport(stage.system.url, stage.token(size), stage.api_pid())
        try:
            with SyncClient(
                user_id=stage.accounts[size].user_id,
                device_id=name,
                store=stage.folder / f"{name}-{size}.db",
                transport=transport,
            ) as client:
                yield client, transport
        finally:
            transport.close()


def _rehearse(
    client: SyncClient, transport: RehearsingTransport, repetitions: int
) -> tuple[Rehearsed, SyncReport]:
    transport.prepare(repetitions)
    report = client.sync()
    assert transport.rehearsed is not None, "a sync sends a request"
    return transport.rehearsed, report


def case_of(
    size: int, changed: int, rehearsed: Rehearsed, report: SyncReport, ordinary: OrdinaryCost
) -> Case:
    """Put one line together. Of rehearsals and the sync itself, the more expensive counts."""
    ours, theirs = rehearsed.times, ordinary.times
    return Case(
        conversations=size,
        changed=changed,
        repetitions=ours.count,
        round_trips=max(rehearsed.round_trips, report.round_trips),
        bytes_up=max(rehearsed.bytes_up, report.bytes_up),
        bytes_down=max(rehearsed.bytes_down, report.bytes_down),
        p50_ms=round(ours.p50_ms, 2),
        p99_ms=round(ours.p99_ms, 2),
        cpu_ms=round(ours.cpu_ms, 3),
        baseline_repetitions=theirs.count,
        baseline_round_trips=baseline.reconnect_round_trips(changed),
        baseline_bytes=ordinary.sizes.gzip,
        baseline_bytes_raw=ordinary.sizes.raw,
        baseline_p50_ms=round(theirs.p50_ms, 1),
        baseline_p99_ms=round(theirs.p99_ms, 1),
        baseline_cpu_ms=round(theirs.cpu_ms, 1),
    )
