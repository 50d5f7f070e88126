"""What the materializer's tests share: records of the change log, and a consumer that is scripted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import OFFSET_INVALID, TIMESTAMP_LOG_APPEND_TIME, KafkaError, TopicPartition

from consumers import materializer
from consumers.materializer import Materializer
from infra.cassandra.topic_epochs import Epoch
from infra.settings import Settings
from schemas.changes import Change
from schemas.codec import encode_change
from schemas.topics import CHANGES
from tests.unit.infra.cassandra.support import Cells

WINDOW_MS = 600_000
T0 = 1_700_000_400_000
"""The start of a window."""


class Record:
    """A record of the change log, as confluent-kafka shows one."""

    def __init__(
        self,
        value: bytes | Change | None,
        offset: int = 0,
        partition: int = 0,
        at_ms: int = T0,
        stamped_by: int = TIMESTAMP_LOG_APPEND_TIME,
        error: Any = None,
        headers: Any = None,
    ) -> None:
        self._value = value if value is None or isinstance(value, bytes) else encode_change(value)
        self._place = (partition, offset)
        self._timestamp = (stamped_by, at_ms)
        self._error = error
        self._headers = headers

    def headers(self) -> Any:
        return self._headers

    def value(self) -> bytes | None:
        return self._value

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp

    def error(self) -> Any:
        return self._error


class ScriptedConsumer:
    """Hands out the batches it was given, each as what has come when the first record of it is asked
    for, and remembers what was committed.
    """

    def __init__(self, batches: Sequence[Sequence[Record]] = ()) -> None:
        self.batches = [list(batch) for batch in batches]
        self._come: list[Record] = []
        self.committed: dict[int, int] = {}
        self.commit_error: KafkaError | None = None
        self.on_commit: Any = None
        self.subscribed: list[str] = []
        self.closed = False

    def made(self, options: dict[str, Any]) -> ScriptedConsumer:
        """In place of the consumer's class."""
        self.on_commit = options["on_commit"]
        return self

    def subscribe(self, topics: list[str]) -> None:
        self.subscribed = topics

    def consume(self, number: int, timeout: float) -> list[Record]:
        assert number > 0
        assert timeout > 0
        if timeout != materializer.GATHER_S and not self._come and self.batches:
            self._come = self.batches.pop(0)
        taken, self._come = self._come[:number], self._come[number:]
        return taken

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
        assert asynchronous, "what came of it is told by the callback"
        if self.commit_error is not None:
            self.on_commit(self.commit_error, offsets)
            return
        for place in offsets:
            assert place.topic == CHANGES.name
            self.committed[place.partition] = place.offset
        self.on_commit(None, offsets)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(CHANGES.name, partition) for partition in range(2)]

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Of a partition that nothing was read of, librdkafka knows none."""
        return [
            TopicPartition(
                place.topic, place.partition, self.committed.get(place.partition, OFFSET_INVALID)
            )
            for place in places
        ]

    def get_watermark_offsets(self, _place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached, "nothing is asked over the network between batches"
        return 0, 10

    def close(self) -> None:
        self.closed = True


class Log:
    """A delivery that keeps what it was given; after `crash_in` more records it fails."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, bytes]] = []
        self.crash_in: int | None = None
        self.failure: Exception | None = None
        self.flushed = 0

    def produce(self, topic: str, partition: int, value: bytes, key: bytes | None = None) -> None:
        if self.crash_in is not None:
            if self.crash_in == 0 and self.failure is not None:
                raise self.failure
            self.crash_in -= 1
        self.records.append((topic, partition, value))

    def flush(self) -> None:
        if self.crash_in is not None and self.failure is not None:
            raise self.failure
        self.flushed = len(self.records)


def materializer_on(
    cells: Cells,
    consumer: ScriptedConsumer,
    delivery: Any = None,
    settings: Settings | None = None,
    epoch: int = 1,
    partitions: int = 2,
) -> Materializer:
    """The real materializer, on a model of cells and a scripted consumer."""
    return Materializer(
        settings or Settings(),
        cells,
        Epoch(CHANGES.name, epoch, "id", partitions, WINDOW_MS),
        delivery or Log(),
        lambda: T0,
        consumer.made,
    )
