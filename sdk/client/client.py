"""The client that an app embeds, with blocking calls; `async with` gives the other one.

    with SyncClient("https://im.example", token=token, store="im.db") as client:
        client.sync()
        for view in client.conversations(limit=20):
            print(view.conversation_id, view.unread)
        for change in client.changes():
            with client.processing(change):
                pull_messages(change.conversation_id)

No decision about a sync is made here; those are in `sdk.client.session`. All methods may be called
from any thread; reading the list does not wait for a sync that waits for the network.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, cast

from schemas import limits as contract
from sdk.client import limits
from sdk.client.errors import StoreError
from sdk.client.events import ClientEvent
from sdk.client.local import LocalClient, check_length, check_range
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.pump import Pump
from sdk.client.report import SyncReport
from sdk.client.session import Session
from sdk.client.setup import Setup
from sdk.client.sockets import SocketConnection
from sdk.client.steps import Options
from sdk.client.store import Store
from sdk.client.tokens import TokenSource, user_of
from sdk.client.transport import HttpTransport, Transport
from sdk.client.wire import check_url

if TYPE_CHECKING:
    import ssl

    from sdk.client.aio import AsyncSyncClient


def wall_clock_ms() -> int:
    """Milliseconds since 1970 by the clock of the device."""
    return time.time_ns() // 1_000_000


class SyncClient(LocalClient):
    """The conversations of one user on one device.

    `token` is the bearer token, or a function that gives one: it is called for the first request
    and whenever the server refuses the one it gave. `ca_file` has the certificates, in PEM, of the
    only authorities that may vouch for the server, in place of those that are trusted otherwise.
    `store` is a file, made when absent, of this user only, or `:memory:`. `user_id` is needed only
    if the token is no JSON Web Token with a `sub`; `device_id` is drawn and kept in the store if it
    is not given.

    `live` says how `changes` and `follow` hear of news: `websocket`, over `/v1/connect`, or `poll`,
    by asking every `poll_s` seconds (which the other does, too, for conversations that do not
    poke). `verify_every_s` is how often a sync compares all that is held with the server's, 0:
    never. `lease_s` is how long an entry that was handed out is yours. `page_max`, `changes_max`
    and `bytes_max` bound one answer.

    `on_event` is called with everything of `sdk.client.events`. `transport` replaces HTTP (then
    `url` and `token` are not used, and closing it is the caller's); `clock` gives milliseconds
    since 1970, `rng` the jitter.

    Raises `StoreOwnerError` when the store is another user's, and other `StoreError`s. A damaged
    store is no error: it is set aside and a new one begun, see `StoreSetAside`.

    >>> with SyncClient(url, token=token, store="im.db") as client:
    ...     report = client.sync()
    ...     for view in client.conversations(limit=20):
    ...         print(view.conversation_id, view.unread)
    sg_hikers 3
    si_ann_bob 0
    >>> report.path, report.reason, report.entries
    ('full', 'fresh', 2)
    """

    def __init__(  # noqa: PLR0913 (one name for each thing an app may choose; all but one by name)
        self,
        url: str = "",
        *,
        token: TokenSource = "",
        ca_file: str | os.PathLike[str] | None = None,
        store: str | os.PathLike[str] = "im.db",
        user_id: str | None = None,
        device_id: str | None = None,
        live: Literal["websocket", "poll"] = "websocket",
        poll_s: float = limits.POLL_MS_DEFAULT / 1_000,
        verify_every_s: float = limits.VERIFY_EVERY_MS_DEFAULT / 1_000,
        lease_s: float = limits.LEASE_MS_DEFAULT / 1_000,
        changes_max: int = contract.CHANGES_PER_ANSWER_DEFAULT,
        page_max: int = contract.CONVERSATIONS_PER_PAGE_DEFAULT,
        bytes_max: int = contract.ANSWER_BYTES_DEFAULT,
        on_event: Callable[[ClientEvent], None] | None = None,
        transport: Transport | None = None,
        clock: Callable[[], int] = wall_clock_ms,
        rng: random.Random | None = None,
    ) -> None:
        if user_id is None and isinstance(token, str):
            user_id = user_of(token)
        if user_id is not None:
            check_length("user_id", user_id, contract.USER_ID_CHARS_MAX)
        if device_id is not None:
            check_length("device_id", device_id, contract.DEVICE_ID_CHARS_MAX)
        check_range("changes_max", changes_max, contract.CHANGES_PER_ANSWER_MAX)
        check_range("page_max", page_max, contract.CONVERSATIONS_PER_PAGE_MAX)
        least, most = contract.ANSWER_BYTES_MIN, contract.ANSWER_BYTES_MAX
        check_range("bytes_max", bytes_max, most, least=least)
        check_range("poll_s", poll_s, limits.POLL_S_MAX)
        check_range("verify_every_s", verify_every_s, limits.VERIFY_EVERY_S_MAX, least=0)
        check_range("lease_s", lease_s, limits.LEASE_MS_MAX / 1_000, least=0)
        if transport is None:
            check_url(url)
        tls = None if ca_file is None else _tls(url, ca_file)
        drawn = rng or random.Random()  # noqa: S311 (spreads retries, keeps no secret)
        opened = Store(store, user_id, device_id, now_ms=clock())
        chosen = Options(
            live=transport is None and live == "websocket",
            changes_max=changes_max,
            page_max=page_max,
            bytes_max=bytes_max,
            poll_ms=int(poll_s * 1_000),
            verify_every_ms=int(verify_every_s * 1_000),
        )
        listeners = (on_event,) if on_event is not None else ()
        setup = Setup(
            *(opened, chosen, int(lease_s * 1_000), clock, drawn, listeners),
            *(url, token, transport, tls),
        )
        super().__init__(setup)
        self._pump = _pump_of(setup)
        self._closed = False
        if opened.set_aside is not None:
            self._pump.announce([opened.set_aside])

    # Beginning and end.

    def __enter__(self) -> Self:
        """Use the client; it is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    async def __aenter__(self) -> AsyncSyncClient:
        """Use the client with `await`; it is closed at the end of the block."""
        from sdk.client.aio import AsyncSyncClient

        self._other = AsyncSyncClient(self._setup)
        return self._other

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        try:
            await self._other.aclose()
        finally:
            self.close()

    def close(self) -> None:
        """Close store and connection, after a sync that is under way. Nothing is left to save."""
        if self._closed:
            return
        try:
            self._pump.stop()
        finally:
            self._store.close()
        self._closed = True

    # Syncing.

    def sync(self, *, full: bool = False, verify: bool = False) -> SyncReport:
        """Bring the store up to date; calls at the same time share what is done.

        `verify` compares all that is held with what the server has, and corrects what differs: for
        a list that looks wrong. It reads every conversation, and costs 16 bytes if nothing differs.
        `full` asks for everything anew, and is the consent to do so however short a while ago that
        was done. Raises `ClientError`: what answers brought before it is stored, and the next call
        continues there.

        >>> client.sync().path
        'nothing'
        >>> client.sync(verify=True).round_trips
        1
        """
        return self._pump.sync(full=full, verify=verify)

    def follow(self) -> None:
        """Keep the store up to date from now on, in a thread, until the client is closed."""
        self._pump.follow()

    def check(self) -> None:
        """Raise what ended the following, if it ended by itself."""
        self._pump.check()

    def changes(self) -> Iterator[PendingEntry | PendingItem]:
        """Follow, and give what there is to process, one after the other, for ever.

        Each is claimed as by `pending`, when it is given: give it to `ack` or `retry`, or use
        `processing`. Conversations come first. The iterator ends when the client is closed, and
        raises what ends the following: a token that is not accepted, a store that cannot be
        written, whatever the app's own token function raises, but for an `OSError`, which counts as
        a network that is away. Losing the network ends nothing.

        >>> for change in client.changes():
        ...     with client.processing(change):
        ...         pull_messages(change.conversation_id)
        ...     break  # or go on for ever
        pulled sg_hikers
        """
        pump = self._pump
        pump.follow()
        while not pump.closing:
            seen = pump.applied
            try:
                claimed, sleep_s = self._claim_one()
            except StoreError:
                if pump.closing:
                    return
                raise
            if claimed is not None:
                yield claimed
            else:
                pump.wait_change(seen, sleep_s)

    def foreground(self) -> None:
        """Say that the app is seen again: whoever follows syncs now."""
        self._pump.tell(Session.foreground)

    def background(self) -> None:
        """Say that the app is no longer seen: the connection is closed, `sync` still works."""
        self._pump.tell(Session.background)

    def network_changed(self) -> None:
        """Say that the device has another network, or one again: no pause is waited for."""
        self._pump.tell(Session.network_changed)


def _tls(url: str, ca_file: str | os.PathLike[str]) -> ssl.SSLContext:
    from sdk.client.tls import context_of  # its import takes 20 ms, and few need it here

    return context_of(url, ca_file)


def _pump_of(setup: Setup) -> Pump:
    if setup.transport is not None:
        return Pump(setup, cast("Transport", setup.transport), None)
    http = HttpTransport(setup.url, setup.token, on_token=setup.own, tls=setup.tls)
    live = None
    if setup.options.live:
        live = SocketConnection(setup.url, http.tokens, tls=setup.tls)
    return Pump(setup, http, live)
