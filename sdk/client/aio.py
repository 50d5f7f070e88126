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
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from sdk.client.aio_transport import (
    AsyncConnection,
    AsyncHttpTransport,
    AsyncSocketConnection,
    AsyncTransport,
)
from sdk.client.errors import ClientError
from sdk.client.events import ClientEvent, StoreSetAside, Trigger
from sdk.client.local import LocalClient
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.report import SyncReport
from sdk.client.session import Session
from sdk.client.steps import Apply, Close, Load, Note, Now, Open, Rebuild, Send, Step, Wait
from sdk.client.transport import Signal

log = logging.getLogger(__name__)
T = TypeVar("T")

_LOOK_AGAIN_S: Final = 1.0


class AsyncSyncClient(LocalClient):
    """What `async with SyncClient(...)` gives: the same calls, those that wait with `await`."""

    def __init__(self, client: Any, parts: dict[str, Any]) -> None:
        super().__init__(parts["store"], parts["clock"], parts["rng"], parts["lease_ms"])
        self._listeners: tuple[Callable[[ClientEvent], None], ...] = parts["listeners"]
        self._http: AsyncTransport
        self._live: AsyncConnection | None = None
        if parts["transport"] is not None:
            self._http = parts["transport"]
        else:
            http = AsyncHttpTransport(parts["url"], parts["token"], on_token=client.own)
            self._http = http
            if parts["live"]:
                self._live = AsyncSocketConnection(parts["url"], http.tokens)
        self._session: Session = client.session(self._live)
        self._worker = ThreadPoolExecutor(1, "sync-client")
        self._driving = asyncio.Lock()
        self._news = asyncio.Event()
        self._stored = asyncio.Condition()
        self._heard: list[Signal] = []
        self._applied = 0
        self._follower: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

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
            outcome = await self._ask(lambda: self._session.outcome(number))
            if isinstance(outcome, ClientError):
                raise outcome
            if outcome is not None:
                return outcome
            async with self._stored:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stored.wait(), _LOOK_AGAIN_S)

    async def follow(self) -> None:
        """Keep the store up to date from now on, in a task, until the client is closed."""
        if self._follower is None:
            self._broken = None
            await self._ask(self._session.follow)
            self._follower = asyncio.create_task(self._run(), name="sync-client")

    async def changes(self) -> AsyncIterator[PendingEntry | PendingItem]:
        """Follow, and give what there is to process; see `SyncClient.changes`."""
        await self.follow()
        while True:
            seen = self._applied
            claimed: list[Any] = await self._ask(lambda: self.pending(1) or self.pending_items(1))
            if claimed:
                yield claimed[0]
                continue
            if self._broken is not None:
                raise self._broken
            async with self._stored:
                if self._applied == seen:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stored.wait(), _LOOK_AGAIN_S)

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
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
        async with self._driving:
            await self._ask(self._session.stop)
            await self._emit()
            if self._live is not None:
                await self._live.close()
            await self._http.close()
        self._worker.shutdown()

    # Inside.

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, question)

    async def _tell(self, say: Callable[[], None]) -> None:
        await self._ask(say)
        self._news.set()

    async def _run(self) -> None:
        try:
            async with self._driving:
                await self._drive(None)
            self._broken = self._session.failure
        except Exception as error:  # noqa: BLE001 (it is raised where the changes are read)
            self._broken = error
        finally:
            self._follower = None
            async with self._stored:
                self._stored.notify_all()

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
        except BaseException:
            # Not awaited: whoever is cancelled gets no further. The worker does it next.
            self._worker.submit(self._session.abandoned)
            raise
        finally:
            self._news.set()

    def _next(self, heard: list[Signal], until: int | None) -> Step | None:
        session, now = self._session, self._now()
        for signal in heard:
            if signal.poke:
                session.poked()
            else:
                session.lost(now, signal.after_ms)
        if until is not None and session.outcome(until) is not None:
            return None
        step = session.step(now)
        over = until is None and not session.following
        return None if over and isinstance(step, Wait) else step

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
                        await asyncio.wait_for(
                            self._news.wait(), None if ms is None else ms / 1_000
                        )
                case _:
                    await self._ask(lambda: self._touch(step))
                    async with self._stored:
                        self._stored.notify_all()
        except ClientError as error:
            failure = error
            await self._ask(lambda: session.failed(failure, self._now()))

    async def _send(self, send: Send) -> None:
        transport: AsyncTransport = self._http
        if self._session.connected and self._live is not None:
            transport = self._live
        before = transport.traffic
        try:
            answer = await transport.send(send.request)
        except ClientError as error:
            failure, spent = error, transport.traffic.since(before)
            await self._ask(lambda: self._session.failed(failure, self._now(), spent))
            return
        spent = transport.traffic.since(before)
        await self._ask(lambda: self._receive(send.number, answer, spent))

    def _receive(self, number: int, answer: Any, spent: Any) -> None:
        try:
            self._session.received(number, answer, spent, self._now())
        except ClientError as error:
            self._session.failed(error, self._now())

    def _touch(self, step: Step) -> None:
        """Do what concerns the store; in the worker."""
        session, store = self._session, self._store
        match step:
            case Load():
                stored = store.load()
                session.loaded(stored, self._now())
            case Apply(ops):
                applied = store.apply(ops, self._clock())
                self._applied += 1
                session.applied(applied, self._now())
            case Note():
                store.note_verified(self._clock())
                session.noted(self._now())
            case Rebuild():
                aside = store.rebuild(self._clock())
                session.rebuilt(StoreSetAside(aside.path, aside.why, aside.drafts))
            case _:
                raise AssertionError(step)

    def _hear(self, signal: Signal) -> None:
        self._heard.append(signal)
        self._news.set()

    def _now(self) -> Now:
        return Now(time.monotonic_ns() // 1_000_000, self._clock())

    async def _emit(self) -> None:
        for event in await self._ask(self._session.take_events):
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener failed at %s", type(event).__name__)
