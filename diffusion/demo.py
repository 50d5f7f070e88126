"""The demonstration: real servers, a real trace, and proof for every user that sync ends right.

Starts Kafka and Cassandra of its own, two stream workers, two materializers and the API; replays
the trace; looks at three users with the eyes of a device; and compares a fresh device of every
user, and devices that were there before the end of the trace, with the oracle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from diffusion import baseline, verify
from diffusion.console import Console
from diffusion.local import managed
from diffusion.oracle import Oracle
from diffusion.replay import Replayed, replay
from diffusion.system import System, running
from diffusion.trace import read_trace
from diffusion.workload import TimedEvent, workload
from diffusion.writing import producer_for
from infra.clock import monotonic_s
from infra.kafka.admin import Admin
from infra.local.ports import free_ports
from infra.local.settings import default_data_dir
from infra.metrics import peak_resident_bytes
from infra.settings import Settings
from schemas.conversations import is_listed
from schemas.errors import PermanentError
from schemas.events import (
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    Reconsider,
)
from schemas.topics import TOPICS
from sdk.client import SyncClient, SyncReport

GROUPS_DEFAULT: Final = 20
SEED_DEFAULT: Final = 1
STREAM_WORKERS: Final = 2
MATERIALIZERS: Final = 2

TAIL_EVENTS: Final = 400
"""Events replayed after the devices that are to reconnect have synced."""

OLD_DEVICES: Final = 200
"""Users with a device that was there before the tail; those that the tail touches come first."""

MEMORY_BOUND_BYTES: Final = 300 * 1024 * 1024
"""What each of our processes stays below."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One sync of one device, beside what ordinary incremental sync would have cost."""

    user_id: str
    what: str
    conversations: int
    path: str
    reason: str | None
    changed: int
    round_trips: int
    bytes_up: int
    bytes_down: int
    milliseconds: float
    baseline_round_trips: int
    baseline_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion demo --json` prints."""

    users_checked: int
    users_converged: int
    old_devices_checked: int
    old_devices_converged: int
    events: int
    messages: int
    changes_diffused: int
    marks: int
    rows_written: int
    replay_seconds: float
    seconds: float
    peak_memory_mb: dict[str, float]
    visits: tuple[Visit, ...]
    differences: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether every device agrees with the oracle."""
        return (
            self.users_checked == self.users_converged
            and self.old_devices_checked == self.old_devices_converged
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay: the private trace whole, and the first groups of the other."""

    private_trace: Path
    group_trace: Path
    groups: int
    seed: int

    def parts(self) -> tuple[Iterator[TimedEvent], Iterator[TimedEvent]]:
        """The events of both traces, each in its order of time. Their users are not the same."""
        return (
            workload(read_trace(self.private_trace), self.seed),
            workload(read_trace(self.group_trace), self.seed, groups=self.groups),
        )


def run(settings: Settings, plan: Plan, console: Console) -> Outcome:
    """Run the demonstration; raises `DiffusionError` when something cannot be started or done."""
    started = monotonic_s()
    with own_system(settings, console) as system:
        return _Demo(system, plan, console, started).run()


@contextmanager
def own_system(settings: Settings, console: Console) -> Iterator[System]:
    """The whole system on `servers`, two of each worker, as the demonstration shows it."""
    with (
        servers(settings, console) as (used, folder),
        pairs(used, folder, console) as system,
    ):
        yield system


def pairs(settings: Settings, folder: Path, console: Console) -> AbstractContextManager[System]:
    """All programs on servers that run, two of each worker; their logs go under the folder."""
    return _programs(settings, folder, console, STREAM_WORKERS, MATERIALIZERS)


def one_of_each(
    settings: Settings, folder: Path, console: Console
) -> AbstractContextManager[System]:
    """As `pairs`, with one of each worker."""
    return _programs(settings, folder, console, 1, 1)


def _programs(
    settings: Settings, folder: Path, console: Console, stream_workers: int, materializers: int
) -> AbstractContextManager[System]:
    return running(
        settings,
        logs=folder / "logs",
        stream_workers=stream_workers,
        materializers=materializers,
        report=console.say,
    )


@contextmanager
def servers(settings: Settings, console: Console) -> Iterator[tuple[Settings, Path]]:
    """Servers of its own, empty, on free ports and under a folder of their own, removed at the end;
    or the ones the settings name, if they are somebody else's and hold nothing yet.
    """
    folder = (settings.local.data_dir or default_data_dir()) / "demo"
    if managed(settings) is None:
        _refuse_used(settings)
        yield settings, folder
        return
    used = own_servers(settings, folder / "servers")
    local = managed(used, console.server)
    assert local is not None
    with ExitStack() as stack:
        stack.callback(local.down)
        local.up(fresh=True)
        yield used, folder


def own_servers(settings: Settings, data_dir: Path) -> Settings:
    """The same settings with a data directory and free ports of their own."""
    kafka, controller, cassandra, storage, api = free_ports(5)
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{kafka}"}),
            "cassandra": settings.cassandra.model_copy(update={"port": cassandra}),
            "api": settings.api.model_copy(update={"port": api}),
            "local": settings.local.model_copy(
                update={
                    "data_dir": data_dir,
                    "kafka_controller_port": controller,
                    "cassandra_storage_port": storage,
                }
            ),
        }
    )


def _refuse_used(settings: Settings) -> None:
    admin = Admin(settings.kafka)
    for spec in TOPICS:
        try:
            ends = admin.end_offsets(spec.name)
        except PermanentError:
            continue  # it does not exist yet
        if any(ends.values()):
            raise PermanentError(
                f"The demonstration needs an empty system, and topic {spec.name} holds records. "
                "Give it servers of its own: unset DIFFUSION_LOCAL_MANAGE and the addresses."
            )


class _Demo:
    """One run. The steps are in the order of `run`."""

    def __init__(self, system: System, plan: Plan, console: Console, started: float) -> None:
        self._system = system
        self._plan = plan
        self._console = console
        self._started = started
        self._oracle = Oracle()
        self._stack = ExitStack()
        self._devices = verify.Devices(system)

    def run(self) -> Outcome:
        """Replay, visit, replay the rest, visit again, compare everybody."""
        with self._devices, self._stack:
            held = [HeldBack(part, TAIL_EVENTS) for part in self._plan.parts()]
            total = sum(1 for _ in chain(*self._plan.parts())) - TAIL_EVENTS * len(held)
            first = self._replay(chain(*held), "writing the traces", total)
            tail = [timed for part in held for timed in part.tail]
            watched = self._watched(tail)
            old = {user: self._device(user, "phone") for user in self._old_users(tail, watched)}
            fresh = {user: self._visit(user, "fresh install", old[user]) for user in watched}
            for user, client in old.items():
                if user not in fresh:
                    client.sync()
            last = self._replay(tail, "writing while the devices are away", len(tail))
            visits: list[Visit] = []
            for user in watched:
                second = self._device(user, "tablet")
                visits += [fresh[user], self._visit(user, "reconnect", old[user])]
                visits.append(self._visit(user, "second device", second))
            old_verdict = self._check_old(old)
            verdict = self._check_all()
        return self._outcome(visits, verdict, old_verdict, (first, last))

    def _replay(self, events: Iterable[TimedEvent], label: str, total: int) -> Replayed:
        kafka = self._system.settings.kafka
        started = monotonic_s()
        with self._console.progress(label, total) as update, producer_for(kafka) as producer:

            def on_event(timed: TimedEvent) -> None:
                self._oracle.apply(timed.event)
                update(advance=1)

            done = replay(events, producer, on_event=on_event)
        with self._console.progress("waiting until all of it is readable") as update:
            most = 0

            def on_lag(lag: int) -> None:
                nonlocal most
                most = max(most, lag)
                update(total=most, completed=most - lag)

            self._system.wait_quiet(on_lag)
        return replace(done, seconds=monotonic_s() - started)

    def _watched(self, tail: Iterable[TimedEvent]) -> list[str]:
        """Three users that the tail concerns: the one with the most conversations, the one in the
        middle, and the one with the most groups.
        """
        sizes = {user: self._oracle.states(user) for user in _users_of(tail)}
        by_size = sorted(sizes, key=lambda user: (len(sizes[user]), user))
        groups = {
            user: sum(cid.startswith("sg_") for cid in states) for user, states in sizes.items()
        }
        in_groups = max(by_size, key=lambda user: (groups[user], user))
        chosen = dict.fromkeys([by_size[-1], by_size[len(by_size) // 2], in_groups])
        return [*chosen, *(user for user in reversed(by_size) if user not in chosen)][:3]

    def _old_users(self, tail: Iterable[TimedEvent], watched: list[str]) -> list[str]:
        users = dict.fromkeys([*watched, *sorted(_users_of(tail)), *self._oracle.users()])
        return list(users)[:OLD_DEVICES]

    def _device(self, user_id: str, device_id: str) -> SyncClient:
        return self._stack.enter_context(self._devices.make(user_id, device_id))

    def _visit(self, user_id: str, what: str, client: SyncClient) -> Visit:
        report = client.sync()
        states = self._oracle.states(user_id)
        listed = [state for state in states.values() if is_listed(state)]
        if report.path == "full":
            trips = baseline.fresh_install_round_trips(len(listed))
        else:
            trips = baseline.reconnect_round_trips(report.entries)
        return _visit(
            user_id,
            what,
            len(states),
            report,
            trips,
            baseline.answer_sizes(user_id, states.values()).gzip,
        )

    def _check_old(self, old: dict[str, SyncClient]) -> verify.Verdict:
        verdict = verify.Verdict()
        with self._console.progress("devices that were away", total=len(old)) as update:
            for user, client in old.items():
                client.sync()
                verdict.add(user, verify.differences(self._oracle, client, user))
                update(advance=1)
        return verdict

    def _check_all(self) -> verify.Verdict:
        users = sorted(self._oracle.users())
        with self._console.progress("a new device of every user", total=len(users)) as update:
            return verify.fresh_devices(
                self._system, self._oracle, users, lambda: update(advance=1)
            )

    def _outcome(
        self,
        visits: list[Visit],
        verdict: verify.Verdict,
        old_verdict: verify.Verdict,
        replayed: tuple[Replayed, ...],
    ) -> Outcome:
        processes = self._system.processes
        peaks = {**processes.peaks(), "demo": peak_resident_bytes()}
        return Outcome(
            users_checked=verdict.checked,
            users_converged=verdict.converged,
            old_devices_checked=old_verdict.checked,
            old_devices_converged=old_verdict.converged,
            events=sum(one.events for one in replayed),
            messages=sum(one.messages for one in replayed),
            changes_diffused=int(processes.counted("diffusion_stream_changes_total")),
            marks=int(processes.counted("diffusion_stream_marks_total")),
            rows_written=int(processes.counted("diffusion_materializer_rows_total")),
            replay_seconds=round(sum(one.seconds for one in replayed), 1),
            seconds=round(monotonic_s() - self._started, 1),
            peak_memory_mb={name: round(peak / 2**20, 1) for name, peak in peaks.items()},
            visits=tuple(visits),
            differences=(*old_verdict.differences, *verdict.differences),
        )


class HeldBack:
    """All events but the last few, as an iterator; `tail` has those when it has ended."""

    def __init__(self, events: Iterable[TimedEvent], count: int) -> None:
        self._events = events
        self._count = count
        self.tail: deque[TimedEvent] = deque()

    def __iter__(self) -> Iterator[TimedEvent]:
        for timed in self._events:
            self.tail.append(timed)
            if len(self.tail) > self._count:
                yield self.tail.popleft()


def _users_of(events: Iterable[TimedEvent]) -> set[str]:
    """Users that the events name: senders, readers, sides of a chat, who joins or leaves."""
    users: set[str] = set()
    for _, event in events:
        if isinstance(event, Message):
            users.update({event.sender_id, *(event.members or ())})
        elif isinstance(event, MembersJoined | MembersLeft):
            users.update(event.user_ids)
        elif not isinstance(event, ConversationSettings | Reconsider):
            users.add(event.user_id)
    return users


def _visit(  # a record's fields, once
    user_id: str, what: str, conversations: int, report: SyncReport, trips: int, size: int
) -> Visit:
    return Visit(
        user_id=user_id,
        what=what,
        conversations=conversations,
        path=report.path,
        reason=report.reason,
        changed=report.entries,
        round_trips=report.round_trips,
        bytes_up=report.bytes_up,
        bytes_down=report.bytes_down,
        milliseconds=round(report.seconds * 1_000, 1),
        baseline_round_trips=trips,
        baseline_bytes=size,
    )
