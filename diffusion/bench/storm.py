"""`diffusion bench storm`: everybody comes back through one API process while writes go on.

On servers of its own, all on this machine. Users with some 50 conversations, and a few with very
many, are written through the pipeline, sync once, and are then away while some of their
conversations change. In the storm each opens a connection at a moment drawn uniformly from a few
seconds, syncs from its cursor, and closes it; messages are written into the same conversations at a
steady rate until the last sync has ended. Devices, producer and servers share the cores.

CPU is that of the whole API process from the beginning to the end of the storm, following the
change log for pokes included. The yardstick, ordinary incremental sync of a user with very many
conversations, reads the same store, and is measured when nothing else runs.

What every device holds after the storm is compared with the oracle for the state before it, beyond
which it may be by what was written meanwhile; what some hold when all is quiet, with the oracle.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final

from diffusion import verify
from diffusion.bench import children, stage, storm_load
from diffusion.bench.measure import cpu_ms, in_mb, machine, quantile
from diffusion.bench.ordinary import OrdinaryCost, OrdinaryServer
from diffusion.bench.storm_check import applied, dropped_connections, is_newer, told
from diffusion.bench.storm_load import Device, Load, Visit
from diffusion.bench.storm_world import World
from diffusion.console import Console
from diffusion.demo import pairs
from diffusion.oracle import Difference, Oracle, compare
from diffusion.system import System
from diffusion.writing import producer_for
from infra.clock import monotonic_s, now_ms
from infra.settings import CassandraSettings, Settings
from schemas.conversations import ConversationState
from schemas.errors import PermanentError, RetryableError
from schemas.events import Message, WriteEvent
from sdk.backend import WriteProducer

USERS_MIN: Final = 10
USERS_MAX: Final = 15_000
"""Connections of so many, and what stands beside them, fit into the files that are allowed."""

CHEAPER: Final = 10
"""How many times less CPU than ordinary sync is to be enough."""

CALM_AT_ONCE: Final = 16
"""Devices that sync at the same time when there is no storm."""

LEAD_S: Final = 12.0
"""Until the storm begins: a process starts meanwhile, and reads what its devices hold."""

TICK_S: Final = 0.01
ROUNDS_MAX: Final = 10
"""Syncs until a device with very many conversations has nothing new."""

USERS_CHECKED: Final = 300
DIFFERENCES_SHOWN: Final = 20
ERRORS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """How many users in how many seconds; writes a second; conversations of heavy users."""

    users: int
    seconds: float
    writes: float
    conversations: int
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench storm --json` prints.

    `errors` counts devices whose sync did not end with a good answer. Times are from when a sync
    was due to its end. `ended_s` is when the last one ended. `changed_*` are the conversations told
    to a device. `api_cpu_share` is what the API used of one core, and `quiet_cpu_share` what it did
    under the same writes without a storm, which is not subtracted. `listen_overflows` are attempts
    to connect that this machine dropped, and the client's kernel repeated.
    """

    users: int
    seconds: float
    errors: int
    error_kinds: dict[str, int]
    paths: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    ended_s: float
    round_trips_max: int
    changed_min: int
    changed_p50: int
    changed_max: int
    cpu_ms_per_sync: float
    api_cpu_share: float
    quiet_cpu_share: float
    baseline_conversations: int
    baseline_cpu_ms_per_sync: float
    baseline_p50_ms: float
    writes_per_second: float
    marks_per_second: float
    listen_overflows: int
    devices_cpu_share: float
    peak_memory_mb: dict[str, float]
    machine: str
    seconds_of: dict[str, float]
    users_checked: int
    differences: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Of the CPU of ordinary sync to ours."""
        return self.baseline_cpu_ms_per_sync / self.cpu_ms_per_sync

    @property
    def held(self) -> dict[str, bool]:
        """Each bound, and whether it holds."""
        return {
            "errors": self.errors == 0,
            "cpu": self.cpu_ms_per_sync <= self.baseline_cpu_ms_per_sync / CHEAPER,
            "correct": not self.differences,
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"ratio": round(self.ratio, 1), "held": self.held}


def run(settings: Settings, plan: Plan, console: Console) -> Outcome:
    """Measure; raises `DiffusionError` if something cannot be done."""
    if not USERS_MIN <= plan.users <= USERS_MAX:
        raise PermanentError(f"A storm is of {USERS_MIN} to {USERS_MAX:,} users.")
    world = World(plan.users, plan.conversations, settings.policy.members_max, plan.seed)
    with (
        stage.own(stage.shortened(settings), console) as (used, folder),
        pairs(used, folder, console) as system,
        producer_for(used.kafka) as producer,
    ):
        return _Bench(system, producer, world, plan, console).run()


def _ordinary(settings: CassandraSettings, user_id: str) -> OrdinaryCost:
    with OrdinaryServer(settings) as server:
        return server.measure(user_id)


@dataclass(frozen=True, slots=True)
class _Storm:
    """What the storm itself showed."""

    load: Load
    written: Sequence[Message]
    cpu_ms: float
    seconds: float
    overflows: int
    peak_bytes: int


class _Bench:
    """One run. The steps are in the order of `run`."""

    def __init__(
        self,
        system: System,
        producer: WriteProducer,
        world: World,
        plan: Plan,
        console: Console,
    ) -> None:
        self._system = system
        self._producer = producer
        self._world = world
        self._plan = plan
        self._console = console
        self._rng = random.Random(plan.seed)  # noqa: S311 -- a reproducible run
        self._oracle = Oracle()
        self._tokens = {user: system.token(user) for user in world.users}
        self._cursors: dict[str, str | None] = dict.fromkeys(world.users)
        self._held: dict[str, dict[str, ConversationState]] = {}
        self._differences: list[str] = []
        self._seconds_of: dict[str, float] = {}

    def run(self) -> Outcome:
        """Write everything, let everybody sync and go away, and come back."""
        world, heavy = self._world, [account.user_id for account in self._world.accounts]
        self._timed("import", lambda: self._write("conversations", world.imported(now_ms())))
        imported_ms = now_ms()
        self._timed("first syncs", lambda: self._sync("first syncs", world.users))
        ordinary, _ = children.run(_ordinary, self._system.settings.cassandra, heavy[0])
        self._timed("settling", lambda: stage.outlast(self._system, imported_ms, self._console))
        self._write("a message for everybody", world.touched(now_ms()))
        self._sync("second syncs", world.users)
        self._catch_up(heavy)
        self._timed("changes", lambda: self._write("changes", world.changed(now_ms())))
        storm = self._storm()
        self._timed("comparing", lambda: self._compare(storm))
        quiet_share = self._quiet_share()
        checked = self._timed("verifying", lambda: self._verify(heavy))
        return self._outcome(storm, ordinary, quiet_share, checked)

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        began_s = monotonic_s()
        found = work()
        self._seconds_of[name] = round(monotonic_s() - began_s, 1)
        return found

    def _write(self, name: str, events: Iterable[WriteEvent]) -> None:
        with self._console.progress(f"writing: {name}") as update:
            for event in events:
                self._producer.send(event)
                self._oracle.apply(event)
                update(advance=1)
            self._quiet()

    def _quiet(self) -> None:
        self._producer.flush()
        self._system.wait_quiet()

    # Devices.

    def _device(self, user: str, due_s: float = 0.0) -> Device:
        return Device(user, self._tokens[user], self._cursors[user], due_s)

    def _sync(self, name: str, users: Sequence[str]) -> list[Visit]:
        """Sync without haste; raises `RetryableError` for an error, which only a storm may show."""
        api = self._system.settings.api
        with self._console.progress(name, total=len(users)) as update:
            load, _ = children.run(
                storm_load.sync_together,
                *(api.host, api.port, [self._device(user) for user in users], CALM_AT_ONCE),
            )
            update(advance=len(users))
        for visit in load.visits:
            if visit.error:
                raise RetryableError(f"User {visit.user_id} could not sync: {visit.error}")
            self._take(visit)
        return list(load.visits)

    def _take(self, visit: Visit) -> None:
        self._cursors[visit.user_id] = visit.cursor
        held = self._held.get(visit.user_id, {})
        self._held[visit.user_id] = applied(held, visit.answers)

    def _catch_up(self, users: Sequence[str]) -> None:
        """One page of index rows is one snapshot: a first sync of many leaves some to the next."""
        for _ in range(ROUNDS_MAX):
            visits = self._sync("more syncs of those with many", users)
            users = [visit.user_id for visit in visits if told(visit)]
            if not users:
                return
        raise RetryableError(f"After {ROUNDS_MAX} syncs there is still something new.")

    # The storm.

    def _storm(self) -> _Storm:
        plan, api = self._plan, self._system.settings.api
        devices = [
            self._device(user, self._rng.uniform(0, plan.seconds)) for user in self._world.users
        ]
        with ThreadPoolExecutor(1) as pool, self._console.progress("the storm"):
            start_s = monotonic_s() + LEAD_S
            coming = pool.submit(
                lambda: children.run(storm_load.storm, api.host, api.port, devices, start_s)
            )
            time.sleep(max(0.0, start_s - monotonic_s()))
            cpu_before_ms, overflows = self._api_cpu_ms(), dropped_connections()
            written = self._write_until(coming.done)
            load, peak_bytes = coming.result()
            spent_ms = self._api_cpu_ms() - cpu_before_ms
            seconds = monotonic_s() - start_s
        overflows = dropped_connections() - overflows
        return _Storm(load, written, spent_ms, seconds, overflows, peak_bytes)

    def _write_until(self, is_over: Callable[[], bool]) -> list[Message]:
        """Write at the rate asked for. The oracle is told later."""
        began_s = monotonic_s()
        written: list[Message] = []
        while not is_over():
            due = int((monotonic_s() - began_s) * self._plan.writes) - len(written)
            for _ in range(due):
                message = self._world.next_message(now_ms())
                self._producer.send(message)
                written.append(message)
            time.sleep(TICK_S)
        return written

    def _api_cpu_ms(self) -> float:
        return cpu_ms(self._system.processes.pid(stage.API))

    def _quiet_share(self) -> float:
        """What the API uses of a core under the same writes, with nobody there."""
        until_s = monotonic_s() + self._plan.seconds
        before_ms = self._api_cpu_ms()
        with self._console.progress("the same writes without a storm"):
            written = self._write_until(lambda: monotonic_s() >= until_s)
        share = (self._api_cpu_ms() - before_ms) / (self._plan.seconds * 1_000)
        self._oracle.replay(written)
        self._quiet()
        return share

    # What must be right.

    def _compare(self, storm: _Storm) -> None:
        """Compare all devices with the state before the storm; then tell the oracle of it."""
        last = {message.conversation_id: message.seq for message in storm.written}
        for visit in storm.load.visits:
            if visit.error:
                continue
            self._take(visit)
            expected = self._oracle.states(visit.user_id)
            found = compare(expected, self._held[visit.user_id])
            self._differ(
                visit.user_id, "in the storm", (one for one in found if not is_newer(one, last))
            )
        self._oracle.replay(storm.written)
        self._quiet()

    def _verify(self, heavy: Sequence[str]) -> int:
        """Compare devices of some users, the old ones after one more sync and new ones."""
        others = self._world.users[len(heavy) :]
        some = [*heavy, *self._rng.sample(others, min(USERS_CHECKED, len(others)))]
        self._sync("last syncs", some)
        for user in some:
            found = compare(self._oracle.states(user), self._held[user])
            self._differ(user, "after all", found)
        with self._console.progress("new devices", total=len(some)) as update:
            verdict = verify.fresh_devices(
                self._system, self._oracle, some, lambda: update(advance=1)
            )
        self._differences += verdict.differences
        return len(some)

    def _differ(self, user: str, when: str, found: Iterable[Difference]) -> None:
        self._differences += [f"user {user} {when}: {one}" for one in found]

    def _outcome(
        self, storm: _Storm, ordinary: OrdinaryCost, quiet_share: float, checked: int
    ) -> Outcome:
        visits, users = storm.load.visits, self._plan.users
        times_ms = [visit.milliseconds for visit in visits]
        counts = [told(visit) for visit in visits]
        failed = Counter(visit.error for visit in visits if visit.error)
        peaks = self._system.processes.peaks() | {"devices": storm.peak_bytes}
        return Outcome(
            users=users,
            seconds=self._plan.seconds,
            errors=failed.total(),
            error_kinds=dict(failed.most_common(ERRORS_SHOWN)),
            paths=dict(Counter(visit.answers[0].path for visit in visits if visit.answers)),
            p50_ms=round(quantile(times_ms, 0.5), 1),
            p99_ms=round(quantile(times_ms, 0.99), 1),
            max_ms=round(max(times_ms), 1),
            ended_s=round(storm.load.seconds, 2),
            round_trips_max=max(len(visit.answers) for visit in visits),
            changed_min=min(counts),
            changed_p50=int(quantile(counts, 0.5)),
            changed_max=max(counts),
            cpu_ms_per_sync=round(storm.cpu_ms / users, 3),
            api_cpu_share=round(storm.cpu_ms / (storm.seconds * 1_000), 3),
            quiet_cpu_share=round(quiet_share, 3),
            baseline_conversations=self._plan.conversations,
            baseline_cpu_ms_per_sync=round(ordinary.times.cpu_ms, 1),
            baseline_p50_ms=round(ordinary.times.p50_ms, 1),
            writes_per_second=round(len(storm.written) / storm.seconds, 1),
            marks_per_second=round(self._world.marks(storm.written) / storm.seconds, 1),
            listen_overflows=storm.overflows,
            devices_cpu_share=round(storm.load.cpu_seconds / storm.load.seconds, 3),
            peak_memory_mb=in_mb(peaks),
            machine=machine(),
            seconds_of=self._seconds_of,
            users_checked=checked,
            differences=tuple(self._differences[:DIFFERENCES_SHOWN]),
        )
