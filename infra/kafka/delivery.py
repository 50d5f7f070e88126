"""The producer of the servers: hand over records, then wait until Kafka has all of them.

A batch is `produce` many times and `flush` once. A record that Kafka did not take within the
delivery time-out ends the batch with `NotDelivered`; order is kept by idempotence for as long as
the producer lives, so the program that sees the error ends and starts anew.
"""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.config import DELIVERY_TIMEOUT_MS, HEARD, producer
from infra.settings import KafkaSettings
from schemas.errors import RetryableError
from schemas.trace_context import Headers

QUEUE_FULL_WAIT_S: Final = 0.05
FLUSH_TIMEOUT_S: Final = DELIVERY_TIMEOUT_MS / 1_000 + 10
"""A little more than librdkafka's own bound, so that its reports come first."""


class NotDelivered(RetryableError):
    """Kafka did not take a record in time."""


class Delivery:
    """A producer whose `flush` returns only when everything handed over is in Kafka. One thread."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._producer = Producer(producer(settings, client_id) | HEARD)
        self._errors: list[str] = []
        self.delivered = 0

    def produce(
        self,
        topic: str,
        partition: int,
        value: bytes,
        key: bytes | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Hand over a record; blocks while the queue is full."""
        more: dict[str, Any] = {"headers": headers} if headers else {}
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition=partition, on_delivery=self._on_delivery, **more
                )
            except BufferError:
                self._producer.poll(QUEUE_FULL_WAIT_S)
                self._raise_if_failed()
            except KafkaException as error:
                raise NotDelivered(f"Kafka refused a record for {topic}: {error}") from error
            else:
                return

    def flush(self) -> None:
        """Wait until all records are delivered; raises `NotDelivered` if one is not."""
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        self._raise_if_failed()
        if left:
            raise NotDelivered(f"{left} records were not delivered in {FLUSH_TIMEOUT_S:.0f} s.")

    def ping(self, timeout_s: float) -> None:
        """Ask for the topics; raises `NotDelivered` when no broker answers. From any thread."""
        try:
            self._producer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise NotDelivered(f"Kafka does not answer: {error.args[0].str()}") from error

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self._errors.append(error.str())

    def _raise_if_failed(self) -> None:
        if self._errors:
            first, count = self._errors[0], len(self._errors)
            self._errors.clear()
            raise NotDelivered(f"Kafka did not take {count} records: {first}")
