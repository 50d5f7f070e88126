"""Clients that follow, on real servers: blocking and asynchronous, over the connection that pokes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diffusion.bench.abnormal import Ground, long_away
from diffusion.system import System
from infra.clock import now_ms
from schemas import ids
from schemas.events import Message, Read
from sdk.client import AuthError, SyncClient
from sdk.client.events import State, StateChanged, SyncFinished
from syncapi.auth import issue
from tests.integration.support import NOW_MS, World

Unique = Callable[[str], str]

PATIENCE_S = 30.0
"""News are there much sooner; a busy machine is no failure."""


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def message(a: str, b: str, seq: int) -> Message:
    return Message(ids.one_to_one(a, b), seq, a, NOW_MS + seq, (a, b))


def states(events: list[Any]) -> list[State]:
    return [event.after for event in list(events) if isinstance(event, StateChanged)]


def test_two_devices_one_live_and_one_offline_for_long(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    ann, bob = unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    world = World(system)
    world.write(message(ann, bob, 1))
    events: list[Any] = []
    token = system.token(bob)
    with SyncClient(system.url, token=token, store=tmp_path / "old.db") as old:
        old.sync()
    shutil.copy(tmp_path / "old.db", tmp_path / "older.db")
    with SyncClient(
        system.url, token=token, store=tmp_path / "live.db", on_event=events.append
    ) as live:
        assert live.device_id != old.device_id
        live.follow()
        until(lambda: live.unread_total() == 1)
        # What is stored can be read before the client tells that it is live.
        until(lambda: State.LIVE in states(events))
        world.write(*(message(ann, bob, seq) for seq in range(2, 30)), settle=False)
        until(lambda: live.unread_total() == 29)
        world.write(Read(bob, chat, 20), settle=False)
        until(lambda: live.unread_total() == 9)
        world.system.wait_quiet()
        assert world.differences(live, bob) == []

        with SyncClient(system.url, token=token, store=tmp_path / "old.db") as old:
            report = old.sync()
            assert (report.path, report.round_trips) == ("delta", 1)
            assert old.unread_total() == 9, "what was read on one device is read on the other"
            assert world.differences(old, bob) == []

        # For longer than the log of changes reaches back.
        ground = Ground(tmp_path / "older.db", bob, system.settings, random.Random(1))
        long_away(ground)
        with SyncClient(system.url, token=token, store=tmp_path / "older.db") as older:
            report = older.sync()
            assert (report.path, report.reason) == ("full", "expired")
            assert world.differences(older, bob) == []

            # And on from there, both ways: what one reads, the other shows.
            older.follow()
            world.write(Read(bob, chat, 29), settle=False)
            until(lambda: live.unread_total() == older.unread_total() == 0)


def test_changes_come_as_they_happen_and_each_is_processed(system: System, unique: Unique) -> None:
    ann, bob = unique("ann"), unique("bob")
    world = World(system)
    seen: list[int] = []
    with SyncClient(system.url, token=system.token(bob), store=":memory:") as client:

        def work() -> None:
            for change in client.changes():
                with client.processing(change):
                    view = client.conversation(getattr(change, "conversation_id", ""))
                    seen.append(view.last_seq if view else 0)
                if 3 in seen:
                    return

        worker = threading.Thread(target=work)
        worker.start()
        for seq in (1, 2, 3):
            world.write(message(ann, bob, seq), settle=False)
            time.sleep(0.3)
        worker.join(PATIENCE_S)
        assert not worker.is_alive()
        assert client.pending() == []


def test_the_asynchronous_client_follows_too(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    ann, bob = unique("ann"), unique("bob")
    world = World(system)
    world.write(message(ann, bob, 1))
    given: list[str] = []

    async def token() -> str:
        given.append(system.token(bob))
        return given[-1]

    async def scenario() -> None:
        events: list[Any] = []
        made = SyncClient(system.url, token=token, store=tmp_path / "im.db", on_event=events.append)
        async with made as client:
            report = await client.sync()
            assert (report.path, client.unread_total()) == ("full", 1)
            assert [one.conversation_id for one in client.conversations()] == [
                ids.one_to_one(ann, bob)
            ]
            writing = asyncio.create_task(
                asyncio.to_thread(world.write, message(ann, bob, 2), settle=False)
            )
            async with asyncio.timeout(PATIENCE_S):
                async for change in client.changes():
                    with client.processing(change):
                        pass
                    if client.unread_total() == 2:
                        break
            await writing
            reports = await asyncio.gather(*(client.sync() for _ in range(5)))
            assert {one.path for one in reports} <= {"nothing", "delta"}
            finished = [event for event in events if isinstance(event, SyncFinished)]
            assert len(finished) <= 6, "calls at the same time share a round"
            assert client.user_id == bob

    asyncio.run(scenario())
    assert len(given) == 1


def test_cancelling_at_any_moment_leaves_a_store_that_goes_on(
    system: System, unique: Unique, tmp_path: Path
) -> None:
    ann = unique("ann")
    world = World(system)
    world.write(*(message(ann, unique(f"peer{n}"), 1) for n in range(60)))

    async def scenario() -> int:
        cancelled = 0
        async with SyncClient(
            system.url, token=system.token(ann), store=tmp_path / "im.db", page_max=7
        ) as client:
            for step in range(40):
                task = asyncio.create_task(client.sync())
                await asyncio.sleep(0.001 * step)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                    continue
                cancelled += 1
            await client.sync()
            assert world.differences(client, ann) == []  # type: ignore[arg-type]
        return cancelled

    assert asyncio.run(scenario()) > 3


def test_a_token_that_expires_is_replaced_and_one_that_is_refused_ends_the_following(
    system: System, unique: Unique
) -> None:
    bob = unique("bob")
    api = system.settings.api
    expired = issue(api, bob, now_ms=now_ms() - 7_200_000, lifetime_s=60)
    tokens: Iterator[str] = iter([expired, system.token(bob)])
    with SyncClient(
        system.url, user_id=bob, token=lambda: next(tokens, expired), store=":memory:"
    ) as client:
        with pytest.raises(AuthError):
            client.sync()
        client.sync()
    with (
        SyncClient(system.url, token=expired, user_id=bob, store=":memory:") as client,
        pytest.raises(AuthError),
    ):
        next(iter(client.changes()))
