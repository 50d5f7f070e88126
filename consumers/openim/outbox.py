"""Events on their way out: checked, put into records by partition, delivered.

As a backend's producer does it, but without a linger: what a batch of OpenIM's records says goes
out with it. The records of a partition are filled one after the other, so events of a conversation
(of a user) go out in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra import tracing
from infra.kafka.delivery import Delivery
from schemas.errors import DecodeError, InputError
from schemas.events import WriteEvent
from schemas.partitioner import partition_of
from schemas.records import Batcher, Place, Record
from schemas.routes import routed
from schemas.trace_context import headers_of


class Outbox:
    """`partitions`: how many each write topic has."""

    def __init__(self, delivery: Delivery, partitions: Mapping[str, int]) -> None:
        self._delivery = delivery
        self._partitions = partitions
        self._batcher = Batcher(linger_s=0.0)

    def add(self, event: WriteEvent) -> None:
        """Take an event; raises `DecodeError` for one that the contract does not allow."""
        try:
            topic, key, value = routed(event)
        except InputError as error:
            raise DecodeError(str(error)) from error
        place = Place(topic, partition_of(key, self._partitions[topic]))
        self._produce(self._batcher.add(place, key, value, generation=0, now_s=0.0))

    def send(self) -> None:
        """Deliver all that was taken; raises `NotDelivered`."""
        self._produce(self._batcher.seal_all())
        self._delivery.flush()

    def _produce(self, records: Iterable[Record]) -> None:
        # A deployment's records have no trace context; a tap that traces gives them its own.
        context = tracing.spans().context()
        for one in records:
            place, value = one.place, one.value()
            if context is None:
                self._delivery.produce(place.topic, place.partition, value)
            else:
                headers = headers_of([context])
                self._delivery.produce(place.topic, place.partition, value, headers=headers)
