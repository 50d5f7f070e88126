"""The session: when to sync, what to do next, and what follows when it fails. Sans I/O.

Rule 1: everything that decides *when* lives here: triggers and how they are joined, pauses, leave
for a full correction, the size of pages. What one sync asks, and what an answer means, is a course
(`sdk.client.course`). Rule 2: no clock, no randomness, no file, no socket. A shell drives it:

    while True:
        match session.step(now):            does what it says, and tells how it went:
            Load()    -> session.loaded(stored, now)
            Open()    -> session.opened()
            Send(..)  -> session.received(number, answer, spent, now)
            Apply(..) -> session.applied(applied, now)
            Note() ; Rebuild() ; Close() ; Wait(ms)
        ...or session.failed(error, now)

`want` asks for a sync and names the round that will have done it. Whoever asks while a round is
under way gets the next one, together with all others that ask meanwhile: what the answer under way
tells may be older than the call. A round that is abandoned at any point (`abandoned`) leaves what
the store holds, from which the next begins; answers to what it sent are no longer known.

`sdk.client.life.TRANSITIONS` is the course of a client's life:

    OFFLINE ─> CONNECTING ─> DELTA | CORRECTING | FULL ─> LIVE
       ^           ^                   │                   │
       └───────────┴── BACKING_OFF <───┴───────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable

from schemas.errors import RetryableError
from schemas.protocol import SyncResponse
from sdk.client.correction import States
from sdk.client.course import SyncCourse
from sdk.client.errors import (
    ClientError,
    InvalidAnswerError,
    NetworkError,
    RequestRefusedError,
    ServerBusyError,
    StoreDamagedError,
)
from sdk.client.events import (
    ClientEvent,
    FullPutOff,
    PageApplied,
    PathTaken,
    State,
    StoreSetAside,
    SyncFailed,
    SyncFinished,
    SyncStarted,
    Trigger,
)
from sdk.client.life import IMPATIENT, MOVE_OF, Life, Move
from sdk.client.ops import Applied, StoredState
from sdk.client.pauses import Looks, Pauses
from sdk.client.report import SyncReport, Tally
from sdk.client.schedule import Pace, Want, asked_pause_ms, full_wait_ms, is_look_due
from sdk.client.steps import (
    Apply,
    Close,
    Load,
    Note,
    Now,
    Open,
    Options,
    Rebuild,
    Send,
    Step,
    Wait,
)
from sdk.client.traffic import Traffic
from sdk.client.wishes import Wishes


class Session(Wishes):
    """The life of one client. `jitter` draws from 0 to 1; `states` reads all that is held.

    Not safe for threads: a shell lets one in at a time.
    """

    def __init__(
        self,
        device_id: str,
        options: Options,
        *,
        states: States,
        jitter: Callable[[], float],
    ) -> None:
        super().__init__()
        self._device_id = device_id
        self._options = options
        self._states = states
        self._open, self._live = False, options.live
        self._stored = StoredState()
        self._full_wait_ms = 0
        self._sent = 0
        self._course: SyncCourse | None = None
        self._consent = self._verifies = False
        self._step: Step | None = None
        self._tally: Tally | None = None
        self._path: str | None = None
        self._pace = Pace(options.page_max)
        self._pauses = Pauses(jitter)
        self._begun = Want()
        # The connection ended while a round was under way: what it asked to wait, 0 if nothing.
        self._lost_after_ms: int | None = None
        self._looks = Looks(options.poll_ms, jitter)
        self._events: list[ClientEvent] = []
        self._life = Life(self._events.append)

    # What the app says.

    @property
    def state(self) -> State:
        """What the client is doing."""
        return self._life.state

    @property
    def connected(self) -> bool:
        """Whether requests go over the connection that pokes."""
        return self._open

    def network_changed(self) -> None:
        """Another network, or one again: the old connection may be dead without knowing, and what
        let none through may be gone.
        """
        self._live = self._options.live
        if self._open and self._course is None:
            self._step = Close()
        if self._following:
            self.want(Trigger.RECONNECT)

    def stop(self) -> None:
        """The client is closed."""
        if self._life.state is not State.STOPPED:
            self.abandoned()
            self._life.move(Move.STOPPED)
            self._closed = True

    # What the connection says.

    def lost(self, now: Now, after_ms: int | None = None) -> None:
        """The connection ended, or will: connect again, after `after_ms` if the server says so."""
        self._open = False
        if self._course is not None or isinstance(self._step, Open | Load | Rebuild):
            self._lost_after_ms = after_ms or 0  # when the round is over
        elif self._following:
            self._reconnect(now, after_ms)

    # What the shell has to do, and how it went.

    def step(self, now: Now) -> Step:
        """Say what to do next. The same again, until it is told how it went."""
        self._told = False
        if self._step is None:
            self._step = self._next(now)
        if isinstance(self._step, Wait):
            step, self._step = self._step, None
            return step
        return self._step

    def take_events(self) -> list[ClientEvent]:
        """Hand over what there is to tell."""
        events = self._events.copy()
        self._events.clear()
        return events

    def opened(self) -> None:
        """The connection stands."""
        self._open = self._lost_after_ms is None
        self._step = Load()

    def closed(self) -> None:
        """The connection is closed."""
        self._open = False
        self._step = None

    def loaded(self, stored: StoredState, now: Now) -> None:
        """Begin the course of this round from where the store stands, unless it was put off."""
        if not isinstance(self._step, Load):
            return
        want = self._want or Want()
        if self._tally is None:
            self._want, self._begun = None, want
            self._round += 1
            self._tally = Tally(now.monotonic_ms)
            self._path = None
            self._consent = want.full
            self._verifies = want.verify or is_look_due(self._options, want, stored, now)
            self._events.append(SyncStarted(self._round, frozenset(want.triggers)))
        self._full_wait_ms = full_wait_ms(self._options, stored, now)
        self._course = SyncCourse(
            stored,
            self._device_id,
            fresh=self._consent,
            verify=self._states if self._verifies else None,
            may_begin_full=self._consent or self._full_wait_ms == 0,
            changes_max=self._options.changes_max,
            page_max=self._pace.page_max,
            bytes_max=self._options.bytes_max,
        )
        self._stored = stored
        self._go_on(now)

    def received(self, number: int, response: SyncResponse, spent: Traffic, now: Now) -> None:
        """Take an answer; one to a request that is no longer under way counts for nothing."""
        if not (isinstance(self._step, Send) and self._step.number == number):
            return
        assert self._course is not None
        assert self._tally is not None
        self._tally.spend(spent)
        try:
            ops = self._course.receive(response)
        except ClientError as error:
            self.failed(error, now)
            return
        if ops.path != self._path:
            self._path, why = ops.path, ops.after.reason if ops.path == "full" else None
            self._events.append(PathTaken(self._round, ops.path, why))
        self._step = Apply(ops)

    def applied(self, applied: Applied, now: Now) -> None:
        """The transaction of the last answer is done."""
        assert isinstance(self._step, Apply)
        assert self._tally is not None
        ops = self._step.ops
        self._tally.count(ops, applied)
        self._stored = ops.after
        full = ops.path == "full"
        self._events.append(
            PageApplied(
                self._round,
                ops.path,
                len(ops.entries),
                applied.enqueued,
                ops.after.done if full else None,
                ops.after.total if full else None,
            )
        )
        self._pace.came(len(ops.entries))
        if self._course is not None:
            self._course.page_max = self._pace.page_max
        self._go_on(now)

    def noted(self, now: Now) -> None:
        """The store knows that it was compared."""
        self._finish(now)

    def rebuilt(self, aside: StoreSetAside) -> None:
        """There is a new store: the round goes on with it."""
        self._events.append(aside)
        self._step = Load()

    def failed(self, error: ClientError, now: Now, spent: Traffic | None = None) -> None:
        """Something that was to be done failed: a request, a connection, the store."""
        if isinstance(self._step, Open) and isinstance(error, RequestRefusedError):
            # Something on the way does not let connections through; requests may pass.
            self._live = False
            self._step = Load()
            return
        if self._tally is not None and spent is not None:
            self._tally.spend(spent)
        if isinstance(error, StoreDamagedError) and not isinstance(self._step, Rebuild):
            self._course = None
            self._step = Rebuild()
            return
        if isinstance(self._step, Send) and self._course and self._course.failed(error):
            self._go_on(now)
        else:
            self._fail(error, now)

    def abandoned(self) -> None:
        """The shell was stopped in the middle: forget the round, the store has all that counts."""
        if self._tally is not None:
            self._want = self._begun.joined(self._want)  # others may wait for the same
            self._told = True
        self._course = self._tally = self._step = self._lost_after_ms = None
        if self._life.state in {State.CONNECTING, State.DELTA, State.CORRECTING, State.FULL}:
            self._life.move(Move.REFUSED)
        self._want_again()

    def _next(self, now: Now) -> Step:
        if self._life.state is State.STOPPED:
            return Close() if self._open else Wait(None)
        if self._life.state is State.BACKING_OFF and not self._may_try(now):
            if self._want is None or self._is_asleep():
                self._life.move(Move.RESTED)
            else:
                return Wait(self._pauses.left_ms(now.monotonic_ms))
        if self._want is not None and not self._is_asleep():
            return self._begin(now)
        if not self._following or self._background:
            if self._life.state is State.LIVE:
                self._life.move(Move.RESTED)
            return Close() if self._open else Wait(None)
        return self._look(now)

    def _look(self, now: Now) -> Step:
        """Wait until it is time to ask without a reason, and then ask."""
        left_ms = self._looks.left_ms(now.monotonic_ms)
        if left_ms is None or left_ms > 0:
            return Wait(left_ms)
        self.want(Trigger.TIMER)
        return self._begin(now)

    def _begin(self, now: Now) -> Step:
        held = self._pauses.held_ms(now.monotonic_ms)
        if held:
            # The server asked for quiet, and this was not forgotten by a call.
            return self._refuse_until(held)
        if self._life.state is State.BACKING_OFF:
            self._life.move(Move.DUE)
        elif self._life.state is State.OFFLINE:
            self._life.move(Move.WANTED)
        needs = self._live and self._following and not self._open
        if needs:
            self._lost_after_ms = None
        return Open() if needs else Load()

    def _may_try(self, now: Now) -> bool:
        if self._want is None or self._is_asleep():
            return False
        return self._pauses.left_ms(now.monotonic_ms) == 0 or bool(self._want.triggers & IMPATIENT)

    def _refuse_until(self, held_ms: int) -> Step:
        want = self._want or Want()
        if Trigger.ASKED not in want.triggers:
            return Wait(held_ms)
        self._round += 1
        message = f"the server asks to wait {held_ms / 1_000:.1f} s more"
        self._end(ServerBusyError(message, held_ms / 1_000))
        self._want = None
        self._want_again()
        return Wait(0)

    def _go_on(self, now: Now) -> None:
        assert self._course is not None
        request = self._course.next_request()
        if request is not None:
            self._life.move(MOVE_OF[self._course.phase])
            self._sent += 1
            self._step = Send(self._sent, request)
        elif self._course.verified and self._verifies:
            self._step = Note()
        else:
            self._finish(now)

    def _finish(self, now: Now) -> None:
        assert self._course is not None
        assert self._tally is not None
        if self._course.put_off:
            reason = self._stored.reason or "digest_mismatch"
            self._events.append(FullPutOff(self._round, reason, self._full_wait_ms))
        report = self._tally.report(now.monotonic_ms, put_off=self._course.put_off)
        if self._lost_after_ms is None:
            self._pauses.succeeded()
        self._events.append(SyncFinished(self._round, report))
        self._end(report)
        self._life.move(Move.DONE)
        if not self._following:
            self._life.move(Move.RESTED)
        elif self._lost_after_ms is not None:
            self._reconnect(now, self._lost_after_ms)
        self._lost_after_ms = None
        self._looks.looked(now.monotonic_ms)

    def _reconnect(self, now: Now, after_ms: int | None) -> None:
        self.want(Trigger.RETRY)
        if self._life.state is State.LIVE:
            self._life.move(Move.LOST)
            self._pauses.failed(now.monotonic_ms, after_ms)

    def _fail(self, error: ClientError, now: Now) -> None:
        self._lost_after_ms = None
        if self._tally is None:
            self._round += 1  # it failed before it began: opening the connection, reading the store
            self._want = None
        again = isinstance(error, RetryableError | InvalidAnswerError)
        self._open = self._open and not isinstance(error, NetworkError)
        if self._life.state in {State.DELTA, State.CORRECTING, State.FULL}:
            self._pace.broke(busy=isinstance(error, ServerBusyError))
        self._life.move(Move.FAILED if again else Move.REFUSED)
        if again:
            self._pauses.failed(now.monotonic_ms, asked_pause_ms(error))
        retry = self._following and again
        wait_ms = self._pauses.left_ms(now.monotonic_ms) if retry else None
        self._events.append(SyncFailed(self._round, error, wait_ms))
        self._end(error)
        if retry:
            self.want(Trigger.RETRY)
        elif not again and self._following:
            self._following = False
            self._failure = error

    def _end(self, outcome: SyncReport | ClientError) -> None:
        self._keep(outcome)
        self._course = self._tally = self._step = None
