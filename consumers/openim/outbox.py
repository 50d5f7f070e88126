"""Events on their way out: checked, put into records by partition, delivered.

The records of a partition are filled one after the other, so events of a conversation (of a user)
go out in the order in which they came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from infra.kafka.delivery import Delivery
from schemas.codec import (
    CONVERSATION_EVENTS,
    USER_EVENTS,
    EventDecoder,
    encode_event,
    join_events,
)
from schemas.errors import DecodeError
from schemas.events import MembersJoined, MembersLeft, Message, Read, WriteEvent
from schemas.limits import EVENT_RECORD_BYTES_MAX, EVENTS_PER_RECORD_MAX
from schemas.partitioner import partition_of
from schemas.topics import CONVERSATION_WRITES, USER_WRITES


class _Route(NamedTuple):
    topic: str
    key_field: str
    decoder: EventDecoder[Any]


_CONVERSATION: Final = _Route(CONVERSATION_WRITES.name, "conversation_id", CONVERSATION_EVENTS)
_USER: Final = _Route(USER_WRITES.name, "user_id", USER_EVENTS)
_ROUTES: Final[dict[type, _Route]] = {
    Message: _CONVERSATION,
    MembersJoined: _CONVERSATION,
    MembersLeft: _CONVERSATION,
    Read: _USER,
}
"""What the tap tells, and where."""


class Outbox:
    """`partitions`: how many each write topic has."""

    def __init__(self, delivery: Delivery, partitions: Mapping[str, int]) -> None:
        self._delivery = delivery
        self._partitions = partitions
        self._waiting: dict[tuple[str, int], list[bytes]] = {}
        self._bytes: Counter[tuple[str, int]] = Counter()

    def add(self, event: WriteEvent) -> None:
        """Take an event; raises `DecodeError` for one that the contract does not allow."""
        route = _ROUTES[type(event)]
        try:
            value = encode_event(event)
        except (UnicodeEncodeError, OverflowError) as error:
            raise DecodeError(f"{_name(event)}: {error}") from error
        # Making an event does not check it; whoever reads it will.
        rejected = route.decoder.decode(value).rejected
        if rejected:
            raise DecodeError(f"{_name(event)}: {rejected[0].reason}")
        key = getattr(event, route.key_field)
        place = route.topic, partition_of(key, self._partitions[route.topic])
        # An array of events is theirs, a comma or bracket for each, and one bracket more.
        if self._bytes[place] + len(value) + 2 > EVENT_RECORD_BYTES_MAX:
            self._seal(place)
        self._waiting.setdefault(place, []).append(value)
        self._bytes[place] += len(value) + 1
        if len(self._waiting[place]) >= EVENTS_PER_RECORD_MAX:
            self._seal(place)

    def send(self) -> None:
        """Deliver all that was taken; raises `NotDelivered`."""
        for place in list(self._waiting):
            self._seal(place)
        self._delivery.flush()

    def _seal(self, place: tuple[str, int]) -> None:
        topic, partition = place
        self._bytes.pop(place, None)
        self._delivery.produce(topic, partition, join_events(self._waiting.pop(place)))


def _name(event: WriteEvent) -> str:
    return str(event.__struct_config__.tag)
