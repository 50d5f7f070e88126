"""Whole states as digests: kept for a moment, and never believed where that could do harm."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from infra.cassandra.session import StoreUnavailable
from schemas import digests
from schemas.protocol import Correction, Reason
from syncapi.states import ROOT_KEPT_S, ROWS_KEPT_S, Place, StateCache
from tests.unit.syncapi.support import T0, Store, run
from tests.unit.syncapi.test_correction import Device, filled
from tests.unit.syncapi.test_service import joined, message, request

PLACE = Place("ann", 1, b"")


class Slow(Store):
    """A store whose reads of inboxes are counted, take a turn of the loop, and may fail."""

    inboxes = 0
    fails = False

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if "ks.inbox" in cql:
            self.inboxes += 1
            await asyncio.sleep(0)
            if self.fails:
                raise StoreUnavailable("away")
        return await super().aread(cql, values)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def cache(store: Slow | None = None) -> tuple[StateCache, Slow, Clock]:
    clock, made = Clock(), store or Slow()
    made.add(*joined("sg_1", "sg_2"))
    return StateCache(made, clock), made, clock


def test_many_who_ask_at_once_share_a_read() -> None:
    async def ask() -> None:
        states, store, _ = cache()
        roots = await asyncio.gather(*(states.root(PLACE, b"", []) for _ in range(20)))
        assert len(set(roots)) == store.inboxes == 1

    run(ask())


def test_a_read_is_pending_while_it_waits_and_not_afterwards() -> None:
    def pending() -> float | None:
        return REGISTRY.get_sample_value("diffusion_api_pending_corrections")

    async def ask() -> None:
        states, _, _ = cache()
        places = [PLACE, PLACE._replace(user_id="bob"), PLACE]
        asking = asyncio.gather(*(states.root(place, b"", []) for place in places))
        await asyncio.sleep(0)
        assert pending() == 2
        await asking
        await asyncio.sleep(0)
        assert pending() == 0

    run(ask())


def test_a_root_that_is_equal_is_believed_for_minutes_and_one_that_differs_for_seconds() -> None:
    async def ask() -> None:
        states, store, clock = cache()
        root = await states.root(PLACE, b"", [])
        clock.now_s += ROWS_KEPT_S + 1
        assert await states.root(PLACE, root, []) == root
        assert store.inboxes == 1
        await states.root(PLACE, b"other", [])
        assert store.inboxes == 2
        clock.now_s += ROOT_KEPT_S + 1
        await states.root(PLACE, root, [])
        assert store.inboxes == 3

    run(ask())


def test_rows_are_kept_between_two_trips_and_no_longer() -> None:
    async def ask() -> None:
        states, store, clock = cache()
        assert not (await states.rows(PLACE, []))[1]
        assert (await states.rows(PLACE, []))[1]
        assert not (await states.rows(PLACE, [], now=True))[1]
        assert not (await states.rows(PLACE._replace(version=2), []))[1]
        clock.now_s += ROWS_KEPT_S + 1
        assert not (await states.rows(PLACE._replace(version=2), []))[1]
        assert store.inboxes == 4

    run(ask())


def test_a_read_that_fails_is_not_kept() -> None:
    async def ask() -> None:
        states, store, _ = cache()
        store.fails = True
        with pytest.raises(StoreUnavailable):
            await states.root(PLACE, b"", [])
        store.fails = False
        assert await states.root(PLACE, b"", [])

    run(ask())


def test_who_goes_away_does_not_take_the_read_from_the_others() -> None:
    async def ask() -> None:
        states, store, _ = cache()
        first = asyncio.create_task(states.root(PLACE, b"", []))
        second = asyncio.create_task(states.root(PLACE, b"", []))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        assert store.inboxes == 1

    run(ask())


def test_rows_of_the_oldest_go_first_and_roots_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncapi.states.ROWS_KEPT_MAX", 3)

    async def ask() -> None:
        states, store, _ = cache()
        store.add(*joined("sg_1", "sg_2", user="bob"))
        await states.rows(PLACE, [])
        await states.rows(Place("bob", 1, b""), [])
        assert not (await states.rows(PLACE, []))[1]
        assert states._rows_kept <= 4

    run(ask())


# In a sync.


def test_nobody_is_told_to_drop_anything_by_what_was_read_before() -> None:
    """An empty state that was kept must not empty the device that came to have one."""
    api = filled(0)
    device = Device(api)
    device.ask(root=device.root)
    api.store.rows["changes_by_user"].clear()
    api.store.add(*joined("sg_1", "sg_2"))
    api.store.rows["changes_by_user"].clear()  # its rows expired, or were never written
    held = Device(api)
    assert len(held.held) == 2
    all_of_it = Correction(listed=(digests.listed(digests.WHOLE, held.rows),))
    assert held.ask(correct=all_of_it).gone == b""
    api.now_ms += int(ROWS_KEPT_S * 1_000) + 1
    assert held.ask(root=held.root).path == "delta"


def test_a_change_that_the_index_never_told_is_found() -> None:
    """What the digests are for: a change record was lost, and the head knows better."""
    api = filled(5)
    device = Device(api)
    assert device.ask(root=device.root).path == "delta"
    api.store.head("sg_002", 99, T0 + 99)
    api.now_ms += int(ROOT_KEPT_S * 1_000) + 1_000
    answer = device.ask(root=device.root)
    assert (answer.path, answer.reason) == ("correction", Reason.DIGEST_MISMATCH)
    device.ask(correct=Correction(listed=(digests.listed(digests.WHOLE, device.rows),)))
    assert device.held["sg_002"].max_seq == 99


def test_the_root_of_a_correction_is_of_what_it_tells() -> None:
    """A message between the digests and the entries costs no second round."""
    api = filled(5)
    device = Device(api)
    device.damage("sg_002", read_seq=3)
    device.ask(root=device.root)
    api.store.head("sg_002", 99, T0 + 99)
    answer = device.ask(correct=Correction(listed=(digests.listed(digests.WHOLE, device.rows),)))
    assert device.held["sg_002"].max_seq == 99
    assert answer.root == device.root


def test_a_correction_is_begun_only_if_nothing_else_is_told() -> None:
    api = filled(5)
    device = Device(api)
    device.damage("sg_002", read_seq=3)
    api.store.add(message("sg_001", 50))
    answer = device.ask(root=device.root)
    assert (answer.path, len(answer.conversations)) == ("delta", 1)
    assert api.sync(request()).path == "full"
