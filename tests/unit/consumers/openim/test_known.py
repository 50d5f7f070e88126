"""What a record does not say."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.openim import known
from consumers.openim.known import Engine, NotSettled, Seen
from consumers.openim.mapping import Room
from infra.settings import Settings
from schemas.partitioner import partition_of
from schemas.topics import CONVERSATION_WRITES


def test_the_greatest_sequence_is_remembered_until_it_is_forgotten() -> None:
    seen = Seen()
    for seq in (4, 6, 5):
        seen.note("sg_G", seq)
    assert (seen.last_seq("sg_G"), seen.last_seq("sg_H")) == (6, None)
    seen.forget()
    assert seen.last_seq("sg_G") is None


def test_what_was_used_longest_ago_is_let_go() -> None:
    seen = Seen(2)
    for conversation in ("a", "b", "a", "c"):
        seen.note(conversation, 1)
    assert [seen.last_seq(conversation) for conversation in "abc"] == [1, None, 1]


class Store:
    """Reads of Cassandra, by their table."""

    def __init__(self, **tables: list[tuple[Any, ...]]) -> None:
        self.tables = tables
        self.reads = 0

    async def aread(self, cql: str, _values: Any) -> list[tuple[Any, ...]]:
        self.reads += 1
        return next(rows for table, rows in self.tables.items() if f"ks.{table} " in cql)


class Broker:
    """A write topic of four partitions; the stream group gets on by one look at a time."""

    def __init__(self, committed: list[int]) -> None:
        self.left = committed
        self.looked_at: list[int] = []

    def end_offsets(self, topic: str) -> dict[int, int]:
        assert topic == CONVERSATION_WRITES.name
        return dict.fromkeys(range(4), 10)

    def committed_of(self, group: str, _topic: str, partitions: list[int]) -> dict[int, int]:
        assert group == Settings().kafka.stream_group
        self.looked_at += partitions
        return dict.fromkeys(partitions, self.left.pop(0) if len(self.left) > 1 else self.left[0])


def engine(store: Store, broker: Broker) -> Engine:
    return Engine(Settings(), store, broker)  # type: ignore[arg-type]


def test_the_engine_is_asked_once_it_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "POLL_S", 0.0)
    members = [("ann", True), ("bob", False), ("cid", True)]
    store = Store(conversation_heads=[("sg_G", 7, 1)], members_by_conversation=members)
    broker = Broker([8, 9, 10])
    assert engine(store, broker).room("sg_G") == Room(7, {"ann", "cid"})
    assert broker.looked_at == [partition_of("sg_G", 4)] * 3


def test_a_conversation_that_nobody_wrote_to_is_empty() -> None:
    store = Store(conversation_heads=[], members_by_conversation=[])
    assert engine(store, Broker([10])).room("sg_G") == Room(0, set())


def test_an_engine_that_does_not_get_on_ends_the_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "POLL_S", 0.0)
    monkeypatch.setattr(known, "SETTLE_TIMEOUT_S", 0.0)
    store = Store()
    with pytest.raises(NotSettled, match="3 records of partition"):
        engine(store, Broker([7])).room("sg_G")
    assert store.reads == 0
