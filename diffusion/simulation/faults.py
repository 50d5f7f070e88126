"""What goes wrong in a world."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from diffusion.simulation.cluster import Cluster
from diffusion.simulation.devices import Device
from diffusion.simulation.laws import Laws
from diffusion.simulation.processes import Process
from schemas import topics
from schemas.protocol import SyncRequest
from sdk.client.errors import ClientError, RequestRefusedError


class Faults:
    """Draws what goes wrong next."""

    def __init__(
        self,
        rng: random.Random,
        cluster: Cluster,
        devices: Sequence[Device],
        laws: Laws,
        note: Callable[..., None],
    ) -> None:
        self._rng = rng
        self._cluster = cluster
        self._devices = devices
        self._laws = laws
        self._note = note

    async def happen(self) -> None:
        """Have one thing go wrong, seldom two."""
        faults = (
            self._kill,
            self._freeze,
            self._move_partitions,
            self._another_leader,
            self._drift,
            self._steal,
        )
        fault = self._rng.choices(faults, weights=(8, 5, 6, 2, 1, 3))[0]
        self._note(fault.__name__)
        fault_over = fault()
        if fault_over is not None:
            await fault_over
        if self._rng.random() < 0.03:
            await self._make_log_anew()

    def _any(self) -> Process:
        return self._rng.choice(
            [*self._cluster.streams, *self._cluster.materializers, *self._cluster.apis]
        )

    def _kill(self) -> None:
        self._cluster.restart(self._any())

    def _freeze(self) -> None:
        """A worker stops for long enough that others are given its partitions, and goes on."""
        worker = self._rng.choice([*self._cluster.streams, *self._cluster.materializers])
        worker.fate.freeze(self._rng.uniform(1, 60))
        if self._rng.random() < 0.7:
            self._cluster.rebalance(worker.group, unaware=worker)

    def _move_partitions(self) -> None:
        self._cluster.rebalance(
            self._rng.choice([self._cluster.stream_group, self._cluster.materializer_group])
        )

    def _another_leader(self) -> None:
        topic = self._cluster.changes
        partition = self._rng.randrange(len(topic.records))
        topic.skew_ms[partition] = self._rng.choice((-25_000, 0, 25_000))

    def _drift(self) -> None:
        self._rng.choice(self._cluster.apis).skew_ms = self._rng.choice((-20_000, 0, 20_000))

    async def _steal(self) -> None:
        """Somebody syncs with a cursor of somebody else."""
        owner, thief = self._rng.sample(self._devices, 2)
        cursor = owner.store.load().cursor
        if cursor is None or owner.user_id == thief.user_id:
            return
        try:
            await self._rng.choice(self._cluster.apis).sync(
                thief.user_id, SyncRequest(thief.device_id, cursor=cursor)
            )
        except RequestRefusedError:
            return
        except ClientError:
            return  # nobody answered
        self._laws.served_a_stranger(thief.user_id, cursor)

    async def _make_log_anew(self) -> None:
        """The change log is made again, with other partitions, as its operator does it: stream
        workers end, what is in the log is applied, and everything starts on the new one.
        """
        for stream in self._cluster.streams:
            stream.kill()
            stream.alive = True  # nobody starts it meanwhile
        group = self._cluster.materializer_group
        await self._laws.until(lambda: self._cluster.is_done(group))
        for materializer in self._cluster.materializers:
            materializer.kill()
        self._cluster.make_topic(topics.CHANGES.name, self._rng.randint(2, 4))
        self._cluster.materializer_group.committed.clear()
        for stream in self._cluster.streams:
            stream.alive = False
            self._cluster.start(stream)
        for materializer in self._cluster.materializers:
            self._cluster.start(materializer)
        self._cluster.rebalance(self._cluster.materializer_group)
        self._cluster.rebalance(self._cluster.stream_group)
