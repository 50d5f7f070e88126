"""What rebalances do to records on their way: Faust itself, over a model of aiokafka's thread.

Delays are held by events, at the places where Faust waits for the broker.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.app.base import BootStrategy
from faust.types import TP
from mode import Service

from streams import transport
from streams.ahead import Ahead
from streams.progress import Progress
from streams.worker import SourceRecord

PLACE = TP("t", 0)
RECORDS = 3_000
BATCH = 100
BUFFERED = 512
PAUSE_S = 1.3
"""A fetcher that has nothing to fetch from sleeps for a second: this outlasts it."""

PATIENCE_S = 30.0


def record(offset: int) -> Any:
    return SimpleNamespace(
        topic=PLACE.topic,
        partition=PLACE.partition,
        offset=offset,
        timestamp=1,
        timestamp_type=0,
        headers=(),
        key=None,
        value=b"%d" % offset,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=1,
    )


class Thread(Service):
    """aiokafka, in the main loop: a partition, its committed offset, and the next to be fetched."""

    def __init__(self, consumer: Any, **more: Any) -> None:
        super().__init__(**more)
        self.consumer = consumer
        self.assigned: set[TP] = set()
        self.committed: dict[TP, int] = {}
        self.positions: dict[TP, int] = {}
        self.end = 0
        self.answers = asyncio.Event()
        self.answers.set()

    def assign(self, assigned: set[TP]) -> None:
        self.assigned = assigned
        self.positions = {tp: self.committed.get(tp, 0) for tp in assigned}

    async def subscribe(self, topics: Any) -> None:
        pass

    def assignment(self) -> set[TP]:
        return set(self.assigned)

    def highwater(self, tp: TP) -> int:
        return self.end

    async def position(self, tp: TP) -> int:
        return self.positions[tp]

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.committed.update(offsets)
        return True

    async def seek_to_committed(self) -> dict[TP, int | None]:
        asked = set(self.assigned)
        await self.answers.wait()
        self.positions.update({tp: self.committed.get(tp, 0) for tp in asked})
        return {tp: self.committed.get(tp) for tp in asked}

    async def getmany(self, active: set[TP], wait_s: float) -> dict[TP, list[Any]]:
        if not self.consumer.flow_active:
            return {}
        await asyncio.sleep(0.005)
        found = {}
        for tp in self.assigned & active:
            begin, self.positions[tp] = self.positions[tp], self.end
            if begin < self.end:
                found[tp] = [record(offset) for offset in range(begin, self.end)]
        if not found:
            await asyncio.sleep(wait_s / 20)
        return found

    def verify_event_path(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Consumer(transport._Consumer):
    def _new_consumer_thread(self) -> Any:
        return Thread(self, loop=self.loop, beacon=self.beacon)


class Transport(transport.GatheringTransport):
    Consumer = Consumer


class NoServers(BootStrategy):
    enable_kafka_producer = False
    enable_web = False


class App(faust.App):
    BootStrategy = NoServers


class Rig:
    """An app with an agent as ours, and rebalances by hand."""

    app: Any

    def __init__(self) -> None:
        self.app = app = App(
            "rig",
            datadir=tempfile.gettempdir(),
            broker="kafka://none",
            stream_wait_empty=False,
            stream_buffer_maxsize=BUFFERED,
            broker_commit_interval=0.1,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )
        app.boot_strategy = NoServers(app)
        app.transport = Transport(app.conf.broker_consumer, app)
        app.agent(app.topic("t", value_type=bytes, value_serializer="raw"), concurrency=1)(
            self._consume
        )
        self.app.producer.flush = self._nothing
        self.processed: list[int] = []
        self.works = asyncio.Event()
        self.works.set()
        self.progress = Progress("t")
        self.generation = 0

    async def _nothing(self) -> None:
        pass

    async def _consume(self, stream: Any) -> None:
        ahead = Ahead[Any](BATCH)

        async def work() -> None:
            while True:
                batch = await ahead.take()
                await self.works.wait()
                self.processed += [event.message.offset for event in batch]
                for event in batch:
                    await stream.ack(event)
                done = [SourceRecord("t", 0, event.message.offset, 0, b"") for event in batch]
                self.progress.finished(done)

        working = asyncio.create_task(work())
        try:
            async for batch in stream.noack_take(BATCH, within=0.01):
                await ahead.put(batch)
        finally:
            working.cancel()

    @property
    def thread(self) -> Any:
        return self.app.consumer._thread

    async def revoke(self) -> None:
        self.app.on_rebalance_start()
        await self.app.consumer.on_partitions_revoked(self.thread.assignment())

    async def assign(self, *places: TP) -> None:
        self.generation += 1
        self.thread.assign(set(places))
        self.app.consumer_generation_id = self.generation
        await self.app.consumer.on_partitions_assigned(set(places), self.generation)

    async def all_is_done(self) -> None:
        """Wait until the last record is, with the looks that commit again what stands."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while self.thread.committed.get(PLACE) != self.thread.end:
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(f"committed is {self.thread.committed}, of {self.thread.end}")
            await asyncio.sleep(0.2)
            await self.progress.look(self.app.consumer)


async def a_rebalance_within_the_seek_of_the_one_before(rig: Rig) -> None:
    await rig.assign(PLACE)
    await asyncio.sleep(0.5)
    await rig.revoke()
    rig.thread.answers.clear()
    await rig.assign(PLACE)
    await asyncio.sleep(0.1)  # it seeks
    await rig.revoke()
    rig.thread.answers.set()
    await asyncio.sleep(0.1)
    rig.thread.answers.clear()
    rig.thread.end += RECORDS
    rig.works.clear()
    await rig.assign(PLACE)
    await asyncio.sleep(PAUSE_S)


async def the_first_partition_of_a_worker_without(rig: Rig) -> None:
    rig.thread.end += RECORDS
    await rig.assign()
    await asyncio.sleep(0.3)
    await rig.revoke()
    rig.thread.answers.clear()
    rig.works.clear()
    await rig.assign(PLACE)
    await asyncio.sleep(PAUSE_S)


async def run(rebalance: Callable[[Rig], Awaitable[None]], committed: int) -> tuple[int, set[int]]:
    rig = Rig()
    running = asyncio.create_task(rig.app.start())
    try:
        await asyncio.sleep(0.5)  # the consumer's thread is started, and it has no partition yet
        rig.thread.end = committed
        rig.thread.committed = {PLACE: committed} if committed else {}
        await rebalance(rig)
        rig.thread.answers.set()
        await asyncio.sleep(0.2)
        rig.works.set()
        await rig.all_is_done()
        return rig.thread.end, set(rig.processed)
    finally:
        await rig.app.stop()
        await running


@pytest.mark.parametrize("committed", [0, 100])
@pytest.mark.parametrize(
    "rebalance",
    [
        a_rebalance_within_the_seek_of_the_one_before,
        the_first_partition_of_a_worker_without,
    ],
)
def test_all_that_is_committed_was_processed(
    rebalance: Callable[[Rig], Awaitable[None]], committed: int
) -> None:
    end, processed = asyncio.run(run(rebalance, committed))
    assert processed >= set(range(committed, end))


def test_the_loop_that_hands_over_does_not_commit() -> None:
    async def every() -> Any:
        return Rig().app.consumer._commit_every

    assert asyncio.run(every()) is None
