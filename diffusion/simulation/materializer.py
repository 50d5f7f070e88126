"""A materializer: the real one, which blocks, so that what it writes is noted and then done in its
order, a piece at a time, between all else that happens. It may, because it reads nothing.
"""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, TopicPartition

from consumers.materializer import Materializer
from diffusion.simulation.fate import Fate
from diffusion.simulation.log import Group, Place, Topic
from diffusion.simulation.processes import Surroundings, Taken, Worker
from diffusion.simulation.store import Notebook
from infra.cassandra.topic_epochs import Epoch
from infra.settings import Settings

GATHER_S: Final = 0.02
BATCH_RECORDS_MAX: Final = 12


class _Message:
    """A record as confluent-kafka shows one."""

    def __init__(self, topic: Topic, partition: int, offset: int) -> None:
        self._record = topic.records[partition][offset]
        self._place = (partition, offset)

    def value(self) -> bytes:
        return self._record.value

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_LOG_APPEND_TIME, self._record.at_ms

    def error(self) -> None:
        return None


class _Commits:
    """Stands for the consumer, of which only the commit is asked for."""

    def __init__(self) -> None:
        self.asked: list[TopicPartition] = []

    def made(self, _options: dict[str, Any]) -> Any:
        return self

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        self.asked += offsets


class _NoDelivery:
    """Records of the change log are our own: none becomes a dead letter."""

    def produce(self, *_: Any) -> None:
        raise AssertionError("a record of the change log does not decode")

    def flush(self) -> None:
        pass


class MaterializerProcess(Worker):
    """`start` begins a life, with the epoch as it is then."""

    def __init__(
        self, name: str, fate: Fate, group: Group, world: Surroundings, store: Notebook
    ) -> None:
        super().__init__(name, fate, group, world)
        self.store = store

    def start(self, topic: Topic, epoch: Epoch, settings: Settings) -> None:
        """Begin a life."""
        self.alive = True
        self.fate.freeze(0)
        self.positions = {}
        store: Any = self.store
        delivery: Any = _NoDelivery()
        commits = _Commits()
        real = Materializer(settings, store, epoch, delivery, self.world.clock, commits.made)
        self.run(self._loop(topic, real, commits))
        self.assigned()

    async def _loop(self, topic: Topic, real: Materializer, commits: _Commits) -> None:
        async def finish(taken: Taken) -> None:
            await self.finish(topic, taken, real, commits)

        async def idle() -> None:
            self._commit_owed(real, commits)

        await self.work(topic, GATHER_S, BATCH_RECORDS_MAX, finish, idle)

    async def finish(
        self, topic: Topic, taken: Taken, real: Materializer, commits: _Commits
    ) -> None:
        """Apply a batch, then commit it."""
        # It learns of rebalances when it asks for more: until then it is of the generation in which
        # it took these.
        generation = self.group.generation
        messages: list[Any] = [_Message(topic, *place) for place in taken]
        real.apply(messages)
        rounds, self.store.rounds = self.store.rounds, []
        asked, commits.asked = commits.asked, []
        for one in rounds:
            await self.store.awrite(one, in_flight=1)
        self.commit(real, asked, generation)

    def commit(
        self, real: Materializer, asked: list[TopicPartition], generation: int | None = None
    ) -> None:
        """Have the group take offsets, and tell the materializer which it refused."""
        for one in asked:
            place: Place = (one.topic, one.partition)
            if not self.group.commit(self.name, {place: one.offset}, generation):
                real._refused([one], KafkaError(KafkaError.ILLEGAL_GENERATION))

    def _commit_owed(self, real: Materializer, commits: _Commits) -> None:
        """What the materializer does every second; here when there is time."""
        real._commit_owed([TopicPartition(*place, at) for place, at in self.positions.items()])
        asked, commits.asked = commits.asked, []
        self.commit(real, asked)
