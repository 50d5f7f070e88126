"""The sweep: every bucket has one worker, and what should switch gets a `Reconsider` of its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from infra.cassandra import conversation_heads, swept_conversations
from infra.cassandra.swept_conversations import BUCKETS, bucket_of
from schemas import topics
from schemas.codec import CONVERSATION_EVENTS
from schemas.events import Reconsider
from schemas.heads import Activity, Head, Mode, ModeReason
from schemas.partitioner import partition_of
from streams import sweep
from streams.policy import switch
from streams.sweep import RETURNS_PER_SWEEP_MAX, Sweep, buckets
from tests.unit.infra.cassandra.support import Cells
from tests.unit.streams.support import COSTS, T0, ordinary, run

PARTITIONS = 8
MEMBERS = 20
RULES = ordinary(members_max=100, members_return=60)
LONG_AGO = T0 - 3_600_000
EVERY_PARTITION = set(range(PARTITIONS))


class Written:
    """A delivery that keeps records, and what was asked of it."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, bytes, bytes | None]] = []
        self.flushed = 0

    def produce(self, topic: str, partition: int, value: bytes, key: bytes | None = None) -> None:
        self.records.append((topic, partition, value, key))

    def flush(self) -> None:
        self.flushed = len(self.records)

    def reconsidered(self) -> list[str]:
        events = [CONVERSATION_EVENTS.decode(value).events for _, _, value, _ in self.records]
        assert all(isinstance(one, Reconsider) for found in events for one in found)
        return [one.conversation_id for (one,) in events]


class Place:
    """Heads in cells, and a sweep over them at `T0`."""

    def __init__(self) -> None:
        self.cells = Cells()
        self.written = Written()
        self.sweep = Sweep(self.cells, self.written, RULES, PARTITIONS, lambda: T0)

    def put(self, head: Head) -> Head:
        for statement in (
            conversation_heads.mode(self.cells, head),
            conversation_heads.member_count(self.cells, head.conversation_id, MEMBERS, 1),
            conversation_heads.activity(self.cells, head.conversation_id, head.activity),
            conversation_heads.diffusion(self.cells, head.conversation_id, head.diffusion, 1),
            swept_conversations.put(self.cells, head),
        ):
            self.cells.apply(statement)
        return head

    def once(self, owned: set[int] = EVERY_PARTITION) -> list[str]:
        before = len(self.written.records)
        count = run(self.sweep.once(owned))
        found = self.written.reconsidered()[before:]
        assert count == len(found)
        return found


def head(name: str = "sg_1", mode: Mode = Mode.READ, owed: float = 0.0, **fields: Any) -> Head:
    """A conversation that left for its cost an hour ago; `owed`: switches' worth of excess."""
    given: dict[str, Any] = {
        "mode_epoch": 4 + mode,
        "mode_since_ms": LONG_AGO,
        "mode_reason": ModeReason.COST,
        "activity": Activity(at_ms=T0, stamp=1, excess=COSTS.switch(MEMBERS) * owed),
    }
    return Head(name, mode=mode, **given | fields)


def told(mode: str) -> float | None:
    return REGISTRY.get_sample_value("diffusion_stream_swept_conversations", {"mode": mode})


def test_what_a_sweep_sees_is_told_by_mode_until_the_partitions_are_another_workers() -> None:
    place = Place()
    for number in range(3):
        place.put(head(f"sg_{number}"))
    place.put(head("sg_9", Mode.LEAVING))
    place.once()
    assert (told("read"), told("leaving"), told("returning")) == (3, 1, 0)
    place.sweep.revoked()
    assert (told("read"), told("leaving"), told("returning")) == (0, 0, 0)


# Buckets.


@given(st.integers(1, 200), st.data())
def test_every_bucket_is_swept_by_one_worker_however_partitions_are_assigned(
    partitions: int, data: st.DataObject
) -> None:
    workers = data.draw(st.integers(1, 10))
    owners = data.draw(
        st.lists(st.integers(0, workers - 1), min_size=partitions, max_size=partitions)
    )
    swept = [
        bucket
        for worker in range(workers)
        for bucket in buckets({p for p, o in enumerate(owners) if o == worker}, partitions)
    ]
    assert sorted(swept) == list(range(BUCKETS))


def test_who_has_no_partition_sweeps_nothing() -> None:
    assert buckets(set(), PARTITIONS) == []


def test_every_conversation_has_a_bucket_that_is_swept() -> None:
    place = Place()
    names = [f"sg_{n}" for n in range(150)]
    for name in names:
        place.put(head(name, owed=1.0))
    found = [name for partition in EVERY_PARTITION for name in place.once({partition})]
    assert sorted(found) == sorted(names)


def test_a_worker_reads_its_own_buckets_only() -> None:
    place = Place()
    place.once({3})
    read = [statement.values[0] for statement in place.cells.reads if "bucket" in statement.cql]
    assert read == buckets({3}, PARTITIONS) == [b for b in range(BUCKETS) if b % PARTITIONS == 3]


# What is due.


@pytest.mark.parametrize(
    ("found", "due"),
    [
        (head(owed=1.0), True),
        (head(owed=0.99), False),
        (head(owed=9.0, mode_since_ms=T0 - 1_000), False),
        (head(mode_reason=ModeReason.MEMBERS), True),
        (head(mode_reason=ModeReason.OVERRIDE, diffusion="always_read"), False),
        (head(mode_reason=ModeReason.OVERRIDE), True),
        (head(mode=Mode.LEAVING), True),
        (head(mode=Mode.RETURNING), True),
    ],
    ids=[
        "looks have cost a switch",
        "not yet",
        "dwelling",
        "its size let it go",
        "overridden",
        "the override is gone",
        "left unfinished on the way out",
        "left unfinished on the way back",
    ],
)
def test_only_what_would_switch_now_is_reconsidered(found: Head, due: bool) -> None:
    place = Place()
    place.put(found)
    assert place.once() == (["sg_1"] if due else [])
    assert place.written.flushed == len(place.written.records), "delivered before it is done"


def test_time_alone_makes_it_due() -> None:
    """The head says what was counted at its last message; the looks since then are added."""
    place = Place()
    place.put(head(activity=Activity(at_ms=T0 - 12 * 3_600_000, stamp=1)))
    assert place.once() == ["sg_1"]


def test_what_came_back_is_looked_at_no_more() -> None:
    place = Place()
    place.put(head(owed=1.0))
    place.put(head(mode=Mode.WRITE, mode_epoch=9))
    assert place.once() == []
    assert run(swept_conversations.read(place.cells, bucket_of("sg_1"))) == []


def test_a_note_without_a_head_is_passed_over() -> None:
    """The note may be readable before the head is."""
    place = Place()
    place.cells.apply(swept_conversations.put(place.cells, head()))
    assert place.once() == []


def test_a_reconsider_goes_where_the_conversations_writes_go() -> None:
    place = Place()
    names = [f"sg_{n}" for n in range(20)]
    for name in names:
        place.put(head(name, owed=1.0))
    place.once()
    for topic, partition, value, key in place.written.records:
        (event,) = CONVERSATION_EVENTS.decode(value).events
        assert topic == topics.CONVERSATION_WRITES.name
        assert partition == partition_of(event.conversation_id, PARTITIONS)
        assert key == event.conversation_id.encode()


def test_what_is_reconsidered_in_one_sweep_is_bounded_and_the_rest_is_not_lost() -> None:
    place = Place()
    heads = [place.put(head(f"sg_{n}", owed=1.0)) for n in range(RETURNS_PER_SWEEP_MAX + 30)]
    first = place.once()
    assert len(first) == RETURNS_PER_SWEEP_MAX
    for one in heads:  # those reconsidered return
        if one.conversation_id in first:
            found = switch(one, MEMBERS, RULES, 2, T0)
            assert found is not None
            place.put(found.after)
    second = place.once()
    assert len(second) == 30
    assert {*first, *second} == {one.conversation_id for one in heads}


def test_who_is_due_and_stuck_does_not_keep_the_others_waiting() -> None:
    place = Place()
    heads = [place.put(head(f"sg_{n}", owed=1.0)) for n in range(RETURNS_PER_SWEEP_MAX + 30)]
    # Nobody takes the reconsidered up, so all stay due: the next sweep begins where this one ended.
    reconsidered = {*place.once(), *place.once()}
    assert reconsidered == {one.conversation_id for one in heads}


def test_the_sweep_goes_on_with_the_partitions_of_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place()
    asked: list[set[int]] = []
    slept: list[float] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 2:
            raise Enough

    async def once(owned: set[int]) -> int:
        asked.append(owned)
        return 0

    monkeypatch.setattr(sweep.asyncio, "sleep", sleep)
    monkeypatch.setattr(place.sweep, "once", once)
    owned = iter([[1, 2], []])
    with pytest.raises(Enough):
        run(place.sweep.run(lambda: next(owned), 7.0))
    assert (asked, slept) == ([{1, 2}, set()], [7.0] * 3)
