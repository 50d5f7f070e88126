"""A backlog stays at the broker: what a worker fetches ahead of it is bounded."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from confluent_kafka import Consumer, Producer

from infra.kafka.config import QUEUED_RECORDS, common, consumer
from infra.settings import Settings
from tests.integration.support import make_topic, wait_until

PARTITIONS = 16
RECORDS = 800_000
VALUE = b"x" * 100
FETCH_BYTES = 1_048_576
"""Of a partition at once, by librdkafka's default; comes on top of what is there."""

BOUND = PARTITIONS * (QUEUED_RECORDS + FETCH_BYTES // len(VALUE))


def test_what_is_fetched_ahead_is_bounded(servers: Settings, unique: Callable[[str], str]) -> None:
    topic = make_topic(servers.kafka.bootstrap_servers, unique("backlog"), PARTITIONS)
    producer = Producer(common(servers.kafka, "test") | {"linger.ms": 20})
    for number in range(RECORDS):
        if number % 10_000 == 0:
            producer.flush(60)
        producer.produce(topic, value=VALUE, partition=number % PARTITIONS)
    assert producer.flush(60) == 0
    queued: list[int] = []

    def told(statistics: str) -> None:
        partitions = orjson.loads(statistics)["topics"].get(topic, {}).get("partitions", {})
        queued.append(sum(one["fetchq_cnt"] for one in partitions.values()))

    assert RECORDS > 2 * BOUND
    reader = Consumer(
        consumer(servers.kafka, "test", f"group-of-{topic}")
        | {"statistics.interval.ms": 500, "stats_cb": told}
    )
    reader.subscribe([topic])
    # One in a while, as a worker whose batches take long.
    wait_until(lambda: bool(reader.consume(1, timeout=0.1)) and len(queued) > 12, "it is told")
    reader.close()
    assert 0 < max(queued) <= BOUND
