"""One deterministic world: everything that runs, what goes wrong with it, and how it ends.

Real: policy, diffusion, cache, sink, materializer, sync service, session and store of the SDK. A
model: Kafka (`log`), Cassandra (`store`, `cells`), the network (`api`), the clock (`virtual_loop`),
and what Faust does with records, which is in the words of `stream_worker`. The same seed makes the
same world, in a process whose hashes are not drawn (`PYTHONHASHSEED=0`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from diffusion.oracle import Oracle
from diffusion.simulation.api import Api, Network
from diffusion.simulation.backend import USERS, Backend
from diffusion.simulation.cells import Cells
from diffusion.simulation.devices import Device
from diffusion.simulation.fate import Calm, Fate
from diffusion.simulation.laws import LOST, Laws
from diffusion.simulation.log import Group, Topic
from diffusion.simulation.materializer import MaterializerProcess
from diffusion.simulation.processes import Process
from diffusion.simulation.store import Notebook, Store
from diffusion.simulation.stream_worker import StreamWorker
from diffusion.simulation.virtual_loop import VirtualLoop
from infra.cassandra.topic_epochs import INSERT_NEXT, Epoch
from infra.settings import ApiSettings, LogSettings, Settings
from schemas import topics
from schemas.codec import encode_event
from schemas.events import UserEvent, WriteEvent
from schemas.partitioner import partition_of
from schemas.protocol import SyncRequest
from sdk.client.errors import ClientError, RequestRefusedError
from sdk.client.steps import Options
from streams.activity import Costs
from streams.policy import Rules

T0_MS: Final = 1_700_000_400_000
"""The start of a window."""

WRITE_PARTITIONS: Final = 3
SETTINGS: Final = Settings(
    log=LogSettings(retention_hours=2, window_minutes=5),
    api=ApiSettings(changes_per_delta_max=3, rows_per_sync_max=100),
)
"""A log so short that devices fall behind it, and deltas so small that some are too large."""

EVENTS: Final = (20, 60)
FAULT_SHARE: Final = 0.35
"""Events after which something goes wrong."""

QUIET_S: Final = 2 * 3_600.0
"""Within so long after the last fault all that was written must be readable."""

CACHES_S: Final = 10.0
"""Older than what any cache of the API believes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a world ended: laws that were broken, how much happened, a digest of its course."""

    seed: int
    broken: tuple[tuple[str, str], ...]
    events: int
    faults: int
    syncs: int
    digest: str


Mutation: TypeAlias = Callable[[random.Random], AbstractContextManager[None]]
"""Makes a world wrong in one way, for as long as it is entered; draws from what it is given."""


def run(seed: int, mutation: Mutation | None = None) -> Outcome:
    """Make the world of a seed, and see it to its end."""
    rng = random.Random(f"world/{seed}")  # noqa: S311 -- a reproducible run
    loop = VirtualLoop(rng)
    asyncio.set_event_loop(loop)
    try:
        with mutation(rng) if mutation else nullcontext():
            return loop.run_until_complete(_live(seed, rng))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()


async def _live(seed: int, rng: random.Random) -> Outcome:
    return await World(seed, rng).run()


class World:
    """All there is."""

    def __init__(self, seed: int, rng: random.Random) -> None:
        self.seed = seed
        self.rng = rng
        self.calm = Calm()
        self.cells = Cells(clock=self.clock)
        self.oracle = Oracle()
        self.laws = Laws(self.clock)
        self.rules = self._rules()
        self.log: dict[str, Topic] = {}
        self.epochs: dict[str, Epoch] = {}
        for spec in topics.TOPICS:
            self._make_topic(spec.name, self._partitions(spec.name))
        self.stream_group, self.materializer_group = Group(), Group()
        self.streams = [
            StreamWorker(name, self.fate(), self.stream_group, self, self.store())
            for name in ("stream-1", "stream-2")
        ]
        self.materializers = []
        for name in ("materializer-1", "materializer-2"):
            fate = self.fate()
            store = Notebook(self.cells, fate)
            self.materializers.append(
                MaterializerProcess(name, fate, self.materializer_group, self, store)
            )
        self.apis = [
            Api(name, self.fate(), self.clock, self.store()) for name in ("api-1", "api-2")
        ]
        self.network = Network(self.apis, self.fate(), self._told)
        self.devices = [
            self._device(user, f"{user}-{number}")
            for number, user in enumerate((*USERS[:3], "ann", "bob"))
        ]
        self.backend = Backend(rng, self.clock, self._write)
        self.events = self.faults = self.syncs = 0
        self._course = hashlib.blake2b(digest_size=8)

    # What parts see of the world.

    def clock(self) -> int:
        """Milliseconds since 1970."""
        return T0_MS + int(asyncio.get_running_loop().time() * 1_000)

    def fate(self) -> Fate:
        """Of one process."""
        return Fate(self.rng, self.calm)

    def store(self) -> Store:
        """Cassandra, for one process."""
        return Store(self.cells, self.fate())

    def ended(self, process: Process) -> None:
        """A process ended by itself: its supervisor starts it again."""
        self._note("ended", process.name)
        self._restart(process)

    def _told(self, user_id: str, request: SyncRequest, answer: Any) -> None:
        self.syncs += 1
        self._note(user_id, answer.path, str(len(answer.conversations)))
        self.laws.answered(user_id, request, answer)

    def _write(self, event: WriteEvent) -> None:
        spec = topics.USER_WRITES if isinstance(event, UserEvent) else topics.CONVERSATION_WRITES
        key = event.user_id if isinstance(event, UserEvent) else event.conversation_id
        topic = self.log[spec.name]
        partition = partition_of(key, len(topic.records))
        topic.append(partition, encode_event(event), self.clock())
        self.oracle.apply(event)
        self.laws.written(event)
        self.events += 1
        self._note(repr(event))

    def _note(self, *words: str) -> None:
        self._course.update(f"{self.clock()} {' '.join(words)}\n".encode())

    # How it is made.

    def _rules(self) -> Rules:
        lively = self.rng.random() < 0.5
        return Rules(
            members_max=50 if lively else 3,
            members_return=40 if lively else 2,
            small_members=1,
            rows_per_second_max=1e9,
            dwell_s=5,
            costs=Costs(
                row_cost=1.0,
                mark_cost=2.0,
                check_cost=1.0,
                sync_rate=0.02,
                window_ms=SETTINGS.log.window_ms,
            ),
        )

    def _partitions(self, name: str) -> int:
        return self.rng.randint(2, 4) if name == topics.CHANGES.name else WRITE_PARTITIONS

    def _make_topic(self, name: str, partitions: int) -> None:
        number = self.epochs[name].epoch + 1 if name in self.epochs else 1
        epoch = Epoch(name, number, f"id-{number}", partitions, SETTINGS.log.window_ms)
        self.epochs[name] = epoch
        values = (name, number, epoch.topic_id, partitions, epoch.window_ms, T0_MS)
        self.cells.read(INSERT_NEXT, values)
        self.log[name] = Topic(
            name, partitions, self.laws.appended if name == topics.CHANGES.name else None
        )

    def _device(self, user_id: str, device_id: str) -> Device:
        options = Options(
            changes_max=self.rng.randint(1, 5),
            page_max=self.rng.randint(1, 4),
            verify_every_ms=3_600_000,
        )
        return Device(user_id, device_id, self.fate(), self.clock, options, self.network, self.laws)

    # How it goes.

    async def run(self) -> Outcome:
        """From the first event to the judgement."""
        for stream in self.streams:
            self._start(stream)
        for materializer in self.materializers:
            self._start(materializer)
        for api in self.apis:
            self._start(api)
        self._rebalance(self.stream_group)
        self._rebalance(self.materializer_group)
        living = [asyncio.ensure_future(device.live(self._away_s)) for device in self.devices]
        self.backend.begin()
        for _ in range(self.rng.randint(*EVENTS)):
            await asyncio.sleep(self._pause_s())
            self.backend.act()
            if self.rng.random() < FAULT_SHARE:
                self.faults += 1
                await self._fault()
            self._look_at_index()
        self.backend.finish()
        await self._settle()
        for one in living:
            one.cancel()
        await asyncio.wait(living)
        for one in living:
            if not one.cancelled() and one.exception() is not None:
                raise one.exception()  # type: ignore[misc]
        await self._judge()
        return Outcome(
            self.seed,
            tuple(self.laws.broken),
            self.events,
            self.faults,
            self.syncs,
            self._course.hexdigest(),
        )

    def _pause_s(self) -> float:
        luck = self.rng.random()
        if luck < 0.9:
            return self.rng.expovariate(1 / 1.5)
        if luck < 0.98:
            return self.rng.uniform(30, 400)
        return self.rng.uniform(600, 3 * 3_600)

    def _away_s(self) -> float:
        mean = 20.0 if self.rng.random() < 0.9 else 4 * 3_600.0
        return self.rng.expovariate(1 / mean)

    def _look_at_index(self) -> None:
        name = topics.CHANGES.name
        since_ms = self.clock() - SETTINGS.log.retention_ms // 2
        self.laws.look_at_index(self.cells, self.log[name], self.epochs[name].epoch, since_ms)

    # What goes wrong.

    async def _fault(self) -> None:
        faults = (
            self._kill,
            self._freeze,
            self._move_partitions,
            self._another_leader,
            self._drift,
            self._steal,
        )
        fault = self.rng.choices(faults, weights=(8, 5, 6, 2, 1, 3))[0]
        self._note(fault.__name__)
        fault_over = fault()
        if fault_over is not None:
            await fault_over
        if self.rng.random() < 0.03:
            await self._make_log_anew()

    def _any(self) -> Process:
        return self.rng.choice([*self.streams, *self.materializers, *self.apis])

    def _kill(self) -> None:
        self._restart(self._any())

    def _restart(self, process: Process) -> None:
        process.kill()
        loop = asyncio.get_running_loop()
        loop.call_later(self.rng.uniform(0.5, 20), self._start, process)

    def _start(self, process: Process) -> None:
        if process.alive:
            return
        match process:
            case StreamWorker():
                process.start(self.log, self.epochs, self.rules)
            case MaterializerProcess():
                name = topics.CHANGES.name
                process.start(self.log[name], self.epochs[name], SETTINGS)
            case Api():
                process.start(SETTINGS)

    def _freeze(self) -> None:
        """A worker stops for long enough that others are given its partitions, and goes on."""
        worker = self.rng.choice([*self.streams, *self.materializers])
        worker.fate.freeze(self.rng.uniform(1, 60))
        if self.rng.random() < 0.7:
            self._rebalance(worker.group, unaware=worker)

    def _move_partitions(self) -> None:
        self._rebalance(self.rng.choice([self.stream_group, self.materializer_group]))

    def _rebalance(self, group: Group, unaware: Process | None = None) -> None:
        """Share partitions anew. Who is unaware learns of it later, and works on until then."""
        members = self.streams if group is self.stream_group else self.materializers
        places = [place for topic in self._topics_of(group) for place in topic.places]
        there = [one.name for one in members if one is not unaware]
        group.share(places, there, self.rng.randint(0, 1))
        for member in members:
            if member is unaware:
                member.fate.later(90.0, member.assigned)
            else:
                member.assigned()

    def _topics_of(self, group: Group) -> list[Topic]:
        if group is self.materializer_group:
            return [self.log[topics.CHANGES.name]]
        return [self.log[spec.name] for spec in topics.WRITE_TOPICS]

    def _another_leader(self) -> None:
        topic = self.log[topics.CHANGES.name]
        partition = self.rng.randrange(len(topic.records))
        topic.skew_ms[partition] = self.rng.choice((-25_000, 0, 25_000))

    def _drift(self) -> None:
        self.rng.choice(self.apis).skew_ms = self.rng.choice((-20_000, 0, 20_000))

    async def _steal(self) -> None:
        """Somebody syncs with a cursor of somebody else."""
        owner, thief = self.rng.sample(self.devices, 2)
        cursor = owner.store.load().cursor
        if cursor is None or owner.user_id == thief.user_id:
            return
        try:
            await self.rng.choice(self.apis).sync(
                thief.user_id, SyncRequest(thief.device_id, cursor=cursor)
            )
        except RequestRefusedError:
            return
        except ClientError:
            return  # nobody answered
        self.laws.served_a_stranger(thief.user_id, cursor)

    async def _make_log_anew(self) -> None:
        """The change log is made again, with other partitions, as its operator does it: stream
        workers end, what is in the log is applied, and everything starts on the new one.
        """
        for stream in self.streams:
            stream.kill()
            stream.alive = True  # nobody starts it meanwhile
        changes = [self.log[topics.CHANGES.name]]
        await self._until(lambda: self.materializer_group.lag(changes) == 0)
        for materializer in self.materializers:
            materializer.kill()
        self._make_topic(topics.CHANGES.name, self.rng.randint(2, 4))
        self.materializer_group.committed.clear()
        for stream in self.streams:
            stream.alive = False
            self._start(stream)
        for materializer in self.materializers:
            self._start(materializer)
        self._rebalance(self.materializer_group)
        self._rebalance(self.stream_group)

    # How it ends.

    async def _until(self, holds: Any) -> None:
        deadline_s = asyncio.get_running_loop().time() + QUIET_S
        while not holds():
            if asyncio.get_running_loop().time() > deadline_s:
                self.laws.broken.append((LOST, "what was written is not readable after hours"))
                return
            await asyncio.sleep(1.0)

    async def _settle(self) -> None:
        """Nothing goes wrong any more; wait until all that was written is readable."""
        self.calm.now = True
        await asyncio.sleep(120.0)  # late writes, late news of partitions, late answers
        streams, materializers = self.stream_group, self.materializer_group
        await self._until(lambda: streams.lag(self._topics_of(streams)) == 0)
        await self._until(lambda: materializers.lag(self._topics_of(materializers)) == 0)
        await asyncio.sleep(CACHES_S)
        self._look_at_index()

    async def _judge(self) -> None:
        for device in self.devices:
            device.session.abandoned()
            await self._judge_one(device)
        for user in USERS:
            await self._judge_one(self._device(user, f"{user}-new"))

    async def _judge_one(self, device: Device) -> None:
        if await device.until_nothing_new():
            self.laws.at_rest(device, self.oracle)
        else:
            self.laws.broken.append((LOST, f"{device.device_id} never has nothing new"))
