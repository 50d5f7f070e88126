"""The worker: from bytes to effects. No bytes stop it; an event that cannot be used is set aside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import REGISTRY

from infra.cassandra.topic_epochs import Epoch
from infra.kafka.dead_share import DeadShare, TooManyDead
from schemas import topics
from schemas.changes import MessageChange, ReadChange, StateChange
from schemas.codec import encode_event, join_events
from schemas.dead_letters import DeadLetter
from schemas.errors import RetryableError
from schemas.events import MembersJoined, Message, Read, UserConversationSettings
from schemas.versions import stamp_of, version_of
from streams.cache import ConversationCache
from streams.effects import Effects
from streams.worker import ConversationPipeline, Pipeline, SourceRecord, UserPipeline
from tests.unit.infra.cassandra.support import Cells
from tests.unit.streams.support import EPOCHS, PARTITIONS, RULES, T0, run

CONVERSATIONS, USERS = topics.CONVERSATION_WRITES.name, topics.USER_WRITES.name


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[tuple[Effects, Sequence[DeadLetter]]] = []
        self.error: Exception | None = None

    async def apply(self, effects: Effects, dead: Sequence[DeadLetter]) -> None:
        if self.error is not None:
            raise self.error
        self.batches.append((effects, list(dead)))

    @property
    def changes(self) -> list[Any]:
        return [change for effects, _ in self.batches for _, change in effects.changes]

    @property
    def dead(self) -> list[DeadLetter]:
        return [one for _, dead in self.batches for one in dead]


def conversations(sink: Kept, epochs: Any = EPOCHS) -> ConversationPipeline:
    cache = ConversationCache(Cells(), 100, 0)
    return ConversationPipeline(
        sink, epochs, lambda: T0, cache=cache, partitions=PARTITIONS, rules=RULES
    )


def users(sink: Kept, epochs: Any = EPOCHS) -> UserPipeline:
    return UserPipeline(sink, epochs, lambda: T0, partitions=PARTITIONS, rules=RULES)


def record(topic: str, offset: int, value: bytes | None) -> SourceRecord:
    return SourceRecord(topic, 5, offset, T0, value)


def process(pipeline: Pipeline[Any], topic: str, *values: bytes | None) -> None:
    run(pipeline.process([record(topic, offset, value) for offset, value in enumerate(values)]))


def test_nothing_is_done_for_a_batch_most_of_which_cannot_be_read() -> None:
    sink, good = Kept(), encode_event(Read("ann", "sg_1", 3))
    share = DeadShare(USERS, 0.5, "SETTING")
    pipeline = UserPipeline(
        sink, EPOCHS, lambda: T0, partitions=PARTITIONS, rules=RULES, dead_share=share
    )
    process(pipeline, USERS, *[good] * 40, *[b"{}"] * 30)
    assert (len(sink.changes), len(sink.dead)) == (40, 30)
    with pytest.raises(TooManyDead):
        process(pipeline, USERS, good, *[b"{}"] * 40)
    assert (len(sink.changes), len(sink.dead)) == (40, 30)


def test_a_record_may_hold_one_event_or_many() -> None:
    sink = Kept()
    one, other = (encode_event(Read(user, "sg_1", 3)) for user in ("ann", "bob"))
    process(users(sink), USERS, one, join_events([one, other]))
    assert [change.users for change in sink.changes] == [("ann",), ("ann",), ("bob",)]


def test_stamps_are_the_place_in_the_topic_and_in_the_record() -> None:
    sink = Kept()
    event = encode_event(UserConversationSettings("ann", "sg_1", pinned=True))
    epochs = {**EPOCHS, USERS: Epoch(USERS, 7, "id", 1, 0)}
    process(users(sink, epochs), USERS, event, join_events([event, event]))
    assert [change.stamp for change in sink.changes] == [
        stamp_of(version_of(7, 0), 0),
        stamp_of(version_of(7, 1), 0),
        stamp_of(version_of(7, 1), 1),
    ]


def test_events_of_one_batch_see_each_other() -> None:
    sink = Kept()
    process(
        conversations(sink),
        CONVERSATIONS,
        encode_event(MembersJoined("sg_1", ("ann", "bob"), 0, T0)),
        encode_event(Message("sg_1", 1, "ann", T0)),
    )
    told = {user for c in sink.changes if isinstance(c, MessageChange) for user in c.users}
    assert told == {"ann", "bob"}


def test_batches_see_what_earlier_ones_did() -> None:
    sink = Kept()
    pipeline = conversations(sink)
    process(pipeline, CONVERSATIONS, encode_event(MembersJoined("sg_1", ("ann",), 0, T0)))
    process(pipeline, CONVERSATIONS, encode_event(Message("sg_1", 1, "ann", T0)))
    assert [type(change) for change in sink.changes] == [StateChange, MessageChange]


def test_a_bad_event_costs_itself_and_not_its_neighbours() -> None:
    sink = Kept()
    good = encode_event(Read("ann", "sg_1", 3))
    process(users(sink), USERS, b"[" + good + b',{"type":"dance"},' + good + b"]")
    assert sink.changes == [ReadChange("sg_1", ("ann",), 3)] * 2
    (dead,) = sink.dead
    assert (dead.topic, dead.partition, dead.offset, dead.index) == (USERS, 5, 0, 1)
    assert dead.value == b'{"type":"dance"}'
    assert dead.at_ms == T0


def test_an_event_of_a_newer_release_waits_with_what_to_do_and_the_others_go_on() -> None:
    sink = Kept()
    event = Read("ann", "sg_1", 3)
    newer = encode_event(replace(event, v="2.0"))
    minor = encode_event(replace(event, v="1.7"))
    process(users(sink), USERS, join_events([minor, newer]), newer, encode_event(event))
    assert sink.changes == [ReadChange("sg_1", ("ann",), 3)] * 2
    assert [(one.offset, one.index, one.value) for one in sink.dead] == [
        (0, 1, newer),
        (1, None, newer),
    ]
    assert all("upgrade the stream workers before" in one.reason for one in sink.dead)


@pytest.mark.parametrize(
    "value", [None, b"", b"nonsense", b"[", b"\xff\xfe", b"{}", b"[[1]]", b"7"]
)
def test_a_record_that_is_none_is_a_dead_letter(value: bytes | None) -> None:
    for pipeline_on, topic in ((conversations, CONVERSATIONS), (users, USERS)):
        sink = Kept()
        process(pipeline_on(sink), topic, value)
        assert sink.changes == []
        assert [one.offset for one in sink.dead] == [0]


def test_an_empty_array_is_no_event_and_no_fault() -> None:
    sink = Kept()
    process(users(sink), USERS, b"[]")
    assert sink.batches == [(Effects(), [])]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = {
    "type": st.sampled_from(["message", "members_joined", "members_left", "read", "x"]),
    "conversation_id": st.sampled_from(["sg_1", "", "é", "x" * 301]) | json_values,
    "user_id": json_values,
    "user_ids": st.lists(st.sampled_from(["a", "b", ""]), max_size=3) | json_values,
    "members": json_values,
    "sender_id": st.just("a") | json_values,
    "seq": st.integers(-1, 3) | json_values,
    "at_ms": st.just(T0) | json_values,
    "sent_at_ms": st.just(T0) | json_values,
    "reason": st.just("quit") | json_values,
    "read_seq": json_values,
}
events = st.fixed_dictionaries({}, optional=fields) | json_values


def jsonable(value: Any) -> bytes:
    """By the standard library, which also writes NaN, lone surrogates and large integers."""
    return json.dumps(value).encode()


@given(st.lists(st.one_of(st.binary(), events.map(jsonable), st.lists(events).map(jsonable))))
def test_no_bytes_stop_a_worker(values: list[bytes]) -> None:
    for pipeline_on, topic in ((conversations, CONVERSATIONS), (users, USERS)):
        sink = Kept()
        process(pipeline_on(sink), topic, *values)
        assert len(sink.batches) == 1


@pytest.mark.parametrize("depth", [200, 255, 600, 5_000])
@pytest.mark.parametrize("around", [(b"[", b"]"), (b'[{"a":', b"}]"), (b'{"type":', b"}")])
def test_deep_nesting_is_a_dead_letter(depth: int, around: tuple[bytes, bytes]) -> None:
    sink = Kept()
    process(users(sink), USERS, around[0] + b"[" * depth + b"]" * depth + around[1])
    assert len(sink.dead) == 1


def test_what_the_sink_raises_is_raised() -> None:
    sink = Kept()
    sink.error = RetryableError("away")
    with pytest.raises(RetryableError):
        process(users(sink), USERS, encode_event(Read("ann", "sg_1", 3)))


def test_what_was_not_done_is_not_counted() -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("diffusion_stream_events_total", {"type": "read"}) or 0.0

    sink = Kept()
    event = encode_event(Read("ann", "sg_1", 3))
    before = count()
    process(users(sink), USERS, event, event)
    assert count() == before + 2
    sink.error = RetryableError("away")
    with pytest.raises(RetryableError):
        process(users(sink), USERS, event)
    assert count() == before + 2


def test_how_wide_a_message_spreads_is_counted_over_all_partitions() -> None:
    def counted() -> list[float]:
        names = ("count", "sum")
        found = (REGISTRY.get_sample_value(f"diffusion_stream_fan_out_users_{n}") for n in names)
        return [value or 0.0 for value in found]

    sink, members = Kept(), ("ann", "bob", "cid", "dan")
    pipeline = conversations(sink)
    process(pipeline, CONVERSATIONS, encode_event(MembersJoined("sg_1", members, 0, T0)))
    count, users_told = counted()
    process(pipeline, CONVERSATIONS, encode_event(Message("sg_1", 1, "ann", T0)))
    records = [one for one in sink.changes if isinstance(one, MessageChange)]
    assert len(records) > 1
    assert counted() == [count + 1, users_told + len(members)]
