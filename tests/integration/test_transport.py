"""What Faust's transport throws away in a rebalance comes again, committed or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.kafka.config import common
from infra.settings import Settings
from streams.app import _app
from tests.integration.support import wait_until

RECORDS = 20
"""Written at a time."""

ROUNDS_MAX = 20
"""A fetch that has not begun when the flow is held brings nothing: then once more."""


class _Written:
    """A topic of one partition, and what was written to it."""

    def __init__(self, settings: Settings, topic: str) -> None:
        config = common(settings.kafka, "test")
        admin = AdminClient(config)
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
        self._producer = Producer(config)
        self._topic = topic
        self.count = 0

    def more(self) -> None:
        for _ in range(RECORDS):
            self._producer.produce(self._topic, value=b"%d" % self.count, partition=0)
            self.count += 1
        assert self._producer.flush(10) == 0


async def _until(holds: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, holds, what)


async def _seen(settings: Settings, topic: str, *, commits: bool) -> tuple[int, list[int]]:
    """Have a fetch thrown away, then take all. Returns the count written, and offsets as taken."""
    written = _Written(settings, topic)
    kafka = settings.kafka.model_copy(update={"stream_group": f"group-of-{topic}"})
    app = _app(settings.model_copy(update={"kafka": kafka}))
    taken: list[int] = []
    thrown_away = 0

    async def take(stream: Any) -> None:
        async for batch in stream.noack_take(RECORDS, within=0.05):
            taken.extend(event.message.offset for event in batch)
            for event in batch if commits else ():
                await stream.ack(event)

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"), concurrency=1)(take)
    await app.start()
    try:
        consumer: Any = app.consumer
        fetch = consumer._wait_next_records

        async def watched(wait_s: float) -> Any:
            nonlocal thrown_away
            records, active = await fetch(wait_s)
            if records and not consumer.flow_active:
                thrown_away += 1
            return records, active

        consumer._wait_next_records = watched
        written.more()
        await _until(lambda: len(taken) == RECORDS, "the first are taken")
        if commits:
            committed = consumer._committed_offset
            await _until(lambda: RECORDS in committed.values(), "they are committed")
        for _ in range(ROUNDS_MAX):
            # As a rebalance does, while a fetch is under way.
            consumer.stop_flow()
            written.more()
            await asyncio.sleep(1.5)  # longer than the fetch waits
            consumer.resume_flow()
            if thrown_away:
                break
            await _until(lambda: max(taken) == written.count - 1, "the last is taken")
        written.more()
        await _until(lambda: max(taken) == written.count - 1, "the last is taken")
    finally:
        await app.stop()
    assert thrown_away, "no fetch was under way when the flow was held"
    return written.count, taken


@pytest.mark.parametrize("commits", [False, True])
def test_what_a_held_flow_throws_away_is_taken_again(
    servers: Settings, unique: Callable[[str], str], commits: bool
) -> None:
    topic = unique("thrown-away")
    count, taken = asyncio.run(_seen(servers, topic, commits=commits))
    assert sorted(set(taken)) == list(range(count))
