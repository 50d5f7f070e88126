"""Of records on real Kafka, Faust's transport loses none and invents none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import Producer
from faust.types import TP

from infra.kafka.config import common
from infra.settings import Settings
from streams.app import _app
from tests.integration.support import make_topic, wait_until
from tests.unit.streams.test_lenient import NoText

Unique = Callable[[str], str]

RECORDS = 20
"""Written at a time."""

ROUNDS_MAX = 20
"""A fetch that has not begun when the flow is held brings nothing: then once more."""


def write(settings: Settings, topic: str) -> None:
    producer = Producer(common(settings.kafka, "test"))
    for _ in range(RECORDS):
        producer.produce(topic, value=b"as it is", partition=0)
    assert producer.flush(10) == 0


@dataclass
class Taking:
    """An app that takes a topic from its beginning."""

    tp: TP
    app: Any
    taken: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def offsets(self) -> list[int]:
        return [offset for offset, _ in self.taken]

    @property
    def committed(self) -> int | None:
        found: int | None = self.app.consumer._committed_offset[self.tp]
        return found

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        await asyncio.to_thread(wait_until, holds, what)

    async def until_taken(self, offset: int) -> None:
        await self.until(lambda: offset in self.offsets, f"{offset} is taken")


@asynccontextmanager
async def taking(settings: Settings, topic: str, *, acks: bool = True) -> AsyncIterator[Taking]:
    kafka = settings.kafka.model_copy(update={"stream_group": f"group-of-{topic}"})
    app = _app(settings.model_copy(update={"kafka": kafka}))
    found = Taking(TP(topic, 0), app)

    async def take(stream: Any) -> None:
        async for batch in stream.noack_take(RECORDS, within=0.05):
            found.taken.extend((event.message.offset, event.message.value) for event in batch)
            for event in batch if acks else ():
                await stream.ack(event)

    app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"), concurrency=1)(take)
    await app.start()
    try:
        yield found
    finally:
        await app.stop()


async def held(settings: Settings, topic: str, *, acks: bool) -> tuple[int, list[int]]:
    """Have a fetch thrown away, then take all; returns how many were written, and all taken."""
    thrown_away = 0
    write(settings, topic)
    async with taking(settings, topic, acks=acks) as found:
        consumer = found.app.consumer
        fetch = consumer._wait_next_records

        async def watched(wait_s: float) -> Any:
            nonlocal thrown_away
            records, active = await fetch(wait_s)
            if records and not consumer.flow_active:
                thrown_away += 1
            return records, active

        consumer._wait_next_records = watched
        await found.until_taken(RECORDS - 1)
        if acks:
            await found.until(lambda: found.committed == RECORDS, "they are committed")
        written = RECORDS
        for _ in range(ROUNDS_MAX):
            # As a rebalance does, while a fetch is under way.
            consumer.stop_flow()
            write(settings, topic)
            written += RECORDS
            await asyncio.sleep(1.5)  # longer than the fetch waits
            consumer.resume_flow()
            if thrown_away:
                break
            await found.until_taken(written - 1)
        write(settings, topic)
        written += RECORDS
        await found.until_taken(written - 1)
    assert thrown_away, "no fetch was under way when the flow was held"
    return written, found.offsets


@pytest.mark.parametrize("acks", [False, True])
def test_what_a_held_flow_throws_away_is_taken_again_committed_or_not(
    servers: Settings, unique: Unique, acks: bool
) -> None:
    topic = make_topic(servers.kafka.bootstrap_servers, unique("thrown-away"))
    written, offsets = asyncio.run(held(servers, topic, acks=acks))
    assert sorted(set(offsets)) == list(range(written))


def test_a_header_whose_name_is_no_text_stops_nothing(
    servers: Settings, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic(servers.kafka.bootstrap_servers, unique("no-text"))
    for module in (message_accumulator, producer):  # the compiled one writes no such names
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)

    async def taken() -> list[tuple[int, bytes]]:
        async with AIOKafkaProducer(bootstrap_servers=servers.kafka.bootstrap_servers) as writing:
            for value, name in ((b"before", "name"), (b"it", NoText("name")), (b"behind", "name")):
                await writing.send_and_wait(topic, value, partition=0, headers=[(name, b"1")])
        async with taking(servers, topic) as found:
            await found.until(lambda: found.committed == 3, "all three are committed")
            return found.taken

    assert asyncio.run(taken()) == [(0, b"before"), (1, b"it"), (2, b"behind")]


def test_what_was_aborted_is_not_taken_and_holds_up_no_commit(
    servers: Settings, unique: Unique
) -> None:
    topic = make_topic(servers.kafka.bootstrap_servers, unique("aborted"))
    writing = Producer(common(servers.kafka, "test") | {"transactional.id": topic})
    writing.init_transactions(30)

    def write_one(value: bytes, end: Callable[[float], None]) -> None:
        writing.begin_transaction()
        writing.produce(topic, value=value, partition=0)
        assert writing.flush(10) == 0
        end(30)  # which writes a marker behind the record

    async def taken() -> list[tuple[int, bytes]]:
        async with taking(servers, topic) as found:
            write_one(b"1", writing.commit_transaction)
            await found.until(lambda: found.committed == 1, "the first is committed")
            write_one(b"never", writing.abort_transaction)
            write_one(b"2", writing.commit_transaction)
            await found.until(lambda: found.committed == 5, "the second is committed")
            write_one(b"3", writing.commit_transaction)
            await found.until(lambda: found.committed == 7, "the third is committed")
            return found.taken

    assert asyncio.run(taken()) == [(0, b"1"), (4, b"2"), (6, b"3")]
