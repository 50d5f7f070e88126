"""What the servers' consumers share: which errors are news and which are faults, and
how far behind they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.errors import PermanentError

log = logging.getLogger("diffusion.kafka")

MOVED: Final = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError._NO_OFFSET,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._FENCED,
}
"""Commit errors that only say that the partitions are another's by now."""


def usable(message: Message, reader: str) -> bool:
    """Whether it is a record, and not news of the connection; raises `PermanentError` for what a
    person has to mend.
    """
    error = message.error()
    if error is None:
        return True
    if error.code() in {KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED}:
        return False
    if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:
        log.warning("Kafka: %s", error.str())
        return False
    raise PermanentError(f"Kafka refuses {reader}: {error.str()}")


def behind(consumer: Consumer, places: Iterable[TopicPartition]) -> int:
    """Records after these places, from what librdkafka knows of the partitions without asking."""
    left = 0
    for place in places:
        _, high = consumer.get_watermark_offsets(place, cached=True)
        # Negative: nothing is known yet, or nothing was read of it.
        if high > 0 and place.offset >= 0:
            left += max(0, high - place.offset)
    return left
