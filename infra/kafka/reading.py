"""What the servers' consumers share: which errors of Kafka's are news, and which are faults."""

from __future__ import annotations

import logging
from typing import Final

from confluent_kafka import KafkaError, Message

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
