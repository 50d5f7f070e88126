"""The course of one sync: what to ask next, and what an answer means for the store. Sans I/O.

Rule 1: everything that decides the course of a sync lives here: the phases, the transitions, which
answers are acceptable. Rule 2: nothing here reads a clock, draws a random number, or touches a file
or a socket; those are the shell's (`sdk.client.client`), and every shell uses this same course.

Theory of operation. A course is one sync. It starts from what the store holds, and:

    while (request := course.next_request()) is not None:
        answer = ...send it...          an error goes to `course.failed(error)`
        ops = course.receive(answer)
        ...apply `ops` in one transaction...

`next_request` gives the same request until an answer to it was received, so a request may be sent
again after a network error. `receive` either returns what *one* transaction has to do, or raises
`InvalidAnswerError` and leaves the course as it was. If the transaction fails, the course is
ahead of the store: drop it and start the next one from the store, which holds all that matters.

The phase says what is asked for next; `TRANSITIONS` says where each event leads; an event that is
not in the row of its phase is out of order. A full correction can be interrupted between any two
pages: the token of the next page is stored with the rows of the last one. So can a delta: every
page of it leaves a cursor. A correction keeps nothing for later: what differs is found anew.

A course that is to `verify` sends the digest of the whole state along, and ends only when the
server's is the same:

    VERIFY ── delta ──> CHECK ── equal ──> DONE
       │                ^  │
     parts            rows ├── different ──> VERIFY
       v                │  └── unsettled ──> CORRECT
    CORRECT ────────────┘

CHECK compares, when the store has applied the answer, what it holds with the digest that the answer
told; the shell gives it a way to read it. All of this ends: `ENOUGH` says when the whole
state is fetched instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec.structs import replace

from schemas import limits
from schemas.protocol import REFUSALS, Correction, Reason, SyncRequest, SyncResponse
from sdk.client.answers import Event, check_contents, event_of
from sdk.client.correction import Differences, States
from sdk.client.errors import ClientError, InvalidAnswerError, RequestRefusedError, ServerError
from sdk.client.limits import (
    CHECKED_DELTAS_PER_SYNC_MAX,
    CORRECTIONS_PER_SYNC_MAX,
    CUT_CORRECTIONS_PER_SYNC_MAX,
    FIRST_PAGE_MAX,
    PAGES_PER_SYNC_MAX,
    RESTARTS_PER_SYNC_MAX,
)
from sdk.client.ops import StoredState, StoreOps


class Phase(Enum):
    """What it asks for next."""

    FRESH = "fresh"
    """Neither cursor nor page token: the whole state, from page one."""
    DELTA = "delta"
    """What changed after the cursor."""
    PAGED = "paged"
    """The next page of a full correction."""
    VERIFY = "verify"
    """What changed after the cursor, and if nothing did, whether the states are equal."""
    CORRECT = "correct"
    """The digests of parts; then, these being known, the rows that differ."""
    CHECK = "check"
    """Whatever follows from comparing the state with what the last answer told of it."""
    DONE = "done"
    """Nothing: the store is up to date as of the last answer."""


_BEGUN_ANEW: Final = {
    Event.FIRST_PAGE: Phase.PAGED,
    Event.TOP_ONLY: Phase.DONE,
    Event.ONLY_PAGE: Phase.DONE,
    Event.REFUSED: Phase.FRESH,
}
"""What may come back to any request: the server begins a full correction, or has it begun."""

TRANSITIONS: Final[Mapping[Phase, Mapping[Event, Phase]]] = {
    Phase.FRESH: _BEGUN_ANEW | {Event.FAILED: Phase.FRESH},
    Phase.DELTA: _BEGUN_ANEW
    | {
        Event.DELTA: Phase.DONE,
        Event.DELTA_PAGE: Phase.DELTA,
        Event.FAILED: Phase.DELTA,
    },
    Phase.PAGED: _BEGUN_ANEW
    | {
        Event.NEXT_PAGE: Phase.PAGED,
        Event.LAST_PAGE: Phase.DONE,
        Event.FAILED: Phase.PAGED,
    },
    Phase.VERIFY: _BEGUN_ANEW
    | {
        Event.DELTA: Phase.CHECK,
        Event.DELTA_PAGE: Phase.VERIFY,
        Event.PARTS: Phase.CORRECT,
        Event.FAILED: Phase.VERIFY,
    },
    Phase.CORRECT: _BEGUN_ANEW
    | {
        Event.ROWS: Phase.CHECK,
        Event.SOME_ROWS: Phase.CHECK,
        Event.PARTS: Phase.CORRECT,
        Event.UNDECODED: Phase.CORRECT,
        Event.HOPELESS: Phase.FRESH,
        Event.PUT_OFF: Phase.DONE,
        Event.FAILED: Phase.CORRECT,
    },
    Phase.CHECK: {
        Event.EQUAL: Phase.DONE,
        Event.DIFFERENT: Phase.VERIFY,
        Event.UNSETTLED: Phase.CORRECT,
        Event.HOPELESS: Phase.FRESH,
        Event.PUT_OFF: Phase.DONE,
    },
    Phase.DONE: {},
}

BEGINS: Final = frozenset({Event.FIRST_PAGE, Event.ONLY_PAGE})
"""Events with which a full correction begins."""

ENDS: Final = frozenset({Event.ONLY_PAGE, Event.LAST_PAGE})
"""Events with which a full correction ends: rows of older generations go."""

PAGES: Final = BEGINS | ENDS | {Event.NEXT_PAGE}
"""Events that are pages of a full correction which goes on to its end."""

REPLACES: Final = BEGINS | {Event.TOP_ONLY, Event.ROWS, Event.SOME_ROWS}
"""Events with a generation of their own: their rows replace what was there before."""

ENOUGH: Final[Mapping[Event, int]] = {
    Event.ROWS: CORRECTIONS_PER_SYNC_MAX,
    Event.SOME_ROWS: CUT_CORRECTIONS_PER_SYNC_MAX,
}
"""How often each may leave states that differ, before the whole state is fetched."""


class SyncCourse:
    """The course of one sync. `fresh` asks for a full correction, whatever the store holds.

    Unless it `may_begin_full`, a store that once was complete is not fetched anew: of a full
    correction that the server begins, the first page is taken, which tells the top of the list, and
    the rest is `put_off`; what the cursor says stays as it was. (Who holds nothing, or what may be
    another user's, has no choice.) `page_max` may be changed between answers.

    `verify` reads the states held, whenever it is called after a transaction; given, the sync ends
    with states that are the server's. A full correction is not verified: it has just told all.
    """

    def __init__(  # noqa: PLR0913 (what is stored, what is wanted, and the bounds of an answer)
        self,
        stored: StoredState,
        device_id: str,
        *,
        fresh: bool = False,
        verify: States | None = None,
        may_begin_full: bool = True,
        changes_max: int = limits.CHANGES_PER_ANSWER_DEFAULT,
        page_max: int = limits.CONVERSATIONS_PER_PAGE_DEFAULT,
        bytes_max: int = limits.ANSWER_BYTES_DEFAULT,
    ) -> None:
        self._stored = stored
        self._ask = SyncRequest(
            device_id,
            changes_max=changes_max,
            page_max=min(page_max, FIRST_PAGE_MAX),
            bytes_max=bytes_max,
        )
        self.page_max = page_max
        self._phase = Phase.FRESH if fresh else _phase_of(stored, verify=verify is not None)
        self._differences = Differences(verify or tuple)
        self._request: SyncRequest | None = None
        self._last: Event | None = None
        self._told_root: bytes | None = None
        self._forget = False
        self._may_begin_full = may_begin_full or fresh or stored.cursor is None
        self._put_off = False
        self._verified = False
        self._seen: Counter[Event] = Counter()

    @property
    def put_off(self) -> bool:
        """Whether a full correction was due that may not begin yet."""
        return self._put_off

    @property
    def verified(self) -> bool:
        """Whether all that is held was seen to be what the server has."""
        return self._verified

    @property
    def phase(self) -> Phase:
        """What it asks for next."""
        return self._phase

    def next_request(self) -> SyncRequest | None:
        """Request to send; the same one until it is answered. None: the sync is complete.

        A course that verifies reads the states held; what that raises goes through.
        """
        if self._request is None:
            if self._phase is Phase.CHECK:
                self._differences.begin()
                self._phase = TRANSITIONS[Phase.CHECK][self._check()]
            self._request = self._correct() if self._phase is Phase.CORRECT else self._plain()
        return self._request

    def receive(self, response: SyncResponse) -> StoreOps:
        """Take the answer to the request that was asked last; say what to store.

        Raises `InvalidAnswerError` for an answer that contradicts itself, breaks a bound or was not
        asked for, and `ServerError` when the correction starts again and again. Neither changes
        the course.
        """
        event = event_of(response)
        if event is Event.FIRST_PAGE and not (self._may_begin_full or self._forget):
            event = Event.TOP_ONLY
        if self._request is None or event not in TRANSITIONS[self._phase]:
            raise InvalidAnswerError(
                f"the answer is out of order: {event.value}, when {self._phase.value} was asked"
            )
        self._check_progress(event, self._request, response)
        check_contents(response)
        ops = self._ops(event, self._request, response)
        if event is Event.PARTS:
            self._differences.compare(response.parts, self._request.correct)
        elif event is Event.UNDECODED:
            self._differences.undecoded()
        if ops.is_news:
            self._differences.forget_rows()
        if event in BEGINS:
            self._forget = False
        self._put_off = self._put_off or event is Event.TOP_ONLY
        self._verified = event in ENDS
        self._seen[event] += 1
        self._last = event
        self._told_root = response.root
        self._stored = ops.after
        self._phase = TRANSITIONS[self._phase][event]
        self._request = None
        return ops

    def failed(self, error: ClientError) -> bool:
        """Take note that the request failed; True when `next_request` now has another way.

        False: the request stays the same. Raise the error, or wait and send it again.
        """
        if self._request is None:
            return False
        refusal = _refusal_of(error)
        before = self._phase
        self._phase = TRANSITIONS[before][Event.FAILED if refusal is None else Event.REFUSED]
        if self._phase is before:
            return False
        self._forget = self._forget or refusal is Reason.OTHER_USER
        self._request = None
        return True

    def _plain(self) -> SyncRequest | None:
        ask, stored = self._ask, self._stored
        match self._phase:
            case Phase.FRESH:
                return ask
            case Phase.DELTA:
                return replace(ask, cursor=stored.cursor)
            case Phase.VERIFY:
                return replace(ask, cursor=stored.cursor, root=self._differences.root())
            case Phase.PAGED:
                return replace(ask, page=stored.page, page_max=self.page_max)
        return None

    def _correct(self) -> SyncRequest | None:
        correction = self._differences.ask()
        if correction is None:
            self._phase = TRANSITIONS[Phase.CORRECT][self._hopeless()]
            return self._plain()
        return replace(self._ask, cursor=self._stored.cursor, correct=correction)

    def _check(self) -> Event:
        """Compare what is held with what the last answer told of it.

        A server that tells no root with a delta does not compare; there is nothing to end with.
        Rows without a root leave the question open.
        """
        seen = self._seen
        if self._told_root is None and not any(seen[event] for event in ENOUGH):
            return Event.EQUAL
        if self._told_root == self._differences.root():
            self._verified = True
            return Event.EQUAL
        if any(seen[event] >= often for event, often in ENOUGH.items()):
            return self._hopeless()
        if self._last is Event.DELTA and seen[Event.DELTA] >= CHECKED_DELTAS_PER_SYNC_MAX:
            return Event.UNSETTLED
        return Event.DIFFERENT

    def _hopeless(self) -> Event:
        """Rows still differ, and asking for them is over: fetch everything, if that is allowed."""
        self._put_off = not self._may_begin_full
        return Event.PUT_OFF if self._put_off else Event.HOPELESS

    def _check_progress(self, event: Event, asked: SyncRequest, response: SyncResponse) -> None:
        if event is Event.NEXT_PAGE and response.page == asked.page:
            raise InvalidAnswerError("the answer leads to the page that was just asked for")
        if event is Event.DELTA_PAGE and response.cursor == asked.cursor:
            raise InvalidAnswerError("the answer leads to the cursor that was just sent")
        if self._seen.total() >= PAGES_PER_SYNC_MAX:
            raise InvalidAnswerError(f"the sync does not end: {PAGES_PER_SYNC_MAX:,} answers")
        begun = sum(self._seen[one] for one in BEGINS)
        if event in BEGINS and begun > RESTARTS_PER_SYNC_MAX:
            raise ServerError(
                f"the server began a full correction {begun + 1} times in one sync;"
                " sync again later"
            )
        if asked.correct is not None:
            _check_fits(event, asked.correct)

    def _ops(self, event: Event, asked: SyncRequest, response: SyncResponse) -> StoreOps:
        stored, begins = self._stored, event in BEGINS
        cursor = response.cursor
        if cursor is None and response.path != "full":
            cursor = stored.cursor
        if event is Event.TOP_ONLY:
            # As if nothing had been said but the rows: the rest, and what to do then, comes with
            # the full correction.
            cursor = stored.cursor
            response = replace(response, page=None, modules=(), module_resets=())
        told = begins or event is Event.TOP_ONLY
        named = len(response.conversations) if event in PAGES else 0
        remove: tuple[str, ...] = ()
        if asked.correct is not None:
            remove = self._differences.removed(asked.correct, response)
        return StoreOps(
            revision=stored.revision,
            after=StoredState(
                cursor=cursor,
                page=response.page,
                generation=stored.generation + (event in REPLACES),
                revision=stored.revision + 1,
                reason=response.reason.value if told and response.reason else stored.reason,
                total=response.total if begins or response.total is not None else stored.total,
                done=(0 if begins else stored.done) + named,
            ),
            path=response.path,
            entries=response.conversations,
            modules=response.modules,
            module_resets=response.module_resets,
            pinned=response.pinned,
            remove=remove,
            begins=begins,
            remove_older=event in ENDS,
            # The cursor was issued to someone else, so the rows may be someone else's, too: they
            # must not be seen beside this user's, not even until the last page.
            forget=begins and self._forget,
        )


def _check_fits(event: Event, sent: Correction) -> None:
    about_rows = sent.sketch is not None or bool(sent.listed)
    fits = {
        Event.PARTS: not about_rows,
        Event.UNDECODED: sent.sketch is not None,
        Event.ROWS: about_rows,
    }
    if not fits.get(event, True):
        raise InvalidAnswerError(f"nothing was asked that is answered with {event.value}")


def _refusal_of(error: ClientError) -> Reason | None:
    """Say why a token was refused; None for any other error.

    Whatever else the server refuses is wrong with the request, and would be so without the token.
    """
    if not isinstance(error, RequestRefusedError):
        return None
    return next((one for one in REFUSALS if one.value == error.problem.reason), None)


def _phase_of(stored: StoredState, *, verify: bool) -> Phase:
    if stored.page is not None:
        return Phase.PAGED
    if stored.cursor is None:
        return Phase.FRESH
    return Phase.VERIFY if verify else Phase.DELTA
