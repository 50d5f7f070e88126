"""Dead letters on real servers: found, looked at, replayed in their order, dropped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import orjson
import pytest

from diffusion.dlq import DeadLetters, StillDead
from diffusion.system import System, environment_of
from infra.clock import now_ms
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from schemas import dead_letters, ids, topics
from schemas.changes import MessageChange
from schemas.codec import encode_change, encode_event, join_events
from schemas.errors import PermanentError
from schemas.events import Message, Read
from schemas.partitioner import partition_of
from tests.integration.support import NOW_MS, World, wait_until

WRITES = topics.CONVERSATION_WRITES.name
USER_WRITES = topics.USER_WRITES.name
CHANGES = topics.CHANGES.name


@pytest.fixture
def letters(system: System) -> Iterator[DeadLetters]:
    found = DeadLetters(system.settings.kafka)
    for topic in (WRITES, USER_WRITES, CHANGES):
        found.drop(topic, found.line(topic).end)  # what other tests left
    yield found
    found.close()


def put(system: System, topic: str, value: bytes, partition: int = 0, offset: int = 0) -> None:
    """A letter as a worker writes one."""
    dead = dead_letters.letter((topic, partition, offset), None, "not known then", value, now_ms())
    delivery = Delivery(system.settings.kafka, "test")
    delivery.produce(topics.dead_letters(topic), 0, dead_letters.encode(dead))
    delivery.flush()


def message(room: str, seq: int, sender: str, members: tuple[str, str]) -> Message:
    return Message(room, seq, sender, NOW_MS + seq, members)


def command(system: System, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "diffusion", "dlq", *arguments],
        env=os.environ | environment_of(system.settings),
        capture_output=True,
        timeout=120,
    )


def test_what_cannot_be_used_is_listed_is_not_replayed_and_can_be_dropped(
    system: System, letters: DeadLetters
) -> None:
    delivery = Delivery(system.settings.kafka, "test")
    delivery.produce(WRITES, 0, b'{"type": "nonsense"}')
    delivery.flush()
    wait_until(lambda: letters.line(WRITES).waiting == 1, "a dead letter")
    line = letters.line(WRITES)
    (letter,) = letters.read(WRITES, line.first, line.end)
    assert letter.text == '{"type": "nonsense"}'

    listed = orjson.loads(command(system, "list", "conversation-writes", "--json").stdout)
    assert listed["waiting"] == {WRITES: 1}
    assert listed["letters"][0]["reason"] == letter.dead.reason
    shown = orjson.loads(command(system, "show", "conversation-writes", str(line.first)).stdout)
    assert shown == listed["letters"][0]

    with pytest.raises(StillDead, match="nonsense"):
        letters.replay(WRITES, line.end)
    assert letters.line(WRITES).waiting == 1
    refused = command(system, "replay", WRITES)
    assert refused.returncode == 1
    assert b"cannot be used still" in refused.stderr
    dropped = command(system, "drop", WRITES, "--upto", str(line.first))
    assert (dropped.returncode, letters.line(WRITES).waiting) == (0, 0)


def test_letters_that_can_be_used_now_are_replayed_in_order_up_to_the_first_that_cannot(
    system: System, letters: DeadLetters, unique: Callable[[str], str]
) -> None:
    world, (ann, bob) = World(system), (unique("ann"), unique("bob"))
    room = ids.one_to_one(ann, bob)
    found = [message(room, seq, ann, (ann, bob)) for seq in range(1, 5)]
    put(system, WRITES, encode_event(found[0]))
    put(system, WRITES, join_events([encode_event(one) for one in found[1:3]]))
    put(system, WRITES, b"{}")
    put(system, WRITES, encode_event(found[3]))
    first = letters.line(WRITES).first
    with pytest.raises(StillDead, match=f"Letter {first + 2} "):
        letters.replay(WRITES, letters.line(WRITES).end)
    assert letters.line(WRITES).waiting == 2
    for one in found[:3]:
        world.oracle.apply(one)
    system.wait_quiet()
    assert world.fresh_differences([ann, bob]) == []

    # Killed behind the delivery and before the commit: all of it comes again.
    letters._commit(WRITES, first)
    assert letters.replay(WRITES, first + 2) == 2
    letters.drop(WRITES, first + 3)
    assert letters.replay(WRITES, first + 4) == 1
    world.oracle.apply(found[3])
    system.wait_quiet()
    assert world.fresh_differences([ann, bob]) == []
    assert letters.replay(WRITES, first + 4) == 0, "nothing is left"


@pytest.mark.parametrize(
    ("v", "why"), [("1.7", "replay it with a newer one"), ("2.0", "upgrade the stream workers")]
)
def test_a_letter_of_a_newer_release_waits_for_a_newer_program(
    system: System, letters: DeadLetters, v: str, why: str
) -> None:
    """The first could be read, and would be written again without what is not known here."""
    put(system, USER_WRITES, encode_event(Read("ann", "sg_1", 1, v=v)))
    line = letters.line(USER_WRITES)
    with pytest.raises(StillDead, match=why):
        letters.replay(USER_WRITES, line.end)
    assert letters.line(USER_WRITES).waiting == 1


def test_a_change_is_replayed_into_its_partition(
    system: System, letters: DeadLetters, unique: Callable[[str], str]
) -> None:
    world, (ann, bob) = World(system), (unique("ann"), unique("bob"))
    room = ids.one_to_one(ann, bob)
    world.write(message(room, 1, ann, (ann, bob)))
    with Admin(system.settings.kafka) as admin:
        _, partitions = admin.describe(CHANGES)
    partition = partition_of(bob, partitions)
    change = encode_change(MessageChange(room, (bob,), 1, NOW_MS + 1))
    put(system, CHANGES, change, partition)
    end = letters.line(CHANGES).end
    assert letters.replay(CHANGES, end) == 1
    put(system, CHANGES, change, (partition + 1) % partitions)
    with pytest.raises(StillDead, match="other partitions"):
        letters.replay(CHANGES, end + 1)
    system.wait_quiet()
    assert world.fresh_differences([ann, bob]) == []


def test_a_letter_that_was_cut_is_read_where_it_came_from(
    system: System, letters: DeadLetters
) -> None:
    long = b"{" + b"x" * (dead_letters.MAX_VALUE_BYTES + 100_000)
    delivery = Delivery(system.settings.kafka, "test")
    delivery.produce(WRITES, 0, long)
    delivery.flush()
    wait_until(lambda: letters.line(WRITES).waiting == 1, "a dead letter")
    line = letters.line(WRITES)
    (letter,) = letters.read(WRITES, line.first, line.end)
    assert len(letter.dead.value) == dead_letters.MAX_VALUE_BYTES
    assert letters._whole(letter) == long


def test_a_letter_that_was_cut_is_replayed_whole_between_others(
    system: System, letters: DeadLetters, unique: Callable[[str], str]
) -> None:
    user = unique("ann") + "\U0001f600" * 100
    reads = [Read(user, f"sg_{number}" + "\U0001f600" * 200, 1) for number in range(480)]
    long, short = join_events([encode_event(one) for one in reads]), encode_event(reads[0])
    assert len(long) > dead_letters.MAX_VALUE_BYTES
    with Admin(system.settings.kafka) as admin:
        _, partitions = admin.describe(USER_WRITES)
        partition = partition_of(user, partitions)
        offset = admin.end_offsets(USER_WRITES)[partition]
        delivery = Delivery(system.settings.kafka, "test")
        delivery.produce(USER_WRITES, partition, long)
        delivery.flush()
        for value in (short, long, short):
            put(system, USER_WRITES, value, partition, offset)
        assert letters.replay(USER_WRITES, letters.line(USER_WRITES).end) == 3
        assert admin.end_offsets(USER_WRITES)[partition] == offset + 1 + 1 + len(reads) + 1
    system.wait_quiet()


def test_numbers_that_are_none_are_a_sentence(system: System, letters: DeadLetters) -> None:
    end = letters.line(WRITES).end
    with pytest.raises(PermanentError, match="No dead letter"):
        letters.drop(WRITES, end + 1)
    refused = command(system, "list", "nonsense")
    assert refused.returncode == 1
    assert b"There is no topic nonsense" in refused.stderr
