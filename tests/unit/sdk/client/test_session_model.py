"""The law of session and store: whatever the server, the network, the app and death do, in any order,
no change is lost, nothing goes back, and it ends where the server is.

Unlike in `test_convergence.py` nothing waits for an answer here: a request is answered at once, late,
twice, after its successor, or never, or the connection fails and the answer comes all the same; the
process dies between any two steps, inside of a transaction too; the app acknowledges, fails, forgets
what it claimed, and what it works on changes meanwhile.

`DIFFUSION_EXAMPLES=10000` makes the long run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.conversations import ConversationState, is_listed
from schemas.ids import is_notification
from schemas.protocol import Reason, SyncResponse
from sdk.client.errors import ClientError, NetworkError, ServerBusyError, ServerError
from sdk.client.events import Trigger
from sdk.client.limits import FULL_EVERY_MS, LEASE_MS_MAX, RECONNECT_MAX_MS, RETRY_MAX_MS
from sdk.client.pending import PendingEntry
from sdk.client.session import Session
from sdk.client.steps import Apply, Close, Load, Note, Now, Open, Options, Rebuild, Send, Wait
from sdk.client.store import Store
from sdk.client.traffic import Traffic
from tests.unit.sdk.client.support import T0, Killable, Killed, ModelServer
from tests.unit.sdk.client.test_convergence import own_states

EXAMPLES = int(os.environ.get("DIFFUSION_EXAMPLES", "200"))
SPENT = Traffic(1, 1, 1)
ids = st.sampled_from([f"sg_{n}" for n in range(5)] + ["n_1"])
IN_FLIGHT_MAX = 6


class Model(RuleBasedStateMachine):
    @initialize(follows=st.booleans(), live=st.booleans())
    def begin(self, *, follows: bool, live: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.server = ModelServer()
        self.follows, self.live = follows, live
        self.ms, self.wall_ms = 0, T0
        self.in_flight: list[tuple[int, SyncResponse | ClientError]] = []
        self.app: dict[str, int] = {}
        self.claimed: list[tuple[PendingEntry, int]] = []
        self.lost_on_server: set[str] = set()
        self.seen: dict[str, ConversationState] = {}
        self.seen_place: tuple[int, ...] = ()
        self.forgiven = True
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder / "im.db", "u1", "phone", now_ms=self.wall_ms)
        assert self.store.set_aside is None, "dying damages nothing"
        options = Options(page_max=2, changes_max=3, live=self.live, verify_every_ms=FULL_EVERY_MS)
        self.session = Session("phone", options, states=self.store.states, jitter=lambda: 0.5)
        if self.follows:
            self.session.follow()

    @property
    def now(self) -> Now:
        return Now(self.ms, self.wall_ms)

    # The server.

    @rule(conversation_id=ids, more=st.integers(1, 3))
    def message(self, conversation_id: str, more: int) -> None:
        held = self.server.states.get(conversation_id, ConversationState(conversation_id))
        self.server.change(conversation_id, max_seq=held.max_seq + more)

    @rule(conversation_id=ids, read_seq=st.integers(0, 5), own=st.none() | own_states)
    def own(self, conversation_id: str, read_seq: int, own: object) -> None:
        if own is None:
            self.server.change(conversation_id, read_seq=read_seq)
        else:
            self.server.change(conversation_id, own=own)  # type: ignore[arg-type]

    @rule(how=st.sampled_from(["expire", "unreadable", "too_many", "few"]))
    def reset(self, how: str) -> None:
        if how == "expire":
            self.server.oldest = self.server.version
        elif how == "unreadable":
            self.server.refuse(Reason.UNREADABLE)
        else:
            self.server.too_many = 2 if how == "too_many" else 1_000

    @rule(conversation_id=ids)
    def lose(self, conversation_id: str) -> None:
        if conversation_id in self.server.states:
            self.server.lose(conversation_id)
            self.forgiven = True  # a reset is explicit: what is there may be less now

    # The network.

    @rule(at=st.integers(0, IN_FLIGHT_MAX), keep=st.booleans())
    def deliver(self, at: int, *, keep: bool) -> None:
        """Any answer, in any order; kept, it comes again."""
        if self.in_flight:
            at %= len(self.in_flight)
            number, answer = self.in_flight[at] if keep else self.in_flight.pop(at)
            self.take(number, answer)

    @rule(
        error=st.sampled_from(
            [NetworkError("cut"), ServerError("500"), ServerBusyError("503", 2.0)]
        )
    )
    def fail(self, error: ClientError) -> None:
        """What is under way fails; its answer may still be on the way."""
        if isinstance(self.session.step(self.now), Send | Open):
            self.session.failed(error, self.now, SPENT)

    @rule(poke=st.booleans())
    def signal(self, *, poke: bool) -> None:
        if poke:
            self.session.poked()
        elif self.session.connected:
            self.session.lost(self.now, 500)

    def take(self, number: int, answer: SyncResponse | ClientError) -> None:
        if not isinstance(answer, ClientError):
            self.session.received(number, answer, SPENT, self.now)
            return
        step = self.session.step(self.now)
        if isinstance(step, Send) and step.number == number:
            self.session.failed(answer, self.now, SPENT)

    # The device.

    @rule(times=st.integers(1, 12), answered=st.booleans())
    def run(self, times: int, *, answered: bool) -> None:
        """Some steps, whose requests are answered at once, or some time."""
        for _ in range(times):
            self.step(answer_at_once=answered)

    @rule()
    def sync(self) -> None:
        """All goes well for once, up to a point."""
        self.session.want(Trigger.ASKED)
        self.run(12, answered=True)

    @rule(times=st.integers(1, 12), at=st.integers(1, 40), after=st.booleans())
    def die(self, times: int, at: int, *, after: bool) -> None:
        """Death at that statement of SQLite, if it comes to it."""
        self.store.close()
        killable = Killable(at, after=after)
        try:
            with patch("sdk.client.database.sqlite3.connect", killable.connect):
                self.open()
                self.session.want(Trigger.ASKED)
                for _ in range(times):
                    self.step(answer_at_once=True)
        except Killed:
            pass
        killable.close()
        self.claimed.clear()
        self.open()

    @rule()
    def ask(self) -> None:
        self.session.want(Trigger.ASKED)

    @rule(verify=st.booleans(), full=st.booleans())
    def ask_for_more(self, *, verify: bool, full: bool) -> None:
        self.session.want(Trigger.ASKED, verify=verify, full=full)

    @rule(how=st.sampled_from([Session.background, Session.foreground, Session.network_changed]))
    def hint(self, how: object) -> None:
        how(self.session)  # type: ignore[operator]

    @rule()
    def abandon(self) -> None:
        self.session.abandoned()

    @rule(
        ms=st.sampled_from([10, 5_000, 120_000]),
        jump=st.sampled_from([0, 0, -(10**9), FULL_EVERY_MS]),
    )
    def time_passes(self, ms: int, jump: int) -> None:
        self.ms += ms
        self.wall_ms = max(T0, self.wall_ms + ms + jump)

    def step(self, *, answer_at_once: bool = False) -> bool:  # noqa: C901, PLR0912
        """Do one step; whether there was one."""
        session, store = self.session, self.store
        step = session.step(self.now)
        session.take_events()
        try:
            match step:
                case Load():
                    session.loaded(store.load(), self.now)
                case Open():
                    session.opened()
                case Send(number, request):
                    try:
                        answer: SyncResponse | ClientError = self.server.send(request)
                    except ClientError as error:
                        answer = error
                    if answer_at_once:
                        self.take(number, answer)
                    elif len(self.in_flight) < IN_FLIGHT_MAX:
                        self.in_flight.append((number, answer))
                case Apply(ops):
                    if ops.path == "full" or ops.forget:
                        self.forgiven = True
                    before = self.place()
                    session.applied(store.apply(ops, self.wall_ms), self.now)
                    assert ops.path == "full" or self.place() >= before, "the cursor went back"
                case Note():
                    store.note_verified(self.wall_ms)
                    session.noted(self.now)
                case Rebuild():
                    raise AssertionError("nothing damages the store here")
                case Close():
                    session.closed()
                case Wait():
                    return False
        except ClientError as error:
            session.failed(error, self.now)
        return True

    # The app.

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        """The app begins to process what it sees now; it may be long about it."""
        entries = self.store.pending(limit, self.wall_ms)
        self.claimed += [(entry, self.max_seq(entry)) for entry in entries]

    @rule(how=st.sampled_from(["ack", "retry", "forget"]))
    def work(self, how: str) -> None:
        for entry, max_seq in self.claimed:
            if how == "ack":
                self.app[entry.conversation_id] = max_seq
                self.store.ack(entry)
            elif how == "retry":
                self.store.retry(entry, "no", self.wall_ms, 0.5)
        self.claimed.clear()

    def max_seq(self, entry: PendingEntry) -> int:
        view = self.store.conversation(entry.conversation_id)
        assert view is not None, "what is pending exists"
        return view.max_seq

    # Courses of some length, which chance alone seldom finds.

    @rule(first=ids, how=st.sampled_from(["ack", "retry", "forget"]))
    def change_what_is_worked_on(self, first: str, how: str) -> None:
        self.message(first, 1)
        self.sync()
        self.claim(3)
        for entry, _ in list(self.claimed):
            self.message(entry.conversation_id, 1)
        self.sync()
        self.work(how)

    @rule(conversation_id=ids, keep=st.booleans(), verify=st.booleans())
    def answer_what_was_given_up(self, conversation_id: str, *, keep: bool, verify: bool) -> None:
        self.in_flight.clear()
        self.ask()
        self.run(3, answered=False)
        self.fail(NetworkError("slow"))
        self.message(conversation_id, 1)
        self.sync()
        self.message(conversation_id, 1)
        self.ask_for_more(verify=verify, full=False)
        self.run(3, answered=False)
        self.deliver(0, keep=keep)
        self.run(2, answered=False)

    # What must hold.

    @invariant()
    def nothing_goes_back(self) -> None:
        if not hasattr(self, "store"):
            return
        held = {state.conversation_id: state for state in self.store.states()}
        if not self.forgiven:
            for name, before in self.seen.items():
                state = held[name]
                assert state.max_seq >= before.max_seq
                assert state.read_seq >= before.read_seq
                assert state.own.min_seq >= before.own.min_seq
            assert self.place() >= self.seen_place, "the cursor goes on, or a reset is explicit"
        self.forgiven = False
        self.seen, self.seen_place = held, self.place()

    def place(self) -> tuple[int, ...]:
        """Where the cursor is, in the readable tokens of the model: key, incarnation, version."""
        cursor = self.store.load().cursor
        return () if cursor is None else tuple(map(int, cursor[1:].split(":")[:3]))

    @precondition(lambda self: hasattr(self, "store"))
    @rule()
    def calm(self) -> None:
        """Everything works from now on: it ends where the server is, and the app has seen it."""
        self.in_flight.clear()
        self.session.foreground()
        self.session.abandoned()
        for _ in range(60):
            self.ms += RECONNECT_MAX_MS + 10_000
            self.wall_ms += FULL_EVERY_MS
            number = self.session.want(Trigger.ASKED)
            for _ in range(400):
                if not self.step(answer_at_once=True) and self.session.outcome(number):
                    break
                if isinstance(self.session.step(self.now), Wait):
                    self.ms += 100
            outcome = self.session.outcome(number)
            assert outcome is not None, "a round that works ends"
            if getattr(outcome, "path", None) == "nothing":
                break
        assert {s.conversation_id: s for s in self.store.states()} == self.server.states
        self.drain()
        for state in self.server.states.values():
            if is_listed(state) or is_notification(state.conversation_id):
                assert self.app.get(state.conversation_id) == state.max_seq
        self.forgiven = True

    def drain(self) -> None:
        """The app processes all there is."""
        self.claimed.clear()
        # Twice: with a clock that was set back, a lease may seem to run for an hour still.
        for _ in range(2):
            self.wall_ms += RETRY_MAX_MS + LEASE_MS_MAX
            while entries := self.store.pending(3, self.wall_ms):
                for entry in entries:
                    self.app[entry.conversation_id] = self.max_seq(entry)
                    assert self.store.ack(entry)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.calm()
            self.store.close()
            shutil.rmtree(self.folder)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=EXAMPLES, stateful_step_count=50, deadline=None)
