"""Drives a session with blocking calls: the shell of `sdk.client.client`.

Any thread may want a sync; one at a time drives, the others wait for it. Who drives does what the
session says until the round it waits for is over; a follower drives until it is told to stop. The
session itself is entered under a lock that is never held over the network or a transaction.

Killed here, at any line: the store is as its last transaction left it, and the next session begins
from it. Stopped by an exception (Ctrl-C, a failing listener): the round is abandoned, likewise.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from sdk.client.errors import ClientError
from sdk.client.events import ClientEvent, StoreSetAside, Trigger
from sdk.client.report import SyncReport
from sdk.client.session import Session
from sdk.client.steps import Apply, Close, Load, Note, Now, Open, Rebuild, Send, Step, Wait
from sdk.client.store import Store
from sdk.client.transport import Connection, Signal, Transport

log = logging.getLogger(__name__)

FOLLOWER_NAME: Final = "sync-client"


class Pump:
    """Joins session, store and transports. `live` is the connection that pokes, if there is one."""

    def __init__(
        self,
        session: Session,
        store: Store,
        http: Transport,
        live: Connection | None,
        wall_ms: Callable[[], int],
        listeners: tuple[Callable[[ClientEvent], None], ...],
    ) -> None:
        self._session = session
        self._store = store
        self._http = http
        self._live = live
        self._wall_ms = wall_ms
        self._listeners = listeners
        self._changed = threading.Condition()
        self._driving = threading.Lock()
        self._follower: threading.Thread | None = None
        self._broken: BaseException | None = None
        self.applied = 0
        """Transactions until now: who waits for changes looks whether it moved."""

    def sync(self, *, full: bool, verify: bool) -> SyncReport:
        """Sync, or wait for whoever does what is asked; raises `ClientError`."""
        with self._changed:
            number = self._session.want(Trigger.ASKED, full=full, verify=verify)
            self._changed.notify_all()
        while True:
            if self._driving.acquire(blocking=False):
                try:
                    self._drive(number)
                finally:
                    self._let_go()
            with self._changed:
                outcome = self._session.outcome(number)
                if outcome is None:
                    self._changed.wait_for(lambda: self._is_over(number) or self._is_free())
                    continue
            if isinstance(outcome, ClientError):
                raise outcome
            return outcome

    def tell(self, say: Callable[[Session], None]) -> None:
        """Tell the session something, and wake who drives."""
        with self._changed:
            say(self._session)
            self._changed.notify_all()

    def follow(self) -> None:
        """Sync from now on whenever there is news, in a thread."""
        with self._changed:
            if self._session.following:
                return
            self._broken = None
            self._session.follow()
            self._follower = threading.Thread(target=self._run, name=FOLLOWER_NAME, daemon=True)
            self._follower.start()

    def wait_change(self, seen: int, seconds: float) -> None:
        """Wait until something was stored after the transaction `seen`, at most `seconds`.

        Raises what ended the following, if it ended by itself.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.applied != seen or not self._session.following, seconds
            )
        self.check()

    def check(self) -> None:
        """Raise what ended the following, if it ended by itself."""
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """End what is under way after its present step, and close the connection."""
        with self._changed:
            self._session.unfollow()
            self._changed.notify_all()
        follower = self._follower
        if follower is not None and follower is not threading.current_thread():
            follower.join()
        with self._driving:
            self._session.stop()
            if self._live is not None:
                self._live.close()
            self._emit()

    def close_http(self) -> None:
        """Let go of the connections of requests."""
        self._http.close()

    # Inside.

    def _is_over(self, number: int) -> bool:
        return self._session.outcome(number) is not None

    def _is_free(self) -> bool:
        return not self._driving.locked()

    def _let_go(self) -> None:
        self._driving.release()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        with self._driving:
            try:
                self._drive(None)
            except BaseException as error:  # noqa: BLE001 (it is raised where the changes are read)
                self._broken = error
        with self._changed:
            outcome = self._session.failure
            if self._broken is None and outcome is not None:
                self._broken = outcome
            self._changed.notify_all()

    def _drive(self, until: int | None) -> None:
        """Do what the session says, until a round is over, or nobody follows."""
        try:
            while True:
                with self._changed:
                    if until is not None and self._is_over(until):
                        break
                    step = self._session.step(self._now())
                    over = until is None and not self._session.following
                    if over and isinstance(step, Wait):
                        break
                self._emit()
                self._do(step)
        except BaseException:
            with self._changed:
                self._session.abandoned()
            raise
        finally:
            self._emit()

    def _do(self, step: Step) -> None:
        try:
            tell = self._done(step)
            with self._changed:
                tell()
                self._changed.notify_all()
        except ClientError as error:
            with self._changed:
                self._session.failed(error, self._now())
                self._changed.notify_all()

    def _done(self, step: Step) -> Callable[[], None]:  # noqa: PLR0911 (one for each step)
        """Do a step; what to tell the session then."""
        session, now = self._session, self._now
        match step:
            case Load():
                stored = self._store.load()
                return lambda: session.loaded(stored, now())
            case Send(number, request):
                return self._send(Send(number, request))
            case Apply(ops):
                applied = self._store.apply(ops, self._wall_ms())
                self.applied += 1
                return lambda: session.applied(applied, now())
            case Note():
                self._store.note_verified(self._wall_ms())
                return lambda: session.noted(now())
            case Rebuild():
                aside = self._store.rebuild(self._wall_ms())
                return lambda: session.rebuilt(StoreSetAside(aside.path, aside.why, aside.drafts))
            case Open():
                assert self._live is not None
                self._live.open(self._heard)
                return session.opened
            case Close():
                if self._live is not None:
                    self._live.close()
                return session.closed
            case Wait(ms):
                self._rest(ms)
        return lambda: None

    def _send(self, send: Send) -> Callable[[], None]:
        transport = self._live if self._session.connected and self._live else self._http
        before = transport.traffic
        try:
            answer = transport.send(send.request)
        except ClientError as error:
            failure, spent = error, transport.traffic.since(before)
            return lambda: self._session.failed(failure, self._now(), spent)
        spent = transport.traffic.since(before)
        return lambda: self._session.received(send.number, answer, spent, self._now())

    def _rest(self, ms: int | None) -> None:
        with self._changed:
            if self._session.has_news:
                return
            self._changed.wait(None if ms is None else ms / 1_000)

    def _heard(self, signal: Signal) -> None:
        """Take what the connection says by itself; called by its own thread."""
        with self._changed:
            if signal.poke:
                self._session.poked()
            else:
                self._session.lost(self._now(), signal.after_ms)
            self._changed.notify_all()

    def _now(self) -> Now:
        return Now(time.monotonic_ns() // 1_000_000, self._wall_ms())

    def _emit(self) -> None:
        with self._changed:
            events = self._session.take_events()
        for event in events:
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener failed at %s", type(event).__name__)
