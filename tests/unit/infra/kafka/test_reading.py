"""What the servers' consumers make of errors and of places."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from infra.kafka.reading import behind, usable
from schemas.errors import PermanentError


def message(code: int | None) -> Any:
    error = None if code is None else KafkaError(code)
    return SimpleNamespace(error=lambda: error)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, True),
        (KafkaError._PARTITION_EOF, False),
        (KafkaError._MAX_POLL_EXCEEDED, False),
        (KafkaError._ALL_BROKERS_DOWN, False),
    ],
)
def test_news_of_the_connection_is_no_record(code: int | None, expected: bool) -> None:
    assert usable(message(code), "the reader") is expected


@pytest.mark.parametrize(
    "code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART]
)
def test_what_kafka_refuses_is_for_a_person(code: int) -> None:
    with pytest.raises(PermanentError, match="Kafka refuses the reader: "):
        usable(message(code), "the reader")


def test_behind_is_what_is_known_of_places_that_were_read() -> None:
    ends = {0: 10, 1: 10, 2: -1001, 3: 5}
    consumer: Any = SimpleNamespace(
        get_watermark_offsets=lambda place, cached: (0, ends[place.partition])
    )
    offsets = {0: 4, 1: -1001, 2: 3, 3: 7}
    places = [TopicPartition("t", partition, offset) for partition, offset in offsets.items()]
    assert behind(consumer, places) == 6
