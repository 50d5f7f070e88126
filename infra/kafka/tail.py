"""Follow a topic from its ends, without a group: every process sees every record, from now on.

librdkafka reconnects by itself and goes on at the offset where it was, which loses nothing. What
does is `Broken`: the place is gone, the topic was made anew, or its partitions changed. Then a new
tail is opened at the ends, and what lies between is missed.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from infra.kafka.admin import Admin
from infra.kafka.config import HEARD, common
from infra.settings import KafkaSettings
from schemas.errors import RetryableError

RECORDS_PER_READ_MAX: Final = 1_000

_OPTIONS: Final[dict[str, str | int | bool]] = {
    # Never joined, nothing is committed under it; librdkafka asks for a name.
    "group.id": "diffusion-tail",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 100,
    # Records are small, and read as they come: little is kept, whatever the backlog.
    "queued.min.messages": 500,
    "queued.max.messages.kbytes": 2_048,
    "max.partition.fetch.bytes": 262_144,
}

_PASSING: Final = {
    KafkaError._PARTITION_EOF,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
}
"""Reading goes on where it was when the broker is back."""


class Broken(RetryableError):
    """Reading cannot go on where it was."""


class Record(NamedTuple):
    """A record and when it was appended."""

    partition: int
    offset: int
    at_ms: int
    value: bytes


class Tail:
    """A topic from its present ends on. For one thread; calls block."""

    def __init__(self, settings: KafkaSettings, admin: Admin, topic: str) -> None:
        """Open it; raises what `Admin` does when Kafka or the topic is away."""
        self._admin = admin
        self._topic = topic
        self._made = admin.describe(topic)
        self.starts = admin.end_offsets(topic)
        """Offset of the first record that will be read, by partition."""
        self._consumer = Consumer(common(settings, "diffusion-tail") | _OPTIONS | HEARD)
        self._consumer.assign(
            [TopicPartition(topic, partition, at) for partition, at in self.starts.items()]
        )

    def close(self) -> None:
        """Let go of it."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, timeout_s: float) -> list[Record]:
        """Records that came within `timeout_s`; raises `Broken`."""
        try:
            messages = self._consumer.consume(RECORDS_PER_READ_MAX, timeout=timeout_s)
        except KafkaException as error:
            raise Broken(f"The tail of {self._topic} broke: {error.args[0].str()}.") from error
        found: list[Record] = []
        for message in messages:
            failed = message.error()
            if failed is None:
                at = (message.partition() or 0, message.offset() or 0, message.timestamp()[1])
                found.append(Record(*at, message.value() or b""))
            elif failed.code() not in _PASSING:
                raise Broken(f"The tail of {self._topic} broke: {failed.str()}.")
        return found

    def check(self) -> None:
        """Raise `Broken` if the topic is another by now: made anew, or with other partitions."""
        if self._admin.describe(self._topic) != self._made:
            raise Broken(f"Topic {self._topic} was made anew, or its partitions changed.")
