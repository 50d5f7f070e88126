"""The sync session: what to ask next, and what an answer means for the store. Sans I/O.

Rule 1: everything that decides the course of a sync lives here: the phases, the transitions, which
answers are acceptable. Rule 2: nothing here reads a clock, draws a random number, or touches a file
or a socket; those are the shell's (`sdk.client.client`), and every shell uses this same session.

Theory of operation. A session serves one sync. It starts from what the store holds, and:

    while (request := session.next_request()) is not None:
        answer = ...send it...          an error goes to `session.failed(error)`
        ops = session.receive(answer)
        ...apply `ops` in one transaction...

`next_request` gives the same request until an answer to it was received, so a request may be sent
again after a network error. `receive` either returns what *one* transaction has to do, or raises
`InvalidAnswerError` and leaves the session as it was. If the transaction fails, the session is
ahead of the store: drop it and start the next one from the store, which holds all that matters.

The phase says what is asked for next; `TRANSITIONS` says where each event leads; an event that is
not in the row of its phase is out of order. A full correction can be interrupted between any two
pages: the token of the next page is stored with the rows of the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from schemas import limits
from schemas.protocol import ResetReason, SyncRequest, SyncResponse
from sdk.client.answers import Event, check_contents, event_of
from sdk.client.errors import ClientError, InvalidAnswerError, RequestRefusedError, ServerError
from sdk.client.limits import PAGES_PER_SYNC_MAX, RESTARTS_PER_SYNC_MAX
from sdk.client.ops import StoredState, StoreOps

REFUSED_STATUSES: Final = frozenset({400, 410})
"""A request that carried a token and got one of these is asked again without it: the token may be
damaged, or from a server that is gone. If the request itself is wrong, it is refused again."""


class Phase(Enum):
    """What the session asks for next."""

    FRESH = "fresh"
    """Neither cursor nor page token: the whole state, from page one."""
    DELTA = "delta"
    """What changed after the cursor."""
    PAGED = "paged"
    """The next page of a full correction."""
    DONE = "done"
    """Nothing: the store is up to date as of the last answer."""


TRANSITIONS: Final[Mapping[Phase, Mapping[Event, Phase]]] = {
    Phase.FRESH: {
        Event.FIRST_PAGE: Phase.PAGED,
        Event.ONLY_PAGE: Phase.DONE,
        Event.REFUSED: Phase.FRESH,
        Event.FAILED: Phase.FRESH,
    },
    Phase.DELTA: {
        Event.DELTA: Phase.DONE,
        Event.FIRST_PAGE: Phase.PAGED,
        Event.ONLY_PAGE: Phase.DONE,
        Event.REFUSED: Phase.FRESH,
        Event.FAILED: Phase.DELTA,
    },
    Phase.PAGED: {
        Event.FIRST_PAGE: Phase.PAGED,
        Event.ONLY_PAGE: Phase.DONE,
        Event.NEXT_PAGE: Phase.PAGED,
        Event.LAST_PAGE: Phase.DONE,
        Event.REFUSED: Phase.FRESH,
        Event.FAILED: Phase.PAGED,
    },
    Phase.DONE: {},
}

BEGINS: Final = frozenset({Event.FIRST_PAGE, Event.ONLY_PAGE})
"""Events with which a full correction begins: a new generation."""

ENDS: Final = frozenset({Event.ONLY_PAGE, Event.LAST_PAGE})
"""Events with which a full correction ends: rows of older generations go."""


class SyncSession:
    """The course of one sync. `fresh` asks for a full correction, whatever the store holds."""

    def __init__(
        self,
        stored: StoredState,
        device_id: str,
        *,
        fresh: bool = False,
        changes_max: int = limits.CHANGES_PER_ANSWER_DEFAULT,
        page_max: int = limits.CONVERSATIONS_PER_PAGE_DEFAULT,
    ) -> None:
        self._stored = stored
        self._device_id = device_id
        self._changes_max = changes_max
        self._page_max = page_max
        self._phase = Phase.FRESH if fresh else _phase_of(stored)
        self._asked = False
        self._begun = 0
        self._pages = 0

    @property
    def phase(self) -> Phase:
        """What the session asks for next."""
        return self._phase

    def next_request(self) -> SyncRequest | None:
        """Request to send; the same one until it is answered. None: the sync is complete."""
        if self._phase is Phase.DONE:
            return None
        self._asked = True
        return SyncRequest(
            device_id=self._device_id,
            cursor=self._stored.cursor if self._phase is Phase.DELTA else None,
            page=self._stored.page if self._phase is Phase.PAGED else None,
            changes_max=self._changes_max,
            page_max=self._page_max,
        )

    def receive(self, response: SyncResponse) -> StoreOps:
        """Take the answer to the request that was asked last; say what to store.

        Raises `InvalidAnswerError` for an answer that contradicts itself, breaks a bound or was not
        asked for, and `ServerError` when the correction starts again and again. Neither changes
        the session.
        """
        event = event_of(response)
        if not self._asked or event not in TRANSITIONS[self._phase]:
            raise InvalidAnswerError(
                f"the answer is out of order: {event.value}, when {self._phase.value} was asked"
            )
        self._check_progress(event, response)
        check_contents(response)
        ops = self._ops(event, response)
        self._begun += event in BEGINS
        self._pages += 1
        self._stored = ops.after
        self._phase = TRANSITIONS[self._phase][event]
        self._asked = False
        return ops

    def failed(self, error: ClientError) -> bool:
        """Take note that the request failed; True when `next_request` now has another way.

        False: the request stays the same. Raise the error, or wait and send it again.
        """
        refused = isinstance(error, RequestRefusedError) and error.status in REFUSED_STATUSES
        before = self._phase
        if before is Phase.DONE:
            return False
        self._phase = TRANSITIONS[before][Event.REFUSED if refused else Event.FAILED]
        if self._phase is before:
            return False
        self._asked = False
        return True

    def _check_progress(self, event: Event, response: SyncResponse) -> None:
        if event is Event.NEXT_PAGE and response.page == self._stored.page:
            raise InvalidAnswerError("the answer leads to the page that was just asked for")
        if self._pages >= PAGES_PER_SYNC_MAX:
            raise InvalidAnswerError(f"the sync does not end: {PAGES_PER_SYNC_MAX:,} pages")
        if event in BEGINS and self._begun > RESTARTS_PER_SYNC_MAX:
            raise ServerError(
                f"the server began a full correction {self._begun + 1} times in one sync;"
                " sync again later"
            )

    def _ops(self, event: Event, response: SyncResponse) -> StoreOps:
        begins = event in BEGINS
        return StoreOps(
            revision=self._stored.revision,
            after=StoredState(
                cursor=response.cursor,
                page=response.page,
                generation=self._stored.generation + begins,
                revision=self._stored.revision + 1,
            ),
            entries=response.conversations,
            modules=response.modules,
            replace=event is not Event.DELTA,
            remove_older=event in ENDS,
            # The cursor was issued to someone else, so the rows may be someone else's, too: they
            # must not be seen beside this user's, not even until the last page.
            forget=response.reset is ResetReason.OTHER_USER,
            reset=response.reset,
        )


def _phase_of(stored: StoredState) -> Phase:
    if stored.page is not None:
        return Phase.PAGED
    return Phase.FRESH if stored.cursor is None else Phase.DELTA
