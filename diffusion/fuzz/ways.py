"""The real way of a record, from its bytes to bound statements, over models of Kafka and Cassandra.

A record of a write topic goes through the real pipeline (decoder, cache, diffusion, sink); the
change records that come of it, and those drawn as hostile, through the real materializer. What
leaves for Cassandra is checked to be what its types and keys can hold; what leaves for Kafka is
kept.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, TopicPartition

from consumers.materializer import Materializer
from diffusion.fuzz.records import AT_MS, CHANGES, CONVERSATIONS, Specimen
from diffusion.simulation.cells import Bound, Cells, partition_key
from diffusion.simulation.virtual_loop import VirtualLoop
from infra.cassandra.topic_epochs import Epoch
from infra.settings import Settings
from schemas import topics
from streams.activity import Costs
from streams.cache import ConversationCache
from streams.effects import Effects
from streams.pace import Pace
from streams.policy import Rules
from streams.sink import Sink
from streams.worker import ConversationPipeline, Pipeline, SourceRecord, Stamped, UserPipeline

E = TypeVar("E")

PARTITIONS: Final = 3
WINDOW_MS: Final = 600_000
KEY_BYTES_MAX: Final = 65_535
"""Of a key of Cassandra's, or a part of one."""

EPOCHS: Final = {
    spec.name: Epoch(spec.name, 1, "fuzz", PARTITIONS, WINDOW_MS) for spec in topics.TOPICS
}
RULES: Final = Rules(
    members_max=500,
    members_return=400,
    small_members=2,
    rows_per_second_max=5_000,
    dwell_s=0,
    costs=Costs(row_cost=1.0, mark_cost=0.1, check_cost=1.0, sync_rate=0.02, window_ms=WINDOW_MS),
)
"""A few hundred members send a conversation away, and a few messages may."""


class NoRoom(AssertionError):
    """Cassandra has no room for a value that was bound."""


@dataclass(slots=True)
class Course:
    """What became of a record. `letters` and `changes` as they go to Kafka."""

    accepted: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Events accepted, by their type."""
    letters: list[bytes] = field(default_factory=list)
    changes: list[bytes] = field(default_factory=list)
    marks: int = 0
    members: int = 0
    """The greatest number of members of a conversation that it touched."""
    conversations: int = 0
    """That the worker holds in the end."""
    statements: int = 0
    late_letters: int = 0
    """Of change records that the stream stage itself wrote."""


class Store(Cells):
    """Cells that take nothing but what Cassandra would."""

    def __init__(self) -> None:
        super().__init__()
        self.statements = 0

    async def aprepare(self, _cql: str) -> None:
        """Statements are not prepared."""

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read."""
        return self.read(cql, values)

    async def awrite(self, statements: Sequence[Any], *, in_flight: int) -> None:
        """Check and write."""
        self.write(statements, in_flight=in_flight)

    def write(self, statements: Sequence[Any], *, in_flight: int) -> None:
        """Check and write."""
        assert in_flight > 0
        for one in statements:
            for statement in [one] if isinstance(one, Bound) else one:
                check(statement)
                self.statements += 1
                self.apply(statement)


def check(statement: Bound) -> None:
    """Raise `NoRoom` for a value that Cassandra refuses."""
    if partition_key(statement)[1] == "":
        raise NoRoom(f"an empty partition key: {statement.cql}")
    for value in statement.values:
        if isinstance(value, str) and len(value.encode()) > KEY_BYTES_MAX:
            raise NoRoom(f"a text of {len(value.encode()):,} bytes: {statement.cql}")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise NoRoom(f"the number {value}: {statement.cql}")


class _Kafka:
    """Stands for `infra.kafka.delivery.Delivery`, and for the consumer as far as commits go."""

    def __init__(self) -> None:
        self.produced: dict[str, list[bytes]] = {}

    def produce(self, topic: str, _partition: int, value: bytes, _key: bytes | None = None) -> None:
        self.produced.setdefault(topic, []).append(value)

    def flush(self) -> None:
        pass

    def made(self, _options: dict[str, Any]) -> Any:
        return self

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert offsets
        assert asynchronous


class _Message:
    """A record as confluent-kafka shows one."""

    def __init__(self, offset: int, value: bytes | None) -> None:
        self._offset = offset
        self._value = value

    def value(self) -> bytes | None:
        return self._value

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_LOG_APPEND_TIME, AT_MS

    def error(self) -> None:
        return None


def _watched(course: Course, pipeline: Pipeline[Any]) -> None:
    """Note what a pipeline takes and makes."""
    real = pipeline._diffuse

    async def diffuse(stamped: Sequence[Stamped[Any]]) -> Effects:
        effects = await real(stamped)
        course.accepted += len(stamped)
        course.kinds.update(type(one.event).__struct_config__.tag for one in stamped)
        course.marks += sum(len(change.users) for _, change in effects.changes)
        return effects

    pipeline._diffuse = diffuse  # type: ignore[method-assign]


class Ways:
    """Takes records, each in a world of its own. Use one for many; `close` at the end."""

    def __init__(self) -> None:
        self._settings = Settings()
        # Nothing waits for a thread: handing over to one takes longer than all the rest.
        self._loop = VirtualLoop(random.Random(0))  # noqa: S311  # how long threads would take

    def close(self) -> None:
        """Let go of the event loop."""
        self._loop.close()

    def take(self, specimen: Specimen) -> Course:
        """Take a record; raises whatever the real code raises."""
        if specimen.topic == CHANGES:
            course = Course()
            store, kafka = Store(), _Kafka()
            self._materialize([specimen.value], store, kafka)
            course.letters = kafka.produced.get(topics.dead_letters(CHANGES), [])
            course.accepted = 1 - len(course.letters)
            course.statements = store.statements
            return course
        return self._loop.run_until_complete(self._events(specimen))

    async def _events(self, specimen: Specimen) -> Course:
        store, kafka, course = Store(), _Kafka(), Course()
        pipeline, cache = _pipeline(specimen.topic, store, kafka)
        records = [
            SourceRecord(specimen.topic, 0, offset, AT_MS + offset, value)
            for offset, value in enumerate((*specimen.before, specimen.value))
        ]
        if specimen.before:
            await pipeline.process(records[:-1])
            kafka.produced.clear()
        _watched(course, pipeline)
        await pipeline.process(records[-1:])
        course.letters = kafka.produced.pop(topics.dead_letters(specimen.topic), [])
        course.changes = kafka.produced.pop(CHANGES, [])
        course.conversations = len(cache._held)
        course.members = max(
            (len(one.members or ()) + len(one.left) for one in cache._held.values()), default=0
        )
        assert not kafka.produced, "a topic that nobody knows"
        self._materialize(course.changes, Store(), kafka)
        course.late_letters = sum(map(len, kafka.produced.values()))
        course.statements = store.statements
        return course

    def _materialize(self, values: Sequence[bytes | None], store: Store, kafka: _Kafka) -> None:
        if not values:
            return
        session: Any = store
        delivery: Any = kafka
        messages: list[Any] = [_Message(offset, value) for offset, value in enumerate(values)]
        Materializer(self._settings, session, EPOCHS[CHANGES], delivery, _clock, kafka.made).apply(
            messages
        )


def _pipeline(topic: str, store: Store, kafka: _Kafka) -> tuple[Pipeline[Any], ConversationCache]:
    session: Any = store
    delivery: Any = kafka
    sink = Sink(session, delivery, _clock, Pace(1e12))
    cache = ConversationCache(session, 100_000, 1_000_000)
    if topic == CONVERSATIONS:
        return (
            ConversationPipeline(
                sink, EPOCHS, _clock, cache=cache, partitions=PARTITIONS, rules=RULES
            ),
            cache,
        )
    return UserPipeline(sink, EPOCHS, _clock, partitions=PARTITIONS, rules=RULES), cache


def _clock() -> int:
    return AT_MS


def letter_index(letter: bytes) -> int | None:
    """Which event of its record a dead letter is of."""
    return msgspec.json.decode(letter, type=_Place).index


class _Place(msgspec.Struct):
    index: int | None
