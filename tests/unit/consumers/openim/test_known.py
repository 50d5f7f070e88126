"""What a record does not say."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from consumers.openim import known
from consumers.openim.known import Engine, NotSettled, Seen
from consumers.openim.mapping import Room
from infra.settings import Settings
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
    """A write topic of two partitions; the stream group gets on from look to look."""

    def __init__(self, *looks: tuple[int, int]) -> None:
        self.left = list(looks)
        self.looks = 0

    def end_offsets(self, topic: str) -> dict[int, int]:
        assert topic == CONVERSATION_WRITES.name
        return {0: 10, 1: 20}

    def committed_of(self, group: str, _topic: str, partitions: Iterable[int]) -> dict[int, int]:
        assert group == Settings().kafka.stream_group
        self.looks += 1
        look = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return dict(zip(partitions, look, strict=True))


def engine(store: Store, broker: Broker, delivery: Any = None) -> Engine:
    return Engine(Settings(), store, broker, delivery or SimpleNamespace(delivered=1))  # type: ignore[arg-type]


def test_the_engine_is_asked_once_it_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "POLL_S", 0.0)
    members = [("ann", True), ("bob", False), ("cid", True)]
    store = Store(conversation_heads=[("sg_G", 7, 1)], members_by_conversation=members)
    broker = Broker((8, 20), (10, 19), (10, 25))
    assert engine(store, broker).room("sg_G") == Room(7, {"ann", "cid"})
    assert broker.looks == 3


def test_it_is_waited_for_once_for_what_was_delivered() -> None:
    store = Store(conversation_heads=[], members_by_conversation=[])
    broker, delivery = Broker((10, 20)), SimpleNamespace(delivered=1)
    asked = engine(store, broker, delivery)
    asked.room("n_G")
    asked.room("sg_G")
    assert broker.looks == 1
    delivery.delivered += 1
    asked.room("sg_G")
    assert broker.looks == 2


def test_a_conversation_that_nobody_wrote_to_is_empty() -> None:
    store = Store(conversation_heads=[], members_by_conversation=[])
    assert engine(store, Broker((10, 20))).room("sg_G") == Room(0, set())


def test_an_engine_that_does_not_get_on_ends_the_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "POLL_S", 0.0)
    monkeypatch.setattr(known, "SETTLE_TIMEOUT_S", 0.0)
    store = Store()
    with pytest.raises(NotSettled, match="5 records"):
        engine(store, Broker((7, 18))).room("sg_G")
    assert store.reads == 0
