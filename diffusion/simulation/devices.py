"""A device: the real session and store of the SDK, an app that works off the queue, and a network.

It dies between any two steps. Inside of a transaction SQLite takes all of it back, so that dying
there is dying before; the SDK's own tests kill it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from diffusion.simulation.api import Network
from diffusion.simulation.fate import Fate
from diffusion.simulation.processes import Died
from schemas.conversations import ConversationState
from schemas.protocol import SyncResponse
from sdk.client.errors import ClientError
from sdk.client.events import Trigger
from sdk.client.limits import FULL_EVERY_MS
from sdk.client.ops import StoreOps
from sdk.client.report import SyncReport
from sdk.client.session import Session
from sdk.client.steps import Apply, Close, Load, Note, Now, Open, Options, Rebuild, Send, Step, Wait
from sdk.client.store import Store
from sdk.client.traffic import Traffic

SPENT: Final = Traffic(1, 1, 1)
DIES_SHARE: Final = 0.01
AGAIN_SHARE: Final = 0.05
"""Answers that come once more, after others."""

AGAIN_S: Final = 60.0
STEPS_MAX: Final = 600
ROUNDS_MAX: Final = 60
CLAIMED_MAX: Final = 3


class Watch(Protocol):
    """Whoever looks at what a device does."""

    def before_apply(self, device: Device, ops: StoreOps) -> None:
        """A transaction is about to be done."""

    def after_apply(self, device: Device, ops: StoreOps) -> None:
        """It was done."""


class Device:
    """One device of one user. `app`: what the app has processed, by conversation."""

    def __init__(
        self,
        user_id: str,
        device_id: str,
        fate: Fate,
        clock: Callable[[], int],
        options: Options,
        network: Network,
        watch: Watch,
    ) -> None:
        self.user_id = user_id
        self.device_id = device_id
        self.fate = fate
        self.app: dict[str, int] = {}
        self.store = Store(":memory:", user_id, device_id, now_ms=clock())
        self._clock = clock
        self._options = options
        self._network = network
        self._watch = watch
        self.session = self._begun()

    def _begun(self) -> Session:
        rng = self.fate.rng
        return Session(self.device_id, self._options, states=self.store.states, jitter=rng.random)

    @property
    def now(self) -> Now:
        """The time, by both clocks."""
        return Now(int(asyncio.get_running_loop().time() * 1_000), self._clock())

    def states(self) -> dict[str, ConversationState]:
        """What it holds, by conversation."""
        return {state.conversation_id: state for state in self.store.states()}

    async def live(self, pause_s: Callable[[], float]) -> None:
        """Sync now and then, process what is pending, and die now and then."""
        while True:
            await asyncio.sleep(pause_s())
            try:
                await self.round(verify=self.fate.happens(0.1), full=self.fate.happens(0.02))
                self._work()
            except Died:
                self.session = self._begun()

    async def round(self, *, verify: bool = False, full: bool = False) -> SyncReport | ClientError:
        """Sync once, to its end."""
        session = self.session
        number = session.want(Trigger.ASKED, verify=verify, full=full)
        for _ in range(STEPS_MAX):
            step = session.step(self.now)
            session.take_events()
            outcome = session.outcome(number)
            if outcome is not None and isinstance(step, Wait):
                return outcome
            if self.fate.happens(DIES_SHARE):
                raise Died
            await self._do(step)
        raise AssertionError("a round that never ends")

    async def until_nothing_new(self) -> bool:
        """Sync until the server says that nothing is new, and let the app process all of it. False
        if that does not come.
        """
        for _ in range(ROUNDS_MAX):
            try:
                outcome = await self.round()
            except Died:  # only of what was planted
                self.session = self._begun()
                continue
            if isinstance(outcome, SyncReport) and outcome.path == "nothing":
                break
            # A full correction may have been put off, because there was one not long ago.
            put_off = isinstance(outcome, SyncReport) and outcome.put_off
            await asyncio.sleep(FULL_EVERY_MS / 1_000 + 1 if put_off else 5.0)
        else:
            return False
        while entries := self.store.pending(CLAIMED_MAX, self._clock() + 10**9):
            for entry in entries:
                self._process(entry.conversation_id)
                assert self.store.ack(entry)
        return True

    async def _do(self, step: Step) -> None:
        session, store = self.session, self.store
        try:
            match step:
                case Load():
                    session.loaded(store.load(), self.now)
                case Send():
                    await self._send(step)
                case Apply(ops):
                    self._watch.before_apply(self, ops)
                    applied = store.apply(ops, self._clock())
                    self._watch.after_apply(self, ops)
                    session.applied(applied, self.now)
                case Note():
                    store.note_verified(self._clock())
                    session.noted(self.now)
                case Close():
                    session.closed()
                case Wait(ms):
                    await asyncio.sleep(1.0 if ms is None else ms / 1_000)
                case Open() | Rebuild():
                    raise AssertionError(step)
        except ClientError as error:
            session.failed(error, self.now)

    async def _send(self, send: Send) -> None:
        session = self.session
        try:
            answer = await self._network.ask(self.user_id, send.request)
        except ClientError as error:
            session.failed(error, self.now, SPENT)
            return
        session.received(send.number, answer, SPENT, self.now)
        if self.fate.happens(AGAIN_SHARE):
            self.fate.later(AGAIN_S, lambda: self._again(session, send.number, answer))

    def _again(self, session: Session, number: int, answer: SyncResponse) -> None:
        if session is self.session:
            session.received(number, answer, SPENT, self.now)

    def _work(self) -> None:
        """The app processes some of what is pending; dies with it, or fails, now and then."""
        now_ms = self._clock()
        for entry in self.store.pending(CLAIMED_MAX, now_ms):
            if self.fate.happens(0.1):
                self.store.retry(entry, "no", now_ms, 0.5)
            elif not self.fate.happens(0.1):
                self._process(entry.conversation_id)
                self.store.ack(entry)

    def _process(self, conversation_id: str) -> None:
        view = self.store.conversation(conversation_id)
        assert view is not None, "what is pending exists"
        self.app[conversation_id] = view.max_seq
