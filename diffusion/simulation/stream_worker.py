"""A stream worker: the real pipelines, cache and sink, over a modelled Kafka and Cassandra."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from faust.types import TP

from diffusion.simulation.fate import Fate
from diffusion.simulation.log import Group, Place, Topic
from diffusion.simulation.processes import Died, Surroundings, Taken, Worker
from diffusion.simulation.store import Store
from infra.cassandra.topic_epochs import Epoch
from schemas import topics
from streams.cache import ConversationCache
from streams.pace import Pace
from streams.policy import Rules
from streams.progress import Progress
from streams.sink import Sink
from streams.worker import ConversationPipeline, Pipeline, SourceRecord, UserPipeline

GATHER_S: Final = 0.05
BATCH_RECORDS_MAX: Final = 6
COMMIT_S: Final = 1.0
DIES_SHARE: Final = 0.02
"""Batches that end in the middle of their delivery, with the worker."""

CACHED_MEMBERS_MAX: Final = 6
CACHED_BYTES_MAX: Final = 600
"""Few, so that conversations are packed, unpacked and forgotten between batches."""


class Link:
    """Stands for `infra.kafka.delivery.Delivery`. `dies_in`: records it still takes."""

    def __init__(self, log: Mapping[str, Topic], world: Surroundings) -> None:
        self._log = log
        self._world = world
        self.dies_in: int | None = None

    def produce(self, topic: str, partition: int, value: bytes, key: bytes | None = None) -> None:
        """Take a record; what was taken is in Kafka, whatever becomes of the rest."""
        if self.dies_in is not None:
            if self.dies_in == 0:
                raise Died
            self.dies_in -= 1
        assert key is None
        self._log[topic].append(partition, value, self._world.clock())

    def flush(self) -> None:
        """All is delivered already."""


class StreamWorker(Worker):
    """`start` begins a life, with rules and epochs as they are then."""

    def __init__(
        self, name: str, fate: Fate, group: Group, world: Surroundings, store: Store
    ) -> None:
        super().__init__(name, fate, group, world)
        self.store = store
        self._done: dict[Place, int] = {}
        self.believed: dict[Place, int] = {}
        """How far Faust takes each partition as committed."""
        self._progress: dict[str, Progress] = {}
        self._commits = False
        self.cache: ConversationCache | None = None

    def start(self, log: Mapping[str, Topic], epochs: Mapping[str, Epoch], rules: Rules) -> None:
        """Begin a life."""
        self.alive, self._commits = True, False
        self.fate.freeze(0)
        self._progress = {spec.name: Progress(spec.name) for spec in topics.WRITE_TOPICS}
        partitions = epochs[topics.CHANGES.name].partitions
        store: Any = self.store
        self.cache = ConversationCache(store, CACHED_MEMBERS_MAX, CACHED_BYTES_MAX)
        clock = self.world.clock
        for name in (topics.CONVERSATION_WRITES.name, topics.USER_WRITES.name):
            link: Any = Link(log, self.world)
            sink = Sink(store, link, clock, Pace(1e12))
            pipeline: Pipeline[Any]
            if name == topics.USER_WRITES.name:
                pipeline = UserPipeline(sink, epochs, clock, partitions=partitions, rules=rules)
            else:
                pipeline = ConversationPipeline(
                    sink, epochs, clock, cache=self.cache, partitions=partitions, rules=rules
                )
            self.run(self._agent(log[name], pipeline, link))
        self.assigned()

    def assigned(self) -> None:
        """Faust forgets what is acknowledged and not committed, and takes each partition again from
        where it is committed, those too that stay; the cache is dropped.
        """
        self.positions = {}
        super().assigned()
        self._done, self.believed = {}, dict(self.positions)
        if self.cache is not None:
            self.cache.drop()

    async def _agent(self, topic: Topic, pipeline: Pipeline[Any], link: Link) -> None:
        async def finish(taken: Taken) -> None:
            dies = self.fate.happens(DIES_SHARE)
            link.dies_in = self.fate.rng.randint(0, 3) if dies else None
            await self.finish(topic, taken, pipeline)

        async def idle() -> None:
            await self._progress[topic.name].look(_Consumer(self, topic))

        await self.work(topic, GATHER_S, BATCH_RECORDS_MAX, finish, idle)

    async def finish(self, topic: Topic, taken: Taken, pipeline: Pipeline[Any]) -> None:
        """Do all that a batch asks for, then acknowledge it."""
        await pipeline.process([_source(topic, *place) for place in taken])
        self.acknowledge(topic, taken)

    def acknowledge(self, topic: Topic, taken: Taken) -> None:
        """Say that records are done; their offsets are committed within a second or so."""
        self._progress[topic.name].finished([_source(topic, *place) for place in taken])
        # As Faust does: the end of a batch from before a rebalance must take no commit back.
        for partition, offset in taken:
            place = (topic.name, partition)
            if offset >= self.believed.get(place, 0):
                self._done[place] = max(offset + 1, self._done.get(place, 0))
        if not self._commits:
            self._commits = True
            self.run(self._commit())

    async def _commit(self) -> None:
        await asyncio.sleep(self.fate.rng.uniform(0, 2 * COMMIT_S))
        await self.fate.thawed()
        self._commits = False
        done, self._done = self._done, {}
        self.believed |= done
        self.group.commit(self.name, done)  # refused or not, Faust takes it as made


class _Consumer:
    """Stands for Faust's consumer, of one topic."""

    def __init__(self, worker: StreamWorker, topic: Topic) -> None:
        self._worker = worker
        self._topic = topic

    def assignment(self) -> set[TP]:
        return {TP(*place) for place in self._worker.positions if place[0] == self._topic.name}

    def highwater(self, tp: TP, /) -> int | None:
        return len(self._topic.records[tp.partition])

    @property
    def _committed_offset(self) -> Mapping[TP, int | None]:
        return {TP(*place): at for place, at in self._worker.believed.items()}

    async def position(self, tp: TP, /) -> int | None:
        return self._worker.positions.get((tp.topic, tp.partition))

    async def _commit(self, offsets: Mapping[TP, int], /) -> bool:
        group, name = self._worker.group, self._worker.name
        asked = {(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        return group.commit(name, asked)


def _source(topic: Topic, partition: int, offset: int) -> SourceRecord:
    record = topic.records[partition][offset]
    return SourceRecord(topic.name, partition, offset, record.at_ms, record.value)
