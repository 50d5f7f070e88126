"""One record by its place, for a person who looks: without a group, and nothing is committed."""

from __future__ import annotations

from typing import Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.kafka.config import HEARD, common
from infra.settings import KafkaSettings
from schemas.errors import RetryableError
from schemas.trace_context import Origin, given_headers, origins_of

READ_TIMEOUT_S: Final = 10.0

_OPTIONS: Final[dict[str, str | int | bool]] = {
    # Never joined, nothing is committed under it; librdkafka asks for a name.
    "group.id": "diffusion-peek",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
}


class Peeked(NamedTuple):
    """A record: when it was appended, its value, and the writes that it was made of."""

    at_ms: int
    value: bytes
    origins: tuple[Origin, ...]


class Peek:
    """Reads single records. Blocking; close it, or use it as a context manager."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._consumer = Consumer(common(settings, "diffusion-peek") | _OPTIONS | HEARD)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def at(self, topic: str, partition: int, offset: int) -> Peeked | None:
        """Read a record; None where there is none: not yet, or not any more.

        Raises `RetryableError` when Kafka does not answer.
        """
        place = TopicPartition(topic, partition, offset)
        try:
            low, high = self._consumer.get_watermark_offsets(place, timeout=READ_TIMEOUT_S)
            if not low <= offset < high:
                return None
            self._consumer.assign([place])
            found = self._consumer.consume(1, timeout=READ_TIMEOUT_S)
        except KafkaException as error:
            raise RetryableError(f"Kafka does not answer: {error.args[0].str()}") from error
        if not found:
            raise RetryableError(f"Kafka did not give record {offset} in {READ_TIMEOUT_S:g} s.")
        message = found[0]
        if message.error() is not None or message.offset() != offset:
            return None
        origins = origins_of(given_headers(message.headers))
        return Peeked(message.timestamp()[1], message.value() or b"", origins)
