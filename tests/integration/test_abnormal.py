"""What must not happen in the ordinary course: bad records, repeated changes, old messages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from diffusion.system import System
from schemas import ids, topics
from schemas.changes import MessageChange
from schemas.codec import encode_change, encode_event
from schemas.events import Message, Read
from schemas.partitioner import partition_of
from tests.integration.support import NOW_MS, World

Unique = Callable[[str], str]


def produce(system: System, topic: str, partition: int, value: bytes | None) -> None:
    producer = Producer({"bootstrap.servers": system.settings.kafka.bootstrap_servers})
    producer.produce(topic, value, partition=partition)
    assert producer.flush(30) == 0


def letters(system: System, topic: str) -> Iterator[dict[str, object]]:
    consumer = Consumer(
        {
            "bootstrap.servers": system.settings.kafka.bootstrap_servers,
            "group.id": "reads-letters",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topics.dead_letters(topic), 0, 0)])
    try:
        while (found := consumer.poll(20)) is not None and found.error() is None:
            yield orjson.loads(found.value() or b"")
    finally:
        consumer.close()


def test_bad_records_become_dead_letters_and_the_stream_goes_on(
    system: System, unique: Unique
) -> None:
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    good = Message(chat, 1, ann, NOW_MS, (ann, bob))
    world.oracle.apply(good)
    topic = topics.CONVERSATION_WRITES.name
    bad = [
        b"\xff\xfe not json",
        b"{}",
        b'{"type":"message","conversation_id":"' + b"x" * 5_000 + b'"}',
        b"[" * 50_000,
        None,
        # One bad event between two good ones costs itself only.
        b"[" + encode_event(good) + b',{"type":"message","seq":-1},' + encode_event(good) + b"]",
    ]
    partition = partition_of(chat, system.settings.kafka.write_partitions)
    for value in bad:
        produce(system, topic, partition, value)
    produce(system, topics.USER_WRITES.name, 0, b'{"type":"read","user_id":1}')
    later = Read(bob, chat, 1)
    world.write(later)
    assert world.fresh_differences([ann, bob]) == []
    found = list(letters(system, topic))[-len(bad) :]
    assert [letter["index"] for letter in found] == [None, None, None, None, None, 1]
    assert {(letter["topic"], letter["partition"]) for letter in found} == {(topic, partition)}
    offsets = [letter["offset"] for letter in found]
    assert offsets == sorted(set(offsets))  # type: ignore[type-var]
    assert all(letter["reason"] for letter in found)
    assert base64.b64decode(str(found[0]["value"])) == bad[0]
    assert any(letter["partition"] == 0 for letter in letters(system, topics.USER_WRITES.name))


def test_an_old_message_repeated_at_a_newer_version_hides_nothing(
    system: System, unique: Unique
) -> None:
    """A worker that was replaced without knowing emits what it had: the newer message stays."""
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    with world.device(bob) as phone:
        phone.sync()
        world.write(*(Message(chat, seq, ann, NOW_MS + seq, (ann, bob)) for seq in (1, 2, 3)))
        stale = MessageChange(chat, (bob,), 2, NOW_MS + 2)
        partition = partition_of(bob, system.settings.kafka.change_partitions)
        produce(system, topics.CHANGES.name, partition, encode_change(stale))
        system.wait_quiet()
        phone.sync()
        assert world.differences(phone, bob) == []


def test_a_bad_change_record_stops_nothing(system: System, unique: Unique) -> None:
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    partition = partition_of(bob, system.settings.kafka.change_partitions)
    produce(system, topics.CHANGES.name, partition, b'{"type":"unheard of"}')
    world.write(Message(chat, 1, ann, NOW_MS, (ann, bob)))
    assert world.fresh_differences([ann, bob]) == []
    assert any(letter["partition"] == partition for letter in letters(system, topics.CHANGES.name))


def test_messages_that_arrive_out_of_order_end_at_the_greatest(
    system: System, unique: Unique
) -> None:
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    with world.device(bob) as phone:
        phone.sync()
        for seq in (5, 9, 7, 8, 12, 11):
            world.write(Message(chat, seq, ann, NOW_MS + seq, (ann, bob)), settle=False)
        system.wait_quiet()
        phone.sync()
        view = phone.conversation(chat)
        assert view is not None
        assert (view.max_seq, view.unread) == (12, 12)
        assert world.differences(phone, bob) == []
