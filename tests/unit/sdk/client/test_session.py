"""The session: its table, and when it syncs, waits, asks for less, or refuses to begin anew."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from schemas.frames import Problem as WireProblem
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client.errors import (
    AuthError,
    ClientError,
    NetworkError,
    Problem,
    RequestRefusedError,
    ServerBusyError,
    StoreDamagedError,
)
from sdk.client.events import (
    FullPutOff,
    PageApplied,
    State,
    StateChanged,
    StoreSetAside,
    SyncFailed,
    SyncFinished,
    SyncStarted,
    Trigger,
)
from sdk.client.life import TRANSITIONS, Move
from sdk.client.limits import (
    FIRST_PAGE_MAX,
    FULL_EVERY_MS,
    PAGE_COST_ROWS,
    PAGE_LEAST,
    RECONNECT_BASE_MS,
)
from sdk.client.ops import Applied, StoredState, StoreOps
from sdk.client.report import SyncReport
from sdk.client.schedule import Pace
from sdk.client.session import Session
from sdk.client.steps import Apply, Close, Load, Note, Now, Open, Options, Rebuild, Send, Step, Wait
from sdk.client.traffic import Traffic
from sdk.client.wire import error_in
from tests.unit.sdk.client.support import T0, delta, entry, first, further, refused

SPENT = Traffic(1, 10, 100)


class Shell:
    """Does what a session says: the store is a `StoredState`, the server a list of answers."""

    def __init__(self, *answers: SyncResponse | ClientError, **options: object) -> None:
        self.answers = list(answers)
        self.requests: list[SyncRequest] = []
        self.stored = StoredState()
        self.ops: list[StoreOps] = []
        self.done: list[Step] = []
        self.events: list[object] = []
        self.ms = 0
        self.wall_ms = T0
        self.opening: ClientError | None = None
        options = {"verify_every_ms": 0} | options
        self.session = Session(
            "phone",
            Options(**options),  # type: ignore[arg-type]
            states=tuple,
            jitter=lambda: 0.5,
        )

    @property
    def now(self) -> Now:
        return Now(self.ms, self.wall_ms)

    def until_rest(self) -> Wait:
        """Do all there is to do without waiting."""
        for _ in range(200):
            step = self.session.step(self.now)
            self.events += self.session.take_events()
            if isinstance(step, Wait):
                if step.ms == 0:
                    continue
                return step
            self.done.append(step)
            self.do(step)
        raise AssertionError("it does not come to rest")

    def do(self, step: Step) -> None:
        session = self.session
        match step:
            case Load():
                session.loaded(self.stored, self.now)
            case Open():
                if self.opening is None:
                    session.opened()
                else:
                    session.failed(self.opening, self.now)
            case Send(number, request):
                self.requests.append(request)
                answer = self.answers.pop(0)
                if isinstance(answer, ClientError):
                    session.failed(answer, self.now, SPENT)
                else:
                    session.received(number, answer, SPENT, self.now)
            case Apply(ops):
                self.ops.append(ops)
                full_at_ms = self.wall_ms if ops.begins else self.stored.full_at_ms
                self.stored = StoredState(
                    ops.after.cursor,
                    ops.after.page,
                    ops.after.generation,
                    ops.after.revision,
                    ops.after.reason,
                    ops.after.total,
                    ops.after.done,
                    full_at_ms,
                )
                session.applied(Applied(len(ops.entries), 0), self.now)
            case Note():
                session.noted(self.now)
            case Rebuild():
                session.rebuilt(StoreSetAside("aside", "why", 0))
            case Close():
                session.closed()

    def sync(self, **how: bool) -> SyncReport | ClientError:
        number = self.session.want(Trigger.ASKED, **how)
        self.until_rest()
        outcome = self.session.outcome(number)
        assert outcome is not None
        return outcome

    def states(self) -> list[State]:
        return [event.after for event in self.events if isinstance(event, StateChanged)]

    def told(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]


def report(outcome: SyncReport | ClientError) -> SyncReport:
    assert isinstance(outcome, SyncReport), outcome
    return outcome


def synced(*answers: SyncResponse | ClientError, **options: object) -> Shell:
    shell = Shell(first(entry("a"), cursor="c1"), *answers, **options)
    report(shell.sync())
    shell.events.clear()
    shell.requests.clear()
    shell.done.clear()
    return shell


def following(*answers: SyncResponse | ClientError, **options: object) -> Shell:
    shell = synced(delta(cursor="c2"), *answers, **options)
    shell.session.follow()
    shell.until_rest()
    assert shell.session.state is State.LIVE
    shell.events.clear()
    shell.requests.clear()
    shell.done.clear()
    return shell


def test_every_state_has_a_row_and_can_be_left_and_stopped() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {move for row in TRANSITIONS.values() for move in row} == set(Move)
    for state, row in TRANSITIONS.items():
        if state is not State.STOPPED:
            assert row[Move.STOPPED] is State.STOPPED
    reached = {after for row in TRANSITIONS.values() for after in row.values()}
    assert reached == set(State)


def test_one_sync_goes_through_its_states_and_rests() -> None:
    shell = Shell(
        first(entry("a"), page="p1", total=2), further(entry("b"), cursor="c1"), delta(cursor="c2")
    )
    found = report(shell.sync())
    assert (found.path, found.round_trips, found.bytes_up, found.bytes_down) == ("full", 2, 20, 200)
    assert shell.states() == [State.CONNECTING, State.FULL, State.LIVE, State.OFFLINE]
    assert shell.told(PageApplied) == [
        PageApplied(1, "full", 1, 1, 1, 2),
        PageApplied(1, "full", 1, 1, 2, 2),
    ]
    assert shell.told(SyncStarted) == [SyncStarted(1, frozenset({Trigger.ASKED}))]
    assert shell.told(SyncFinished) == [SyncFinished(1, found)]
    shell.events.clear()
    assert report(shell.sync()).path == "nothing"
    assert shell.states() == [State.CONNECTING, State.DELTA, State.LIVE, State.OFFLINE]


def test_what_is_asked_while_a_sync_is_under_way_is_done_once_after_it() -> None:
    shell = synced(delta(cursor="c2"), delta(cursor="c3"))
    session = shell.session
    one = session.want(Trigger.ASKED)
    assert session.want(Trigger.ASKED) == one, "not begun yet: the same"
    shell.do(session.step(shell.now))
    step = session.step(shell.now)
    assert isinstance(step, Send)
    late = [session.want(Trigger.ASKED), session.want(Trigger.ASKED, verify=True)]
    assert late == [one + 1, one + 1]
    assert session.outcome(one) is None
    shell.until_rest()
    assert shell.requests[0].root is None
    assert shell.requests[1].root is not None, "what both asked for is joined"
    assert len(shell.requests) == 2


def test_an_answer_counts_once_and_only_for_what_is_under_way() -> None:
    shell = synced(delta(cursor="c2"))
    session = shell.session
    session.want(Trigger.ASKED)
    shell.do(session.step(shell.now))
    old = session.step(shell.now)
    assert isinstance(old, Send)
    session.abandoned()
    session.want(Trigger.ASKED)
    shell.do(session.step(shell.now))
    new = session.step(shell.now)
    assert isinstance(new, Send)
    assert new.number != old.number
    session.received(old.number, delta(entry("z"), cursor="old"), SPENT, shell.now)
    assert session.step(shell.now) is new, "an answer to what was abandoned says nothing"
    session.received(new.number, delta(cursor="c2"), SPENT, shell.now)
    step = session.step(shell.now)
    assert isinstance(step, Apply)
    session.received(new.number, delta(cursor="c9"), SPENT, shell.now)
    assert session.step(shell.now) is step, "the same answer once more says nothing"


def test_a_failure_is_raised_and_the_next_call_tries_at_once() -> None:
    shell = synced(NetworkError("cut"), delta(cursor="c2"))
    assert isinstance(shell.sync(), NetworkError)
    (failed,) = shell.told(SyncFailed)
    assert isinstance(failed, SyncFailed)
    assert failed.retry_ms is None
    assert shell.session.state is State.OFFLINE
    assert report(shell.sync()).path == "nothing"


def busy(status: int, ms: int) -> ClientError:
    """As a problem in a frame has it."""
    return error_in(WireProblem(status, "later", retry_after_ms=ms))


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_quiet_has_it_from_callers_too(status: int) -> None:
    shell = synced(busy(status, 19_001), delta(cursor="c2"))
    assert isinstance(shell.sync(), ServerBusyError)
    assert len(shell.requests) == 1
    shell.ms += 5_000
    again = shell.sync()
    assert isinstance(again, ServerBusyError)
    assert again.retry_after_seconds == 15.0
    assert len(shell.requests) == 1, "nothing was sent"
    shell.ms += 15_000
    assert report(shell.sync()).path == "nothing"


@pytest.mark.parametrize("status", [429, 503])
def test_a_follower_waits_as_long_as_it_is_asked_to_and_keeps_its_connection(status: int) -> None:
    shell = following(busy(status, 7_000), delta(cursor="c3"), live=True)
    shell.session.poked()
    assert shell.until_rest().ms == 7_000 + RECONNECT_BASE_MS // 2
    shell.session.poked()
    assert (shell.until_rest().ms or 0) >= 7_000, "whatever pokes: it was asked for"
    shell.ms += 7_000 + RECONNECT_BASE_MS
    shell.until_rest()
    assert shell.session.state is State.LIVE
    assert not [step for step in shell.done if isinstance(step, Open | Close)]


def test_a_follower_waits_longer_after_each_failure_and_goes_on() -> None:
    errors = [NetworkError("cut") for _ in range(4)]
    shell = following(*errors, delta(cursor="c3"))
    shell.session.poked()
    waits = []
    for _ in range(4):
        waits.append(shell.until_rest().ms)
        assert shell.session.state is State.BACKING_OFF
        shell.ms += waits[-1] or 0
    assert waits == [RECONNECT_BASE_MS * 2**n // 2 for n in range(4)]
    shell.until_rest()
    assert shell.session.state is State.LIVE


@pytest.mark.parametrize(
    "say", [Session.foreground, Session.network_changed, lambda s: s.want(Trigger.ASKED)]
)
def test_a_pause_of_our_own_ends_when_somebody_comes(say: Callable[[Session], object]) -> None:
    shell = following(NetworkError("cut"), delta(cursor="c3"))
    shell.session.poked()
    assert shell.until_rest().ms
    say(shell.session)
    shell.until_rest()
    assert shell.session.state is State.LIVE
    assert len(shell.requests) == 2


def test_a_follower_asks_when_nothing_was_heard() -> None:
    shell = following(delta(cursor="c3"), poll_ms=60_000)
    wait = shell.until_rest().ms
    assert wait is not None
    assert 54_000 <= wait <= 60_000
    shell.ms += wait
    shell.until_rest()
    assert shell.told(SyncStarted) == [SyncStarted(3, frozenset({Trigger.TIMER}))]


def test_the_connection_is_opened_to_follow_and_kept() -> None:
    shell = synced(delta(cursor="c2"), delta(cursor="c3"), delta(cursor="c4"), live=True)
    shell.session.follow()
    shell.until_rest()
    assert [type(step) for step in shell.done] == [Open, Load, Send, Apply]
    shell.done.clear()
    shell.session.poked()
    shell.until_rest()
    assert [type(step) for step in shell.done] == [Load, Send, Apply]
    shell.session.lost(shell.now, 3_000)
    wait = shell.until_rest().ms
    assert wait is not None
    assert wait >= 3_000, "as long as the server said"
    shell.ms += wait
    shell.until_rest()
    assert shell.session.connected
    assert shell.session.state is State.LIVE


def test_where_connections_do_not_pass_requests_may() -> None:
    shell = synced(delta(cursor="c2"), live=True)
    shell.opening = refused(404)
    assert isinstance(shell.opening, RequestRefusedError)
    shell.session.follow()
    shell.until_rest()
    assert shell.session.state is State.LIVE
    assert not shell.session.connected


def test_in_the_background_the_connection_is_closed_and_a_call_still_works() -> None:
    shell = following(delta(cursor="c3"), delta(cursor="c4"), live=True)
    assert shell.session.connected
    shell.session.background()
    shell.session.poked()
    assert shell.until_rest().ms is None
    assert not shell.session.connected
    assert shell.session.state is State.OFFLINE
    assert shell.requests == []
    report(shell.sync())
    shell.session.foreground()
    shell.until_rest()
    assert shell.session.state is State.LIVE


def test_what_no_repetition_mends_ends_the_following() -> None:
    shell = following(AuthError("no"))
    shell.session.poked()
    shell.until_rest()
    assert not shell.session.following
    assert isinstance(shell.session.failure, AuthError)
    assert shell.session.state is State.OFFLINE


def test_a_second_full_correction_within_an_hour_is_put_off_and_the_top_is_taken() -> None:
    reset = first(entry("b"), page="p1", total=9)
    shell = synced(reset, reset, reset, further(entry("c"), cursor="c9"))
    shell.wall_ms += 60_000
    found = report(shell.sync())
    assert found.put_off
    assert len(shell.requests) == 1, "no further page is asked for"
    assert (shell.stored.cursor, shell.stored.page) == ("c1", None)
    assert [one.conversation_id for one in shell.ops[-1].entries] == ["b"]
    (alarm,) = shell.told(FullPutOff)
    assert isinstance(alarm, FullPutOff)
    assert alarm.retry_ms == FULL_EVERY_MS - 60_000
    assert report(shell.sync()).put_off
    shell.wall_ms += FULL_EVERY_MS
    found = report(shell.sync())
    assert not found.put_off
    assert shell.stored.cursor == "c9"


def test_consent_begins_a_full_correction_at_any_time() -> None:
    shell = synced(first(entry("b"), page="p1"), further(entry("c"), cursor="c9"))
    assert not report(shell.sync(full=True)).put_off
    assert shell.stored.cursor == "c9"


def test_a_clock_that_was_set_back_puts_nothing_off() -> None:
    shell = synced(first(entry("b"), page="p1"), further(entry("c"), cursor="c9"))
    shell.wall_ms -= 10 * FULL_EVERY_MS
    assert not report(shell.sync()).put_off
    assert shell.stored.cursor == "c9"


def test_an_interrupted_correction_goes_on_where_it_was_with_smaller_pages() -> None:
    pages = [further(entry(f"s{n}"), page=f"p{n}") for n in range(2, 8)]
    cut = NetworkError("cut")
    shell = Shell(first(entry("a"), page="p1"), *[cut] * 6, *pages, further(cursor="c1"))
    for _ in range(6):
        assert isinstance(shell.sync(), NetworkError)
    report(shell.sync())
    sizes = [request.page_max for request in shell.requests]
    assert sizes[:2] == [FIRST_PAGE_MAX, FIRST_PAGE_MAX]
    assert sizes[1:7] == sorted(sizes[1:7], reverse=True)
    assert sizes[6] < FIRST_PAGE_MAX * 2 // 3
    assert {request.page for request in shell.requests[1:8]} == {"p1"}, "it goes on where it was"


def test_a_line_that_holds_has_the_largest_pages_after_13500_rows() -> None:
    pace, rows, pages = Pace(500), 0, 0
    while pace.page_max < 500:
        rows, pages = rows + pace.page_max, pages + 1
        pace.came(pace.page_max)
    assert 13_000 < rows < 14_000
    assert pages < 50


def test_pages_of_a_line_that_breaks_are_those_that_cost_least() -> None:
    """Breaks after 500 rows each: sqrt(2 * cost * 500), whatever was before."""
    best = math.isqrt(2 * PAGE_COST_ROWS * 500)
    for good_rows in (0, 1_000_000):
        pace = Pace(500)
        for _ in range(good_rows // 500):
            pace.came(500)
        for _ in range(12):
            pace.came(500 - pace.page_max // 2)
            pace.broke(busy=False)
        assert abs(pace.page_max - best) < best // 5
        pace.broke(busy=True)
        assert abs(pace.page_max - best) < best // 5, "a busy server says nothing of the line"


def test_pages_are_never_smaller_than_what_is_worth_sending() -> None:
    pace = Pace(500)
    for _ in range(100):
        pace.broke(busy=False)
    assert pace.page_max == PAGE_LEAST
    assert Pace(10).page_max == 10, "the app's own bound counts"


def test_the_whole_state_is_looked_at_once_a_day_but_not_for_a_poke() -> None:
    shell = following(*[delta(cursor="c")] * 3, verify_every_ms=86_400_000)
    shell.stored = StoredState("c1", verified_at_ms=shell.wall_ms - 86_400_000)
    shell.session.poked()
    shell.until_rest()
    assert shell.requests[-1].root is None
    shell.sync()
    assert shell.requests[-1].root is not None
    shell.stored = StoredState("c1", verified_at_ms=shell.wall_ms - 1_000)
    shell.sync()
    assert shell.requests[-1].root is None


def test_a_damaged_store_is_rebuilt_in_the_same_round() -> None:
    shell = synced(first(entry("a"), cursor="c1"))
    session = shell.session
    number = session.want(Trigger.ASKED)
    assert isinstance(session.step(shell.now), Load)
    session.failed(StoreDamagedError("damaged"), shell.now)
    shell.stored = StoredState()
    shell.until_rest()
    assert report(session.outcome(number)).path == "full"  # type: ignore[arg-type]
    assert shell.told(StoreSetAside)


def test_a_stopped_session_does_nothing() -> None:
    shell = following(live=True)
    shell.session.stop()
    shell.session.want(Trigger.ASKED)
    assert shell.until_rest().ms is None
    assert shell.session.state is State.STOPPED
    assert shell.requests == []


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_connection_that_ends_in_a_round_is_opened_again_after_the_pause(when: str) -> None:
    """The round that it was to carry goes over a request, and then the pause is kept."""
    shell = following(delta(cursor="c3"), delta(cursor="c4"), live=True)
    shell.session.poked()
    assert isinstance(shell.session.step(shell.now), Load)
    if when == "before":
        shell.session.lost(shell.now, 500)
    shell.session.loaded(shell.stored, shell.now)
    if when == "during":
        shell.session.lost(shell.now, 500)
    wait = shell.until_rest().ms
    assert shell.stored.cursor == "c3"
    assert shell.session.state is State.BACKING_OFF
    assert not shell.session.connected
    assert wait is not None
    assert wait >= 500
    shell.ms += wait
    shell.until_rest()
    assert shell.session.connected
    assert shell.session.state is State.LIVE


def test_a_connection_that_ends_while_it_is_opened_is_not_used() -> None:
    shell = following(delta(cursor="c3"), delta(cursor="c4"), live=True)
    shell.session.network_changed()
    step = shell.session.step(shell.now)
    while not isinstance(step, Open):
        shell.do(step)
        step = shell.session.step(shell.now)
    shell.session.lost(shell.now, 100)
    shell.session.opened()
    assert not shell.session.connected
    wait = shell.until_rest().ms
    assert shell.session.state is State.BACKING_OFF
    assert wait is not None
    assert wait >= 100
    shell.ms += wait
    shell.until_rest()
    assert shell.session.connected


def test_a_server_that_closes_at_once_is_not_stormed() -> None:
    shell = following(*[delta(cursor=f"c{n}") for n in range(3, 13)], live=True)
    for _ in range(9):
        shell.session.lost(shell.now)
        wait = shell.until_rest().ms
        assert shell.session.state is State.BACKING_OFF
        shell.ms += wait or 0
        step = shell.session.step(shell.now)
        assert isinstance(step, Open)
        shell.session.opened()
        shell.session.lost(shell.now)  # before anything is asked
        shell.until_rest()
    assert shell.ms > 30_000, "pauses grow: no success makes them short again"


def test_what_was_asked_is_wanted_again_when_its_round_is_abandoned() -> None:
    """Somebody else may have asked for the same round, and for more."""
    shell = Shell(first(entry("a"), cursor="c1"), first(entry("a"), cursor="c2"))
    session = shell.session
    number = session.want(Trigger.ASKED)
    assert session.want(Trigger.ASKED, full=True) == number
    while not isinstance(session.step(shell.now), Send):
        shell.do(session.step(shell.now))
    session.abandoned()
    shell.until_rest()
    assert session.outcome(number) is not None
    assert shell.requests[-1].cursor is None


def test_who_asks_a_closed_client_is_told() -> None:
    shell = Shell()
    number = shell.session.want(Trigger.ASKED)
    shell.session.stop()
    assert isinstance(shell.session.outcome(number), ClientError)


def test_another_network_may_let_connections_through() -> None:
    shell = Shell(first(cursor="c1"), delta(cursor="c2"), live=True)
    shell.opening = RequestRefusedError(404, Problem(title="no", status=404))
    shell.session.follow()
    shell.until_rest()
    assert not shell.session.connected
    shell.opening = None
    shell.session.network_changed()
    shell.until_rest()
    assert shell.session.connected


def test_a_connection_on_which_nothing_comes_is_opened_again() -> None:
    shell = following(NetworkError("nothing came"), delta(cursor="c3"), live=True)
    shell.session.poked()
    wait = shell.until_rest().ms
    assert wait is not None
    assert not shell.session.connected
    shell.ms += wait
    shell.until_rest()
    assert any(isinstance(step, Open) for step in shell.done)
    assert shell.session.connected
