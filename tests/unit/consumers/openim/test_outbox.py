"""Events on their way out."""

from __future__ import annotations

import pytest

from consumers.openim.outbox import Outbox
from schemas.errors import DecodeError
from schemas.events import MembersJoined, Message, Read
from schemas.limits import EVENT_RECORD_BYTES_MAX, EVENTS_PER_RECORD_MAX
from schemas.partitioner import partition_of
from schemas.topics import CONVERSATION_WRITES, USER_WRITES
from tests.unit.consumers.openim.support import PARTITIONS, T0, delivered
from tests.unit.consumers.support import Log


def box() -> tuple[Outbox, Log]:
    log = Log()
    return Outbox(log, PARTITIONS), log  # type: ignore[arg-type]


def test_events_go_where_the_contract_says_and_together() -> None:
    out, log = box()
    first, second = Message("sg_G", 1, "ann", T0), Message("sg_G", 2, "ann", T0)
    out.add(first)
    out.add(Read("ann", "sg_G", 1))
    out.add(second)
    assert log.records == [], "nothing is sent before it is asked for, or full"
    out.send()
    places = {(topic, partition) for topic, partition, _ in log.records}
    assert places == {
        (CONVERSATION_WRITES.name, partition_of("sg_G", 4)),
        (USER_WRITES.name, partition_of("ann", 4)),
    }
    assert delivered(log) == [first, second, Read("ann", "sg_G", 1)]
    assert log.flushed == 2
    out.send()
    assert len(log.records) == 2


def test_records_are_bounded_and_keep_the_order() -> None:
    out, log = box()
    events = [Message("sg_G", seq, "ann", T0) for seq in range(1, EVENTS_PER_RECORD_MAX + 2)]
    for event in events:
        out.add(event)
    out.send()
    assert len(log.records) == 2
    assert delivered(log) == events


def test_records_stay_below_their_bytes() -> None:
    out, log = box()
    who = tuple(f"{number:0128}" for number in range(1_000))
    events = [MembersJoined("sg_G", who, seq, T0) for seq in range(20)]
    for event in events:
        out.add(event)
    out.send()
    sizes = [len(value) for _, _, value in log.records]
    assert max(sizes) <= EVENT_RECORD_BYTES_MAX
    assert len(sizes) == 4, "six of these are 787 KB"
    assert delivered(log) == events


@pytest.mark.parametrize(
    "event",
    [
        Message("sg_G", 1, "", T0),
        Message("sg_G", 1, "ann", 0),
        Message("sg_G", 2**60, "ann", T0),
        Message("g" * 301, 1, "ann", T0),
        Read("", "sg_G", 1),
        Read("ann", "sg_G", 2**63),
        MembersJoined("sg_G", ("a" * 129,), 0, T0),
    ],
)
def test_what_the_contract_does_not_allow_is_refused_here(event: Message | Read) -> None:
    out, log = box()
    with pytest.raises(DecodeError):
        out.add(event)
    out.send()
    assert log.records == []
