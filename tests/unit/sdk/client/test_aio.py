"""The client for asyncio: the same promises, with `await`, and cancellation at any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import (
    AuthError,
    ClientError,
    NetworkError,
    Signal,
    StoreError,
    SyncClient,
)
from sdk.client.aio import AsyncSyncClient
from sdk.client.events import ClientEvent, State, SyncFinished
from sdk.client.tokens import AsyncTokens, Tokens
from sdk.client.traffic import Traffic
from tests.unit.sdk.client.support import T0, ModelServer


class Away:
    """The model server behind an `await`: `gate` holds answers back after they were made."""

    def __init__(self) -> None:
        self.server = ModelServer()
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.sends = 0
        self.closed = False

    @property
    def traffic(self) -> Traffic:
        return self.server.traffic

    async def send(self, request: SyncRequest) -> SyncResponse:
        self.sends += 1
        answer = self.server.send(request)
        self.begun.set()
        await self.gate.wait()
        return answer

    async def close(self) -> None:
        self.closed = True


def client(away: Away, **options: Any) -> SyncClient:
    options = {"store": ":memory:", "clock": lambda: T0, **options}
    return SyncClient(user_id="u1", device_id="phone", transport=away, **options)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


async def until(true: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


def test_it_does_what_the_blocking_one_does() -> None:
    async def main() -> None:
        away = Away()
        for number in range(7):
            away.server.change(f"sg_{number}", number + 1)
        async with client(away, page_max=2) as c:
            report = await c.sync()
            assert (report.path, report.total) == ("full", 7)
            assert c.state() == away.server.states
            assert (await c.sync()).path == "nothing"
            assert (await c.sync(verify=True)).path == "nothing"
            seen = set()
            async for change in c.changes():
                with c.processing(change):
                    seen.add(getattr(change, "conversation_id", None))
                if len(seen) == 8:  # the conversations, and what asks to fetch the modules
                    break
            assert seen == {None, *away.server.states}
            assert not c.pending()
        assert not away.closed, "who brings a transport closes it"

    run(main())


def test_calls_at_the_same_time_share_what_is_done() -> None:
    async def main() -> None:
        away = Away()
        away.server.change("sg_1", 1)
        async with client(away) as c:
            away.gate.clear()
            first = asyncio.create_task(c.sync())
            await away.begun.wait()
            others = [asyncio.create_task(c.sync()) for _ in range(9)]
            await asyncio.sleep(0)
            away.gate.set()
            await asyncio.gather(first, *others)
            assert away.sends == 2, "one under way, and one for all who asked meanwhile"

    run(main())


def test_cancelled_while_it_waits_for_an_answer() -> None:
    async def main() -> None:
        away = Away()
        for number in range(7):
            away.server.change(f"sg_{number}", 1)
        async with client(away, page_max=2) as c:
            for _ in range(3):
                away.gate.clear()
                away.begun.clear()
                task = asyncio.create_task(c.sync())
                await away.begun.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                away.gate.set()
            assert c.state() == {}, "no answer came"
            await c.sync()
            assert c.state() == away.server.states

    run(main())


@pytest.mark.parametrize("turns", range(0, 60, 3))
def test_cancelled_at_any_await(turns: int) -> None:
    async def main() -> None:
        away = Away()
        for number in range(9):
            away.server.change(f"sg_{number}", 1)
        async with client(away, page_max=2) as c:
            task = asyncio.create_task(c.sync())
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            held = c.state()
            assert held.items() <= away.server.states.items()
            await c.sync()
            assert c.state() == away.server.states
            assert {one.conversation_id for one in c.pending(100)} == set(away.server.states)

    run(main())


def test_an_error_is_raised_and_the_next_call_goes_on() -> None:
    async def main() -> None:
        away = Away()
        away.server.change("sg_1", 1)
        events: list[ClientEvent] = []

        def fault(_: SyncRequest) -> None:
            raise NetworkError("cut")

        def listener(event: ClientEvent) -> None:
            events.append(event)
            raise RuntimeError("a listener's own")

        async with client(away, on_event=listener) as c:
            away.server.fault = fault
            with pytest.raises(NetworkError, match="cut"):
                await c.sync()
            away.server.fault = lambda _: None
            await c.sync()
            assert c.state() == away.server.states
        assert any(isinstance(one, SyncFinished) for one in events)

    run(main())


def test_what_ends_the_following_is_raised_by_the_iterator() -> None:
    async def main() -> None:
        away = Away()

        def refuse(_: SyncRequest) -> None:
            raise AuthError("no")

        async with client(away) as c:
            away.server.fault = refuse
            with pytest.raises(AuthError):
                await anext(aiter(c.changes()))
            away.server.fault = lambda _: None
            away.server.change("sg_1", 1)
            assert (await c.sync()).entries == 1

    run(main())


def test_the_app_is_told_of_a_change_while_it_waits() -> None:
    async def main() -> None:
        away = Away()
        async with client(away, poll_s=3_600) as c:
            changes = aiter(c.changes())
            refresh = await anext(changes)
            c.ack(refresh)
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            away.server.change("sg_1", 1)
            await c.sync()
            found = await waiting
            assert getattr(found, "conversation_id", None) == "sg_1"
            await c.background()
            await c.foreground()
            await c.network_changed()

    run(main())


def test_a_token_may_come_from_a_coroutine() -> None:
    async def given() -> str:
        await asyncio.sleep(0)
        return "abc"

    told: list[str] = []

    async def main() -> None:
        tokens = AsyncTokens(given, told.append)
        assert await tokens.present() == ("abc", True)
        assert await tokens.present() == ("abc", False)
        assert tokens.refused()
        assert await tokens.present() == ("abc", True)

    run(main())
    assert told == ["abc", "abc"]
    with pytest.raises(TypeError, match="use `async with"):
        Tokens(given, told.append).present()


# What a review of the shells found.


@pytest.mark.parametrize("full", [False, True])
def test_who_shares_a_round_whose_driver_is_cancelled_gets_what_was_asked(full: bool) -> None:
    async def main() -> None:
        away = Away()
        away.server.change("sg_1", 1)
        async with client(away) as c:
            await c.sync()
            away.gate.clear()
            away.begun.clear()
            driver = asyncio.create_task(c.sync())
            other = asyncio.create_task(c.sync(full=full))
            await away.begun.wait()
            driver.cancel()
            await asyncio.gather(driver, return_exceptions=True)
            away.gate.set()
            report = await asyncio.wait_for(other, 10)
            assert report.path == ("full" if full else "nothing")

    run(main())


def test_two_that_begin_to_follow_at_once_follow_once() -> None:
    async def main() -> None:
        away = Away()
        away.server.change("sg_1", 1)
        async with client(away) as c:
            changes = [c.changes(), c.changes()]
            first = await asyncio.wait(
                [asyncio.ensure_future(anext(one)) for one in changes],
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert first[0]
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert names.count("sync-client") == 1
        await asyncio.gather(*first[1], return_exceptions=True)

    run(main())


@pytest.mark.parametrize("turns", range(4))
def test_closing_is_heard_beside_news(turns: int) -> None:
    async def main() -> None:
        away = Away()
        async with client(away, poll_s=3_600) as c:
            await c.follow()
            await until(lambda: c._session.state is State.LIVE)
            await asyncio.sleep(0.05)
            c._hear(Signal(poke=True))
            for _ in range(turns):
                await asyncio.sleep(0)

    run(main())


def test_a_client_that_is_closed_says_so_and_its_changes_end() -> None:
    async def main() -> None:
        away = Away()
        away.server.change("sg_1", 1)
        made = client(away)

        async def eat(c: AsyncSyncClient) -> None:
            async for change in c.changes():
                c.ack(change)

        async with made as c:
            eating = asyncio.create_task(eat(c))
            await until(lambda: c._session.state is State.LIVE and not c.pending_count())
            await c.aclose()
            await c.aclose()
            for call in (c.sync, c.follow, c.background):
                with pytest.raises(ClientError, match="closed"):
                    await call()
        await asyncio.wait_for(eating, 10)
        with pytest.raises(StoreError, match="closed"):
            made.conversations()

    run(main())


def test_following_can_begin_again_after_what_ended_it() -> None:
    async def main() -> None:
        away = Away()
        away.server.change("sg_1", 1)
        broken = [ZeroDivisionError("a bug of the app's transport")]

        def fail_once(_: object) -> None:
            if broken:
                raise broken.pop()

        away.server.fault = fail_once
        async with client(away) as c:
            with pytest.raises(ZeroDivisionError):
                await anext(c.changes())
            assert (await anext(c.changes())).version >= 0

    run(main())
