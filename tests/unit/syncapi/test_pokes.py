"""The poke feed: what it does when Kafka is away, slow, or no longer the same. Kafka is a fake."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from infra.kafka.admin import BrokerUnavailable, TopicMissing
from infra.kafka.tail import Broken, Record
from infra.settings import KafkaSettings
from schemas.changes import MessageChange, ReadChange
from schemas.codec import encode_change
from syncapi import pokes
from syncapi.pokes import PokeFeed


class Kafka:
    """One partition, and what goes wrong next."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records: list[bytes] = []
        self.committed = 0
        self.opened: list[int] = []
        self.on_open: list[Exception] = []
        self.on_read: list[Exception] = []
        self.on_commits: list[Exception] = []
        self.on_check: list[Exception] = []
        self.commits_asked = 0

    def write(self, value: bytes, *, commit: bool = True) -> None:
        with self.lock:
            self.records.append(value)
            if commit:
                self.committed = len(self.records)

    def admin(self, settings: KafkaSettings) -> FakeAdmin:
        return FakeAdmin(self)

    def tail(self, settings: KafkaSettings, admin: FakeAdmin, topic: str) -> FakeTail:
        if self.on_open:
            raise self.on_open.pop(0)
        return FakeTail(self)


class FakeAdmin:
    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def committed_of(self, group: str, topic: str, partitions: Any) -> dict[int, int]:
        self._kafka.commits_asked += 1
        if self._kafka.on_commits:
            raise self._kafka.on_commits.pop(0)
        with self._kafka.lock:
            return dict.fromkeys(partitions, self._kafka.committed)


class FakeTail:
    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        with kafka.lock:
            self._at = len(kafka.records)
        self.starts = {0: self._at}
        kafka.opened.append(self._at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, timeout_s: float) -> list[Record]:
        time.sleep(min(timeout_s, 0.01))
        if self._kafka.on_read:
            raise self._kafka.on_read.pop(0)
        with self._kafka.lock:
            found = [
                Record(0, offset, time.time_ns() // 1_000_000, value)
                for offset, value in enumerate(self._kafka.records)
                if offset >= self._at
            ]
            self._at = len(self._kafka.records)
        return found

    def check(self) -> None:
        if self._kafka.on_check:
            raise self._kafka.on_check.pop(0)


class World:
    def __init__(self) -> None:
        self.kafka = Kafka()
        self.connected: dict[str, None] = {}
        self.poked: list[str] = []
        self.feed = PokeFeed(KafkaSettings(), self.connected.keys(), self.poked.extend)

    def poked_when(self, count: int, user: str = "ann") -> None:
        wait(lambda: self.poked.count(user) >= count)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    monkeypatch.setattr(pokes, "Admin", world.kafka.admin)
    monkeypatch.setattr(pokes, "Tail", world.kafka.tail)
    monkeypatch.setattr(pokes, "POKE_TICK_S", 0.01)
    monkeypatch.setattr(pokes, "TOPIC_CHECK_S", 0.02)
    monkeypatch.setattr(pokes, "RETRY_S", 0.01)
    yield world
    world.feed.stop()
    assert not world.feed._thread.is_alive()


def wait(condition: Callable[[], object], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


CHANGE = encode_change(MessageChange("sg_1", ("ann", "bob"), 1, 1))


def test_who_is_marked_is_poked_once_it_is_committed(world: World) -> None:
    world.feed.start()
    wait(lambda: world.kafka.opened)
    time.sleep(0.1)  # the gap of the beginning is over, with nobody connected
    world.connected["ann"] = None
    world.kafka.write(CHANGE, commit=False)
    time.sleep(0.1)
    assert world.poked == []
    world.kafka.committed = 1
    world.poked_when(1)
    assert world.poked == ["ann"]


def test_records_are_not_read_while_nobody_is_connected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    class Decoder:
        def decode(self, value: bytes) -> Any:
            read.append(value)
            return decoder.decode(value)

    decoder = pokes._decoder
    monkeypatch.setattr(pokes, "_decoder", Decoder())
    world.feed.start()
    wait(lambda: world.kafka.opened)
    time.sleep(0.1)
    world.kafka.write(CHANGE, commit=False)
    time.sleep(0.1)
    assert read == []
    world.connected["ann"] = None  # after the record, and before its commit
    world.kafka.committed = 1
    world.poked_when(1)
    world.kafka.write(CHANGE)
    world.poked_when(2)
    assert read == [CHANGE]


def test_commits_are_asked_for_only_while_something_waits(world: World) -> None:
    world.feed.start()
    wait(lambda: world.kafka.opened)
    time.sleep(0.1)
    before = world.kafka.commits_asked
    time.sleep(0.2)
    assert world.kafka.commits_asked == before
    world.kafka.write(CHANGE, commit=False)
    wait(lambda: world.kafka.commits_asked > before + 2)


def test_records_that_are_none_are_passed_over(world: World) -> None:
    world.feed.start()
    wait(lambda: world.kafka.opened)
    time.sleep(0.1)
    world.connected["ann"] = None
    for value in (b"", b"\xff", b"[" * 50_000, b'{"users":[1]}', b'{"users":"ann"}'):
        world.kafka.write(value)
    world.kafka.write(encode_change(ReadChange("sg_1", ("ann",), 1)))
    world.poked_when(1)
    assert len(world.kafka.opened) == 1


@pytest.mark.parametrize("where", ["on_read", "on_check"])
@pytest.mark.parametrize("error", [Broken("made anew"), TopicMissing("gone"), ValueError("bug")])
def test_after_a_gap_everybody_is_poked(world: World, where: str, error: Exception) -> None:
    world.feed.start()
    wait(lambda: world.kafka.opened)
    time.sleep(0.1)
    world.connected["ann"] = None
    getattr(world.kafka, where).append(error)
    wait(lambda: len(world.kafka.opened) == 2)
    world.poked_when(1)


def test_commits_that_cannot_be_had_are_no_gap(world: World) -> None:
    world.feed.start()
    wait(lambda: world.kafka.opened)
    time.sleep(0.1)
    world.connected["ann"] = None
    world.kafka.on_commits += [BrokerUnavailable("away")] * 3
    world.kafka.write(CHANGE)
    world.poked_when(1)
    assert len(world.kafka.opened) == 1


def test_kafka_may_come_later_and_is_missed_once_a_minute(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.kafka.on_open += [BrokerUnavailable("away")] * 5
    world.connected["ann"] = None
    world.feed.start()
    world.poked_when(1)  # everybody, since something may have been missed
    assert [record.message for record in caplog.records] == ["pokes are suspended: away"]


def test_a_feed_that_never_began_can_be_stopped() -> None:
    World().feed.stop()
