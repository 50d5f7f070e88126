"""What the tests of the tap share: records, a consumer that is scripted, and an engine in a few lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_INVALID, TIMESTAMP_CREATE_TIME, KafkaError, TopicPartition

from consumers.openim import tap
from consumers.openim.mapping import Room
from consumers.openim.outbox import Outbox
from consumers.openim.records import Record
from consumers.openim.records_pb2 import Pushed
from consumers.openim.tap import Tap
from infra.openim_settings import OpenimSettings
from infra.settings import Settings
from schemas.codec import CONVERSATION_EVENTS, USER_EVENTS
from schemas.events import MembersJoined, MembersLeft, Message, WriteEvent
from schemas.topics import CONVERSATION_WRITES, USER_WRITES
from tests.unit.consumers.support import Log

T0 = 1_700_000_000_000
TOPIC = OpenimSettings().topic
PARTITIONS = {CONVERSATION_WRITES.name: 4, USER_WRITES.name: 4}

NOTICE = {"isNotNotification": False, "isSendMsg": False, "history": False}
COPIED = NOTICE | {"isSendMsg": True}


def tips(**detail: Any) -> bytes:
    """The content of a notice, as OpenIM nests it."""
    return json.dumps({"detail": json.dumps(detail)}).encode()


def users(*ids: str) -> list[dict[str, Any]]:
    return [{"groupID": "G", "userID": user_id, "nickname": "n", "ex": None} for user_id in ids]


def single(
    content_type: int = 101, content: bytes = b"{}", *, seq: int = 0, **other: Any
) -> Record:
    """A record of the chat of ann and bob."""
    fields: dict[str, Any] = {"conversation_id": "si_ann_bob", "session_type": 1, "options": {}}
    return Record(
        **fields
        | {"sender_id": "ann", "receiver_id": "bob", "group_id": "", "sent_at_ms": T0}
        | {"content_type": content_type, "content": content, "seq": seq}
        | other
    )


def room(content_type: int = 101, content: bytes = b"{}", *, seq: int = 0, **other: Any) -> Record:
    """A record of the group G, said by ann: in its conversation with a sequence, or a notice."""
    conversation_id = "sg_G" if seq else "n_G"
    return single(
        content_type,
        content,
        seq=seq,
        **{
            "conversation_id": conversation_id,
            "session_type": 3,
            "receiver_id": "",
            "group_id": "G",
            "options": {} if seq else NOTICE,
        }
        | other,
    )


def encoded(record: Record) -> bytes:
    """A record as bytes of our own; those of OpenIM's package are in the golden data."""
    pushed = Pushed(conversation_id=record.conversation_id)
    message = pushed.message
    message.sender_id, message.receiver_id = record.sender_id, record.receiver_id
    message.group_id, message.session_type = record.group_id, record.session_type
    message.content_type, message.content = record.content_type, record.content
    message.seq, message.sent_at_ms = record.seq, record.sent_at_ms
    message.options.update(record.options)
    value: bytes = pushed.SerializeToString()
    return value


class Knows:
    """`mapping.Known` with answers; an unexpected question is a fault."""

    def __init__(
        self, seen: Mapping[str, int] | None = None, rooms: Mapping[str, Room] | None = None
    ) -> None:
        self.seen = dict(seen or {})
        self.rooms = dict(rooms or {})
        self.asked: list[str] = []

    def last_seq(self, conversation_id: str) -> int | None:
        return self.seen.get(conversation_id)

    def ask(self, conversation_id: str) -> Room:
        self.asked.append(conversation_id)
        return self.rooms[conversation_id]


class SmallEngine:
    """Heads and members by what was delivered, in the order of each partition."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._read = 0
        self._heads: dict[str, int] = {}
        self._members: dict[str, set[str]] = {}

    def room(self, conversation_id: str) -> Room:
        assert self._log.flushed == len(self._log.records), "asked before all was delivered"
        # By records: events of one partition after those of another, as an engine takes them.
        self.take(delivered(self._log, since=self._read))
        self._read = len(self._log.records)
        members = set(self._members.get(conversation_id, set()))
        return Room(self._heads.get(conversation_id, 0), members)

    def take(self, events: Iterable[WriteEvent]) -> None:
        for event in events:
            self._take(event)

    def _take(self, event: WriteEvent) -> None:
        match event:
            case Message():
                last = self._heads.get(event.conversation_id, 0)
                self._heads[event.conversation_id] = max(event.seq, last)
            case MembersJoined():
                self._members.setdefault(event.conversation_id, set()).update(event.user_ids)
            case MembersLeft():
                members = self._members.setdefault(event.conversation_id, set())
                members.difference_update(event.user_ids)
            case _:
                pass


def delivered(log: Log, since: int = 0) -> list[WriteEvent]:
    """The events in the log, in the order in which they were delivered, from a record on."""
    decoders: dict[str, Any] = {
        CONVERSATION_WRITES.name: CONVERSATION_EVENTS,
        USER_WRITES.name: USER_EVENTS,
    }
    found: list[WriteEvent] = []
    for topic, _, value in log.records[since:]:
        if topic in decoders:
            decoded = decoders[topic].decode(value)
            assert not decoded.rejected
            found += decoded.events
    return found


class SourceRecord:
    """A record of OpenIM's topic, as confluent-kafka shows one."""

    def __init__(
        self, value: Record | bytes | None, offset: int = 0, partition: int = 0, error: Any = None
    ) -> None:
        self._value = encoded(value) if isinstance(value, Record) else value
        self._place = (partition, offset)
        self._error = error

    def topic(self) -> str:
        return TOPIC

    def value(self) -> bytes | None:
        return self._value

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, T0

    def error(self) -> Any:
        return self._error


class GuestConsumer:
    """Hands out batches, and remembers what was committed."""

    def __init__(self, batches: Sequence[Sequence[SourceRecord]] = ()) -> None:
        self.batches = [list(batch) for batch in batches]
        self._come: list[SourceRecord] = []
        self.committed: dict[int, int] = {}
        self.refusals: list[Any] = []
        self.options: dict[str, Any] = {}
        self.on_assign: Any = None
        self.on_revoke: Any = None
        self.subscribed: list[str] = []
        self.closed = False

    def made(self, options: dict[str, Any]) -> GuestConsumer:
        self.options = options
        return self

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any) -> None:
        self.subscribed, self.on_assign, self.on_revoke = topics, on_assign, on_revoke

    def consume(self, number: int, timeout: float) -> list[SourceRecord]:
        if timeout != tap.GATHER_S and not self._come and self.batches:
            self._come = self.batches.pop(0)
        taken, self._come = self._come[:number], self._come[number:]
        return taken

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, Exception):
                raise refusal
            return refusal(offsets)
        self.committed |= {place.partition: place.offset for place in offsets}
        return offsets

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, partition) for partition in range(2)]

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(TOPIC, one.partition, self.committed.get(one.partition, OFFSET_INVALID))
            for one in places
        ]

    def get_watermark_offsets(self, _place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, 10

    def close(self) -> None:
        self.closed = True


class Refused:
    """A place that a commit was refused for."""

    def __init__(self, partition: int, code: int) -> None:
        self.partition = partition
        self.error = KafkaError(code)


def tap_on(
    consumer: GuestConsumer,
    log: Log,
    engine: SmallEngine | None = None,
    *,
    history: bool = True,
    batch_records: int = 100,
) -> Tap:
    """The real tap, on a scripted consumer and a list in place of Kafka."""
    settings = Settings(
        openim=OpenimSettings(history_for_new_members=history, batch_records=batch_records)
    )
    outbox = Outbox(log, PARTITIONS)  # type: ignore[arg-type]
    ask = (engine or SmallEngine(log)).room
    return Tap(settings, outbox, log, ask, lambda: T0 + 5_000, consumer.made)  # type: ignore[arg-type]
