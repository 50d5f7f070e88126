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
from functools import partial
from typing import Any, Final, TypeAlias

from diffusion.oracle import Oracle
from diffusion.simulation.api import Network
from diffusion.simulation.backend import FEW, Backend
from diffusion.simulation.cluster import SETTINGS, Cluster
from diffusion.simulation.devices import Device
from diffusion.simulation.fate import Calm
from diffusion.simulation.faults import Faults
from diffusion.simulation.laws import Laws
from diffusion.simulation.virtual_loop import VirtualLoop
from schemas import topics
from schemas.events import WriteEvent
from schemas.partitioner import partition_of
from schemas.protocol import SyncRequest
from schemas.routes import routed
from sdk.client.steps import Options

EVENTS: Final = (20, 60)
FAULT_SHARE: Final = 0.35
"""Events after which something goes wrong."""

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
        self.oracle = Oracle()
        self._course = hashlib.blake2b(digest_size=8)
        self.laws = Laws()
        self.cluster = Cluster(rng, self.calm, self.laws.appended, self._note)
        self.network = Network(self.cluster.apis, self.cluster.fate(), self._told)
        self.devices = [
            self._device(user, f"{user}-{number}")
            for number, user in enumerate((*FEW.users[:3], "ann", "bob"))
        ]
        self.backend = Backend(rng, self.clock, self._write)
        self.faults = Faults(rng, self.cluster, self.devices, self.laws, self._note)
        self.events = self.gone_wrong = self.syncs = 0

    # What parts see of the world.

    def clock(self) -> int:
        """Milliseconds since 1970."""
        return self.cluster.clock()

    def _told(self, user_id: str, request: SyncRequest, answer: Any) -> None:
        self.syncs += 1
        self._note(user_id, answer.path, str(len(answer.conversations)))
        self.laws.answered(user_id, request, answer)

    def _write(self, event: WriteEvent) -> None:
        sent = routed(event)
        topic = self.cluster.log[sent.topic]
        topic.append(partition_of(sent.key, len(topic.records)), sent.value, self.clock())
        self.oracle.apply(event)
        self.laws.written(event)
        self.events += 1
        self._note(repr(event))

    def _note(self, *words: str) -> None:
        self._course.update(f"{self.clock()} {' '.join(words)}\n".encode())

    def _device(self, user_id: str, device_id: str) -> Device:
        options = Options(
            changes_max=self.rng.randint(1, 5),
            page_max=self.rng.randint(1, 4),
            verify_every_ms=3_600_000,
        )
        return Device(
            user_id, device_id, self.cluster.fate(), self.clock, options, self.network, self.laws
        )

    # How it goes.

    async def run(self) -> Outcome:
        """From the first event to the judgement."""
        self.cluster.begin()
        living = [asyncio.ensure_future(device.live(self._away_s)) for device in self.devices]
        self.backend.begin()
        for _ in range(self.rng.randint(*EVENTS)):
            await asyncio.sleep(self._pause_s())
            self.backend.act()
            if self.rng.random() < FAULT_SHARE:
                self.gone_wrong += 1
                await self.faults.happen()
            self._look_at_index()
        self.backend.finish()
        await self._settle()
        for one in living:
            one.cancel()
        await asyncio.wait(living)
        for one in living:
            if not one.cancelled():
                one.result()
        self.cluster.check()
        await self._judge()
        return Outcome(
            self.seed,
            tuple(self.laws.broken),
            self.events,
            self.gone_wrong,
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
        cluster = self.cluster
        since_ms = self.clock() - SETTINGS.log.retention_ms // 2
        epoch = cluster.epochs[topics.CHANGES.name].epoch
        self.laws.look_at_index(cluster.cells, cluster.changes, epoch, since_ms)

    # How it ends.

    async def _settle(self) -> None:
        """Nothing goes wrong any more; wait until all that was written is readable."""
        self.calm.now = True
        await asyncio.sleep(120.0)  # late writes, late news of partitions, late answers
        for group in (self.cluster.stream_group, self.cluster.materializer_group):
            await self.laws.until(partial(self.cluster.is_done, group))
        await asyncio.sleep(CACHES_S)
        self._look_at_index()

    async def _judge(self) -> None:
        for device in self.devices:
            device.session.abandoned()
            await self._judge_one(device)
        for user in FEW.users:
            await self._judge_one(self._device(user, f"{user}-new"))

    async def _judge_one(self, device: Device) -> None:
        if await device.until_nothing_new():
            self.laws.at_rest(device, self.oracle)
        else:
            self.laws.never_at_rest(device)
