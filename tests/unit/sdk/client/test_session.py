"""The session: its table, and what each answer makes of a store."""

from __future__ import annotations

from itertools import product

import pytest

from schemas.limits import SEQ_MAX
from schemas.protocol import ResetReason, SyncRequest, SyncResponse
from sdk.client import limits
from sdk.client.answers import Event
from sdk.client.errors import (
    AuthError,
    ClientError,
    InvalidAnswerError,
    NetworkError,
    ServerError,
)
from sdk.client.ops import StoredState
from sdk.client.session import BEGINS, ENDS, TRANSITIONS, Phase, SyncSession
from tests.unit.sdk.client.support import delta, entry, first, further, refused

STORED = {
    Phase.FRESH: StoredState(),
    Phase.DELTA: StoredState(cursor="c0", generation=4, revision=9),
    Phase.PAGED: StoredState(page="p0", generation=4, revision=9),
}
ANSWERS = {
    Event.DELTA: delta(entry("a"), cursor="c1"),
    Event.FIRST_PAGE: first(entry("a"), page="p1"),
    Event.ONLY_PAGE: first(entry("a"), cursor="c1"),
    Event.NEXT_PAGE: further(entry("a"), page="p1"),
    Event.LAST_PAGE: further(entry("a"), cursor="c1"),
}
ERRORS = {Event.REFUSED: refused(410), Event.FAILED: NetworkError("gone")}


def asked(phase: Phase) -> SyncSession:
    session = SyncSession(STORED[phase], "phone")
    assert session.phase is phase
    session.next_request()
    return session


def test_the_table_names_every_phase_and_every_answer() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)
    assert set(ANSWERS) | set(ERRORS) == set(Event)


def test_every_phase_but_the_last_reaches_the_end() -> None:
    for phase in STORED:
        seen, todo = set(), [phase]
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += TRANSITIONS[at].values()
        assert Phase.DONE in seen


@pytest.mark.parametrize(("phase", "event"), list(product(STORED, ANSWERS)), ids=str)
def test_an_answer_follows_the_table_or_changes_nothing(phase: Phase, event: Event) -> None:
    session = asked(phase)
    before = session.next_request()
    if event in TRANSITIONS[phase]:
        ops = session.receive(ANSWERS[event])
        assert session.phase is TRANSITIONS[phase][event]
        assert ops.replace == (event is not Event.DELTA)
        assert ops.remove_older == (event in ENDS)
        assert ops.revision == STORED[phase].revision
        assert ops.after == StoredState(
            cursor=ANSWERS[event].cursor,
            page=ANSWERS[event].page,
            generation=STORED[phase].generation + (event in BEGINS),
            revision=STORED[phase].revision + 1,
        )
    else:
        with pytest.raises(InvalidAnswerError, match="out of order"):
            session.receive(ANSWERS[event])
        assert session.phase is phase
        assert session.next_request() == before


@pytest.mark.parametrize(("phase", "event"), list(product(STORED, ERRORS)), ids=str)
def test_an_error_follows_the_table(phase: Phase, event: Event) -> None:
    session = asked(phase)
    moved = TRANSITIONS[phase][event] is not phase
    assert session.failed(ERRORS[event]) is moved
    assert session.phase is TRANSITIONS[phase][event]


@pytest.mark.parametrize(
    ("phase", "cursor", "page"),
    [(Phase.FRESH, None, None), (Phase.DELTA, "c0", None), (Phase.PAGED, None, "p0")],
)
def test_a_request_carries_the_token_of_its_phase(
    phase: Phase, cursor: str | None, page: str | None
) -> None:
    session = SyncSession(STORED[phase], "phone", changes_max=7, page_max=8)
    expected = SyncRequest("phone", cursor=cursor, page=page, changes_max=7, page_max=8)
    assert session.next_request() == expected
    assert session.next_request() == expected


def test_fresh_asks_for_everything_whatever_is_stored() -> None:
    for stored in STORED.values():
        request = SyncSession(stored, "phone", fresh=True).next_request()
        assert request == SyncRequest("phone")


def test_a_whole_correction() -> None:
    session = asked(Phase.DELTA)
    ops = session.receive(first(entry("a"), page="p1", reset=ResetReason.EXPIRED))
    assert (ops.generation, ops.reset, ops.remove_older) == (5, ResetReason.EXPIRED, False)
    assert ops.after == StoredState(page="p1", generation=5, revision=10)
    assert session.next_request() == SyncRequest("phone", page="p1")
    assert session.receive(further(page="p2")).generation == 5
    assert session.next_request() == SyncRequest("phone", page="p2")
    ops = session.receive(further(entry("z"), cursor="c1"))
    assert (ops.generation, ops.remove_older, ops.revision) == (5, True, 11)
    assert ops.after == StoredState(cursor="c1", generation=5, revision=12)
    assert session.next_request() is None


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    session = SyncSession(STORED[Phase.DELTA], "phone")
    with pytest.raises(InvalidAnswerError):
        session.receive(ANSWERS[Event.DELTA])
    session.next_request()
    session.receive(first(page="p1"))
    with pytest.raises(InvalidAnswerError):
        session.receive(further(page="p2"))


def test_nothing_follows_the_end() -> None:
    session = asked(Phase.DELTA)
    session.receive(ANSWERS[Event.DELTA])
    assert session.next_request() is None
    assert session.failed(refused(410)) is False
    with pytest.raises(InvalidAnswerError):
        session.receive(ANSWERS[Event.DELTA])


@pytest.mark.parametrize("error", [refused(400), refused(410)])
@pytest.mark.parametrize("phase", [Phase.DELTA, Phase.PAGED])
def test_a_refused_token_is_dropped(phase: Phase, error: ClientError) -> None:
    session = asked(phase)
    assert session.failed(error)
    assert session.next_request() == SyncRequest("phone")
    assert not session.failed(error), "the request itself is refused: nothing else is left to try"
    # The store was not touched: the correction that follows is told apart by its generation.
    assert session.receive(first(page="p1")).generation == 5


@pytest.mark.parametrize(
    "error", [refused(404), refused(422), AuthError("no"), ServerError("500"), NetworkError("cut")]
)
def test_other_errors_leave_the_request_as_it_is(error: ClientError) -> None:
    session = asked(Phase.PAGED)
    before = session.next_request()
    assert not session.failed(error)
    assert session.next_request() == before
    assert session.receive(further(cursor="c1")).remove_older


def test_a_correction_may_start_again_but_not_for_ever() -> None:
    session = asked(Phase.PAGED)
    for number in range(limits.RESTARTS_PER_SYNC_MAX + 1):
        ops = session.receive(first(page=f"p{number + 1}", reset=ResetReason.EPOCH_CHANGED))
        assert ops.generation == 5 + number
        session.next_request()
    with pytest.raises(ServerError, match="again later"):
        session.receive(first(page="px"))
    assert session.next_request() == SyncRequest("phone", page=f"p{number + 1}")


def test_refusing_every_page_token_ends() -> None:
    session = asked(Phase.PAGED)
    for number in range(limits.RESTARTS_PER_SYNC_MAX + 1):
        assert session.failed(refused(410))
        session.next_request()
        session.receive(first(page=f"p{number}"))
        session.next_request()
    assert session.failed(refused(410))
    session.next_request()
    with pytest.raises(ServerError, match="again later"):
        session.receive(first(page="px"))


def test_pages_that_lead_nowhere_are_refused() -> None:
    session = asked(Phase.PAGED)
    with pytest.raises(InvalidAnswerError, match="just asked"):
        session.receive(further(entry("a"), page="p0"))
    assert session.next_request() == SyncRequest("phone", page="p0")


def test_a_correction_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.client.session.PAGES_PER_SYNC_MAX", 3)
    session = asked(Phase.PAGED)
    for number in range(1, 4):
        session.receive(further(page=f"p{number}"))
        session.next_request()
    with pytest.raises(InvalidAnswerError, match="does not end"):
        session.receive(further(page="p4"))


def test_a_cursor_of_another_user_forgets_what_is_stored() -> None:
    for reason in ResetReason:
        ops = asked(Phase.DELTA).receive(first(cursor="c1", reset=reason))
        assert ops.forget is (reason is ResetReason.OTHER_USER)


@pytest.mark.parametrize(
    "answer",
    [
        delta(entry("")),
        delta(entry("a" * 301)),
        delta(entry("a", version=-1)),
        delta(entry("a", version=SEQ_MAX + 1)),
        delta(entry("a", max_seq=-1)),
        delta(entry("a", read_seq=2**70)),
    ],
)
def test_contents_out_of_bounds_change_nothing(answer: SyncResponse) -> None:
    session = asked(Phase.DELTA)
    before = session.next_request()
    with pytest.raises(InvalidAnswerError):
        session.receive(answer)
    assert session.next_request() == before
    assert session.receive(ANSWERS[Event.DELTA]).revision == 9
