"""The client for asyncio: `async with SyncClient(...) as client`.

The same session and the same store as the blocking client; only who waits is another one. What
touches session or store runs in one worker thread, one call after the other: a page of five hundred
rows, or the digest of fifty thousand, must not hold up the loop. Requests are made by the loop.

Cancelled at any `await`: a transaction under way in the worker ends as it would have; what came or
was to be sent is forgotten, and the next round begins from the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from sdk.client import limits
from sdk.client.aio_transport import (
    AsyncConnection,
    AsyncHttpTransport,
    AsyncSocketConnection,
    AsyncTransport,
)
from sdk.client.errors import ClientError
from sdk.client.events import Trigger
from sdk.client.local import LocalClient
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.report import SyncReport
from sdk.client.setup import Setup
from sdk.client.shell import Shell
from sdk.client.steps import Close, Open, Send, Step, Wait
from sdk.client.transport import Signal

T = TypeVar("T")


class AsyncSyncClient(LocalClient):
    """What `async with SyncClient(...)` gives: the same calls, those that wait with `await`.

    >>> async def main():
    ...     async with SyncClient(url, token=token, store="im.db") as client:
    ...         await client.sync()
    ...         print(client.unread_total(), "unread")
    ...         async for change in client.changes():
    ...             with client.processing(change):
    ...                 pull_messages(change.conversation_id)
    ...             break  # or go on for ever
    >>> asyncio.run(main())
    3 unread
    pulled sg_hikers
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._http: AsyncTransport
        self._live: AsyncConnection | None = None
        if setup.transport is not None:
            self._http = cast("AsyncTransport", setup.transport)
        else:
            http = AsyncHttpTransport(setup.url, setup.token, on_token=setup.own, tls=setup.tls)
            self._http = http
            if setup.options.live:
                self._live = AsyncSocketConnection(setup.url, http.tokens, tls=setup.tls)
        self._shell = Shell(setup)
        self._session = self._shell.session
        self._worker = ThreadPoolExecutor(1, "sync-client")
        self._driving = asyncio.Lock()
        self._news = asyncio.Event()
        self._stored = asyncio.Condition()
        self._heard: list[Signal] = []
        self._follower: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._closing = False

    async def sync(self, *, full: bool = False, verify: bool = False) -> SyncReport:
        """Bring the store up to date; see `SyncClient.sync`."""
        number = await self._ask(
            lambda: self._session.want(Trigger.ASKED, full=full, verify=verify)
        )
        self._news.set()
        while True:
            if self._follower is None:
                async with self._driving:
                    await self._drive(number)
            async with self._stored:
                # Inside: what is told between the look and the wait is heard.
                outcome = await self._ask(lambda: self._session.outcome(number))
                if isinstance(outcome, ClientError):
                    raise outcome
                if outcome is not None:
                    return outcome
                if self._follower is not None:
                    await self._wait_stored(limits.LOOK_AGAIN_S)

    async def follow(self) -> None:
        """Keep the store up to date from now on, in a task, until the client is closed."""
        self._refuse_closed()
        if self._follower is None:  # no `await` from here on, or another could come between
            self._broken = None
            self._follower = asyncio.create_task(self._run(), name="sync-client")

    async def changes(self) -> AsyncIterator[PendingEntry | PendingItem]:
        """Follow, and give what there is to process; see `SyncClient.changes`."""
        await self.follow()
        while not self._closing:
            seen = self._shell.applied
            try:
                claimed, sleep_s = await self._ask(self._claim_one)
            except ClientError:
                if self._closing:
                    return
                raise
            if claimed is not None:
                yield claimed
                continue
            async with self._stored:
                if self._shell.applied == seen and self._broken is None and not self._closing:
                    await self._wait_stored(sleep_s)
            if self._broken is not None:
                raise self._broken

    async def foreground(self) -> None:
        """Say that the app is seen again: whoever follows syncs now."""
        await self._tell(self._session.foreground)

    async def background(self) -> None:
        """Say that the app is no longer seen: the connection is closed, `sync` still works."""
        await self._tell(self._session.background)

    async def network_changed(self) -> None:
        """Say that the device has another network, or one again: no pause is waited for."""
        await self._tell(self._session.network_changed)

    async def aclose(self) -> None:
        """End what is under way, and close the connections. The store is closed by who made it."""
        if self._closing:
            return
        self._closing = True
        follower = self._follower
        if follower is not None:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
        await self._notify()
        async with self._driving:
            await self._ask(self._session.stop, closing=True)
            await self._emit()
            if self._live is not None:
                await self._live.close()
            if self._setup.transport is None:
                await self._http.close()
        await self._notify()
        self._worker.shutdown()

    # Inside.

    async def _ask(self, question: Callable[[], T], *, closing: bool = False) -> T:
        if not closing:
            self._refuse_closed()
        return await asyncio.get_running_loop().run_in_executor(self._worker, question)

    def _refuse_closed(self) -> None:
        if self._closing:
            raise ClientError("the client is closed")

    async def _wait_stored(self, seconds: float) -> None:
        # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes with the news.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stored.wait()

    async def _notify(self) -> None:
        async with self._stored:
            self._stored.notify_all()

    async def _tell(self, say: Callable[[], None]) -> None:
        await self._ask(say)
        self._news.set()

    async def _run(self) -> None:
        try:
            await self._tell(self._session.follow)
            async with self._driving:
                await self._drive(None)
            self._broken = self._session.failure
        except Exception as error:  # noqa: BLE001 (it is raised where the changes are read)
            self._broken = error
        finally:
            self._follower = None
            await self._notify()

    async def _drive(self, until: int | None) -> None:
        try:
            while True:
                heard, self._heard = self._heard, []
                self._news.clear()
                step = await self._ask(lambda heard=heard: self._next(heard, until))  # type: ignore[misc]
                await self._emit()
                if step is None:
                    return
                await self._do(step)
                await self._notify()
        except BaseException:
            # Not awaited: whoever is cancelled gets no further. The worker does it next; `aclose`
            # does it for a client that is closed.
            if not self._closing:
                self._worker.submit(self._session.abandoned)
            raise
        finally:
            self._news.set()

    def _next(self, heard: list[Signal], until: int | None) -> Step | None:
        for signal in heard:
            self._shell.hear(signal)
        return self._shell.next_step(until)

    async def _do(self, step: Step) -> None:
        session = self._session
        try:
            match step:
                case Open():
                    assert self._live is not None
                    await self._live.open(self._hear)
                    await self._ask(session.opened)
                case Close():
                    if self._live is not None:
                        await self._live.close()
                    await self._ask(session.closed)
                case Send():
                    await self._send(step)
                case Wait(ms):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(None if ms is None else ms / 1_000):
                            await self._news.wait()
                case _:
                    await self._ask(lambda: self._touch(step))
        except ClientError as error:
            failure = error
            await self._ask(lambda: session.failed(failure, self._shell.now()))

    def _touch(self, step: Step) -> None:
        self._shell.touch(step)()

    async def _send(self, send: Send) -> None:
        session, now = self._session, self._shell.now
        transport: AsyncTransport = self._http
        if session.connected and self._live is not None:
            transport = self._live
        before = transport.traffic
        try:
            answer = await transport.send(send.request)
        except ClientError as error:
            failure, spent = error, transport.traffic.since(before)
            await self._ask(lambda: session.failed(failure, now(), spent))
            return
        spent = transport.traffic.since(before)
        await self._ask(lambda: session.received(send.number, answer, spent, now()))

    def _hear(self, signal: Signal) -> None:
        self._heard.append(signal)
        self._news.set()

    async def _emit(self) -> None:
        self._shell.announce(await self._ask(self._session.take_events, closing=True))
