"""Faust's transport, with a consumer that lets records gather at the broker, and loses none.

Faust fetches as soon as there is a byte. At some hundred records a second each of them then came by
a fetch of its own, and a fetch costs more than the record: with the wait a worker took 0.25 of a
core in place of 0.40, at 140 events a second. So a fetch waits here while a batch may still fill,
and brings what came meanwhile on all partitions; under load it is full at once.

Faust throws away what a fetch brings while a rebalance holds the flow, and seeks back to what is
committed. aiokafka does not seek a partition of which nothing is committed: its next record is then
the one behind those thrown away, and once that is acknowledged they are committed too. This befell
a new group whose second worker joined within a second of the first. Here such a partition is sought
to its beginning, where a group without a commit begins.

And Faust skips a record below the last one it handed over, so that a fetch from before a seek must
not be handed over after it: what is fetched again would be skipped, up to there. Faust holds the
flow from the revocation to the end of the seek, but not

- for a worker without a partition, nor where a rebalance begins while the seek of the one before is
  under way, whose end lets the flow go: here it is held at each assignment;
- while it commits within its loop of handing over, after so many records (`broker_commit_every`),
  which may outlast a rebalance: here the clock alone has it commit.

A write whose transaction was aborted did not happen: Faust reads it, this does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from faust.transport.drivers import aiokafka
from faust.types import TP

from streams import lenient

FETCH_MIN_BYTES: Final = 65_536
"""A fetch that has so much is answered at once: hundreds of single events, or one full array."""


class _ConsumerThread(aiokafka.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no setting for these, and aiokafka reads them when it starts.
        options = {
            "_fetch_min_bytes": FETCH_MIN_BYTES,
            "_fetch_max_wait_ms": transport.fetch_wait_ms,
            "_isolation_level": "read_committed",
        }
        for name, value in options.items():
            assert hasattr(consumer, name), name
            setattr(consumer, name, value)
        lenient.install()
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        committed: Mapping[TP, int] = await self.call_thread(self._seek_all)
        return committed

    async def _seek_all(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        committed: Mapping[TP, int] = await consumer.seek_to_committed()
        # Those that were taken away meanwhile are sought when they are assigned again.
        left = consumer.assignment()
        unsought = [tp for tp, offset in committed.items() if not offset and tp in left]
        if unsought:
            await consumer.seek_to_beginning(*unsought)
        return committed


class _Consumer(aiokafka.Consumer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commit_every = None

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.stop_flow()
        self.app.flow_control.suspend()
        await super().on_partitions_assigned(assigned, generation_id)

    def _to_message(self, tp: TP, record: Any) -> Any:
        # What is missing between two records (markers of transactions, aborted ones) Faust counts
        # as acknowledged, but takes a last offset of 0 for none, and would commit nothing more.
        if self._read_offset[tp] == 0 and record.offset > 1:
            self._gap[tp].addi(1, record.offset)
        return super()._to_message(tp, record)

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class GatheringTransport(aiokafka.Transport):
    """`faust.transport.drivers.aiokafka.Transport`, whose fetches wait for `fetch_wait_ms`."""

    Consumer: ClassVar[Any] = _Consumer
    fetch_wait_ms: int = 500


def gathering(app: Any, wait_s: float) -> GatheringTransport:
    """The transport of an app, with so long a wait for a fetch."""
    transport = GatheringTransport(app.conf.broker_consumer, app)
    transport.fetch_wait_ms = max(1, round(wait_s * 1_000))
    return transport
