"""The head cache: one read for many, brief, and never an answer with a head left out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from infra.cassandra.session import StoreUnavailable
from schemas.heads import Head
from syncapi import heads
from syncapi.heads import CACHE_AGE_S, HeadCache
from tests.unit.syncapi.support import Store, run


class Gate(Store):
    """A store whose head reads wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.error: Exception | None = None
        self.asked: list[list[str]] = []
        """Conversation ids of each read that began."""

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.asked.append(values[0])
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return Store.read(self, cql, values)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def filled(*ids: str) -> Gate:
    store = Gate()
    for seq, conversation_id in enumerate(ids, 1):
        store.head(conversation_id, seq)
    store.open.set()
    return store


def ids(found: list[Head]) -> list[str]:
    return [head.conversation_id for head in found]


async def until_asked(store: Gate, times: int) -> None:
    while len(store.asked) < times:  # noqa: ASYNC110  # one loop, no time passes
        await asyncio.sleep(0)


def test_heads_come_as_asked_and_those_without_one_are_left_out() -> None:
    cache = HeadCache(filled("sg_1", "sg_2"), Clock())
    assert ids(run(cache.read(["sg_2", "sg_9", "sg_1"]))) == ["sg_2", "sg_1"]


def test_a_head_is_read_once_as_long_as_it_is_fresh() -> None:
    async def course() -> None:
        store, clock = filled("sg_1"), Clock()
        cache = HeadCache(store, clock)
        await cache.read(["sg_1"])
        clock.now_s = CACHE_AGE_S
        await cache.read(["sg_1"])
        assert len(store.asked) == 1
        store.head("sg_1", 9)
        clock.now_s = CACHE_AGE_S + 0.001
        assert (await cache.read(["sg_1"]))[0].max_seq == 9

    run(course())


def test_age_counts_from_before_the_read() -> None:
    async def course() -> None:
        store, clock = filled("sg_1"), Clock()
        store.open.clear()
        cache = HeadCache(store, clock)
        first = asyncio.create_task(cache.read(["sg_1"]))
        await until_asked(store, 1)
        clock.now_s = CACHE_AGE_S + 1
        store.open.set()
        await first
        await cache.read(["sg_1"])
        assert len(store.asked) == 2

    run(course())


def test_who_asks_while_a_read_is_under_way_shares_it() -> None:
    async def course() -> None:
        store = filled("sg_1", "sg_2")
        store.open.clear()
        cache = HeadCache(store, Clock())
        tasks = [asyncio.create_task(cache.read(["sg_1", "sg_2"])) for _ in range(5)]
        await until_asked(store, 1)
        store.open.set()
        assert [ids(found) for found in await asyncio.gather(*tasks)] == [["sg_1", "sg_2"]] * 5
        assert store.asked == [["sg_1", "sg_2"]]

    run(course())


def test_a_full_cache_leaves_no_head_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is let go for the new ones is still part of this answer."""
    monkeypatch.setattr(heads, "CACHE_HEADS_MAX", 2)

    async def course() -> None:
        cache = HeadCache(filled("sg_1", "sg_2", "sg_3"), Clock())
        await cache.read(["sg_1", "sg_2"])
        assert ids(await cache.read(["sg_1", "sg_2", "sg_3"])) == ["sg_1", "sg_2", "sg_3"]

    run(course())


def test_a_cache_that_others_fill_meanwhile_leaves_no_head_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heads, "CACHE_HEADS_MAX", 2)

    async def course() -> None:
        store = filled("sg_1", "sg_2", "sg_3")
        cache = HeadCache(store, Clock())
        await cache.read(["sg_1"])
        store.open.clear()
        first = asyncio.create_task(cache.read(["sg_1", "sg_2"]))
        await until_asked(store, 2)
        second = asyncio.create_task(cache.read(["sg_3"]))
        await until_asked(store, 3)
        store.open.set()
        assert ids(await first) == ["sg_1", "sg_2"]
        assert ids(await second) == ["sg_3"]

    run(course())


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CACHE_HEADS_MAX", 10)

    async def course() -> None:
        cache = HeadCache(filled(), Clock())
        for number in range(50):
            await cache.read([f"sg_{number}"])
            assert len(cache._held) <= 10

    run(course())


def test_a_read_that_fails_fails_for_all_who_wait_and_is_tried_again() -> None:
    async def course() -> None:
        store = filled("sg_1", "sg_2")
        store.open.clear()
        store.error = StoreUnavailable("away")
        cache = HeadCache(store, Clock())
        first = asyncio.create_task(cache.read(["sg_1"]))
        await until_asked(store, 1)
        second = asyncio.create_task(cache.read(["sg_1", "sg_2"]))
        await until_asked(store, 2)
        store.open.set()
        found = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(one) for one in found] == [StoreUnavailable] * 2
        store.error = None
        assert ids(await cache.read(["sg_1"])) == ["sg_1"]

    run(course())


def test_a_failure_of_anothers_read_is_not_an_answer_without_its_heads() -> None:
    async def course() -> None:
        store = filled("sg_1", "sg_2")
        store.open.clear()
        cache = HeadCache(store, Clock())
        first = asyncio.create_task(cache.read(["sg_1"]))
        await until_asked(store, 1)
        second = asyncio.create_task(cache.read(["sg_1", "sg_2"]))
        await until_asked(store, 2)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        store.open.set()
        with pytest.raises(StoreUnavailable):
            await second

    run(course())


def test_a_waiter_that_goes_away_takes_nothing_from_the_others() -> None:
    async def course() -> None:
        store = filled("sg_1")
        store.open.clear()
        cache = HeadCache(store, Clock())
        first = asyncio.create_task(cache.read(["sg_1"]))
        await until_asked(store, 1)
        second = asyncio.create_task(cache.read(["sg_1"]))
        third = asyncio.create_task(cache.read(["sg_1"]))
        for _ in range(3):
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        store.open.set()
        assert ids(await first) == ids(await third) == ["sg_1"]

    run(course())
