"""Drives a session with blocking calls: the shell of `sdk.client.client`.

Any thread may want a sync; one at a time drives, the others wait for it. Who drives does what the
session says until the round it waits for is over; a follower drives until it is told to stop. The
session itself is entered under a lock that is never held over the network or a transaction.

Killed here, at any line: the store is as its last transaction left it, and the next session begins
from it. Stopped by an exception (Ctrl-C, a failing listener): the round is abandoned, likewise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from sdk.client import limits
from sdk.client.errors import ClientError
from sdk.client.events import Trigger
from sdk.client.report import SyncReport
from sdk.client.session import Session
from sdk.client.setup import Setup
from sdk.client.shell import Shell
from sdk.client.steps import Close, Open, Send, Step, Wait
from sdk.client.transport import Connection, Signal, Transport

FOLLOWER_NAME: Final = "sync-client"


class Pump(Shell):
    """A shell with transports. `live` is the connection that pokes, if there is one."""

    def __init__(self, setup: Setup, http: Transport, live: Connection | None) -> None:
        super().__init__(setup)
        self._http = http
        self._owns_http = setup.transport is None
        self._live = live
        # The lock itself is entered, and not the condition: entering that is a function of Python's
        # in which Ctrl-C may come between taking the lock and noting that it is to be given back.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._driving = threading.Lock()
        self._driver: int | None = None
        self._follower: threading.Thread | None = None
        self._broken: BaseException | None = None
        self._closing = False

    def sync(self, *, full: bool, verify: bool) -> SyncReport:
        """Sync, or wait for whoever does what is asked; raises `ClientError`."""
        self._refuse_listeners("sync")
        with self._lock:
            number = self.session.want(Trigger.ASKED, full=full, verify=verify)
            self._changed.notify_all()
        while True:
            self._refuse_closed()
            if self._driving.acquire(blocking=False):
                try:
                    self._drive(number)
                finally:
                    self._let_go()
            with self._lock:
                outcome = self.session.outcome(number)
                if outcome is None:
                    # Not for ever: Ctrl-C elsewhere may have left nobody to tell that it is over.
                    self._changed.wait_for(
                        lambda: self._is_over(number) or self._is_free(), limits.LOOK_AGAIN_S
                    )
                    continue
            if isinstance(outcome, ClientError):
                raise outcome
            return outcome

    def tell(self, say: Callable[[Session], None]) -> None:
        """Tell the session something, and wake who drives."""
        with self._lock:
            say(self.session)
            self._changed.notify_all()

    def follow(self) -> None:
        """Sync from now on whenever there is news, in a thread; again, if the following ended."""
        self._refuse_closed()
        with self._lock:
            if self.session.following:
                return
            self._broken = None
            self.session.follow()
            self._follower = threading.Thread(target=self._run, name=FOLLOWER_NAME, daemon=True)
            self._follower.start()

    @property
    def closing(self) -> bool:
        """Whether the client is closed, or about to be."""
        return self._closing

    def wait_change(self, seen: int, seconds: float) -> None:
        """Wait until something was stored after the transaction `seen`, or the client is closed, at
        most `seconds`. Raises what ended the following, if it ended by itself.
        """
        with self._lock:
            self._changed.wait_for(
                lambda: self.applied != seen or self._closing or self._broken is not None, seconds
            )
        self.check()

    def check(self) -> None:
        """Raise what ended the following, if it ended by itself."""
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """End what is under way after its present step, and close the connections."""
        self._refuse_listeners("close")
        with self._lock:
            self._closing = True
            self.session.unfollow()
            self._changed.notify_all()
        follower = self._follower
        if follower is not None and follower is not threading.current_thread():
            follower.join()
        with self._driving:
            with self._lock:
                self.session.stop()
                self._changed.notify_all()
            if self._live is not None:
                self._live.close()
            if self._owns_http:
                self._http.close()
            self._emit()

    # Inside.

    def _refuse_listeners(self, what: str) -> None:
        """Whoever hears of an event is called by the one who drives, and would wait for himself."""
        if self._driver == threading.get_ident():
            raise RuntimeError(f"a listener cannot call `{what}`: let another thread do it")

    def _refuse_closed(self) -> None:
        if self._closing:
            raise ClientError("the client is closed")

    def _is_over(self, number: int) -> bool:
        return self.session.outcome(number) is not None

    def _is_free(self) -> bool:
        return not self._driving.locked()

    def _let_go(self) -> None:
        self._driving.release()
        with self._lock:
            self._changed.notify_all()

    def _run(self) -> None:
        with self._driving:
            try:
                self._drive(None)
                broken: BaseException | None = self.session.failure
            except BaseException as error:  # noqa: BLE001 (it is raised where the changes are read)
                broken = error
        with self._lock:
            if self._follower is threading.current_thread():  # it was not begun again meanwhile
                self._broken = broken
                self.session.unfollow()
            self._changed.notify_all()

    def _drive(self, until: int | None) -> None:
        """Do what the session says, until a round is over, nobody follows, or the client closes."""
        self._driver = threading.get_ident()
        try:
            while True:
                with self._lock:
                    step = None if self._closing else self.next_step(until)
                    if self._closing:
                        self.session.abandoned()
                if step is None:
                    break
                self._emit()
                self._do(step)
        except BaseException:
            with self._lock:
                self.session.abandoned()
            raise
        finally:
            self._emit()
            self._driver = None

    def _do(self, step: Step) -> None:
        try:
            tell = self._done(step)
            with self._lock:
                tell()
                self._changed.notify_all()
        except ClientError as error:
            with self._lock:
                self.session.failed(error, self.now())
                self._changed.notify_all()

    def _done(self, step: Step) -> Callable[[], None]:
        """Do a step; what to tell the session then."""
        match step:
            case Send():
                return self._send(step)
            case Open():
                assert self._live is not None
                self._live.open(self._heard)
                return self.session.opened
            case Close():
                if self._live is not None:
                    self._live.close()
                return self.session.closed
            case Wait(ms):
                self._rest(ms)
                return lambda: None
        return self.touch(step)

    def _send(self, send: Send) -> Callable[[], None]:
        transport = self._live if self.session.connected and self._live else self._http
        before = transport.traffic
        try:
            answer = transport.send(send.request)
        except ClientError as error:
            failure, spent = error, transport.traffic.since(before)
            return lambda: self.session.failed(failure, self.now(), spent)
        spent = transport.traffic.since(before)
        return lambda: self.session.received(send.number, answer, spent, self.now())

    def _rest(self, ms: int | None) -> None:
        with self._lock:
            if self.session.has_news:
                return
            self._changed.wait(None if ms is None else ms / 1_000)

    def _heard(self, signal: Signal) -> None:
        """Take what the connection says by itself; called by its own thread."""
        with self._lock:
            self.hear(signal)
            self._changed.notify_all()

    def _emit(self) -> None:
        with self._lock:
            events = self.session.take_events()
        self.announce(events)
