"""The course of a sync: its table, and what each answer makes of a store."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pytest

from schemas.conversations import ConversationState
from schemas.digests import WHOLE, parts
from schemas.limits import SEQ_MAX
from schemas.protocol import Correction, RangeDigests, RangeRows, Reason, SyncRequest, SyncResponse
from sdk.client import limits
from sdk.client.answers import Event
from sdk.client.course import BEGINS, ENDS, PAGES, REPLACES, TRANSITIONS, Phase, SyncCourse
from sdk.client.errors import (
    AuthError,
    ClientError,
    InvalidAnswerError,
    NetworkError,
    ServerError,
)
from sdk.client.limits import FIRST_PAGE_MAX
from sdk.client.ops import StoredState
from tests.unit.sdk.client.support import (
    T0,
    correction,
    delta,
    delta_page,
    digest_rows,
    entry,
    first,
    further,
    refused,
    root,
)

HELD = [ConversationState(f"sg_{n}", n, T0 + n) for n in range(1, 40)]
THEIRS = [*HELD[1:], ConversationState("sg_1", 99, T0 + 99)]
OTHER_ROOT = root(THEIRS)


def told(states: Iterable[ConversationState], bits: int = 4) -> tuple[RangeDigests, ...]:
    return (parts(WHOLE, digest_rows(states), bits),)


def asking(**parts: object) -> SyncRequest:
    """What is asked without a page token: the page that may come is a small one."""
    return SyncRequest("phone", page_max=FIRST_PAGE_MAX, **parts)  # type: ignore[arg-type]


CURSOR = StoredState(cursor="c0", generation=4, revision=9, reason="fresh", total=7)
STORED = {
    Phase.FRESH: StoredState(),
    Phase.DELTA: CURSOR,
    Phase.PAGED: StoredState(page="p0", generation=4, revision=9),
    Phase.VERIFY: CURSOR,
    Phase.CORRECT: CURSOR,
}
ANSWERS = {
    Event.DELTA: delta(entry("a"), cursor="c1"),
    Event.DELTA_PAGE: delta_page(entry("a"), cursor="c1"),
    Event.FIRST_PAGE: first(entry("a"), page="p1", total=3),
    Event.ONLY_PAGE: first(entry("a"), cursor="c1"),
    Event.NEXT_PAGE: further(entry("a"), page="p1"),
    Event.LAST_PAGE: further(entry("a"), cursor="c1"),
    Event.PARTS: correction(parts=told(THEIRS), root=OTHER_ROOT),
    Event.UNDECODED: correction(undecoded=True, root=OTHER_ROOT),
    Event.ROWS: correction(entry("sg_1", 9, 99), root=OTHER_ROOT),
    Event.SOME_ROWS: correction(entry("sg_1", 9, 99), has_more=True, root=OTHER_ROOT),
}
ERRORS = {Event.REFUSED: refused(400, Reason.UNREADABLE), Event.FAILED: NetworkError("gone")}
OWN = {Event.EQUAL, Event.DIFFERENT, Event.UNSETTLED, Event.HOPELESS, Event.PUT_OFF, Event.TOP_ONLY}


def asked(phase: Phase, event: Event | None = None) -> SyncCourse:
    """A session that has asked what it asks in a phase, and so that `event` may answer it."""
    verify = phase in {Phase.VERIFY, Phase.CORRECT}
    session = SyncCourse(STORED[phase], "phone", verify=(lambda: HELD) if verify else None)
    if phase is Phase.CORRECT:
        session.next_request()
        session.receive(ANSWERS[Event.PARTS])
        sent = Correction(split=(WHOLE,)) if event is Event.PARTS else Correction(sketch=b"sketch")
        session._differences.ask = lambda: sent  # type: ignore[method-assign]
    assert session.phase is phase
    session.next_request()
    return session


def test_the_table_names_every_phase_and_every_answer() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)
    assert set(ANSWERS) | set(ERRORS) | OWN == set(Event)
    assert set(STORED) == {phase for phase, row in TRANSITIONS.items() if Event.FAILED in row}


def test_every_phase_but_the_last_reaches_the_end() -> None:
    for phase in set(Phase) - {Phase.DONE}:
        seen, todo = set(), [phase]
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += TRANSITIONS[at].values()
        assert Phase.DONE in seen


@pytest.mark.parametrize(("phase", "event"), list(product(STORED, ANSWERS)), ids=str)
def test_an_answer_follows_the_table_or_changes_nothing(phase: Phase, event: Event) -> None:
    session = asked(phase, event)
    before, answer = session.next_request(), ANSWERS[event]
    at = session._stored
    if event in TRANSITIONS[phase]:
        ops = session.receive(answer)
        assert session.phase is TRANSITIONS[phase][event]
        assert ops.replace == (event not in {Event.DELTA, Event.DELTA_PAGE})
        assert ops.remove_older == (event in ENDS)
        assert ops.revision == at.revision
        full = answer.path == "full"
        assert ops.after == StoredState(
            cursor=answer.cursor if full else answer.cursor or at.cursor,
            page=answer.page,
            generation=at.generation + (event in REPLACES),
            revision=at.revision + 1,
            reason="fresh" if event in BEGINS else at.reason,
            total=answer.total if event in BEGINS else at.total,
            done=(0 if event in BEGINS else at.done) + (event in PAGES),
        )
    else:
        with pytest.raises(InvalidAnswerError, match="out of order"):
            session.receive(answer)
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
    own = {"changes_max": 7, "page_max": 8, "bytes_max": 9_000}
    session = SyncCourse(STORED[phase], "phone", **own)
    expected = SyncRequest("phone", cursor=cursor, page=page, **own)
    assert session.next_request() == expected
    assert session.next_request() == expected


def test_fresh_asks_for_everything_whatever_is_stored() -> None:
    for stored in STORED.values():
        request = SyncCourse(stored, "phone", fresh=True).next_request()
        assert request == asking()


def test_a_whole_correction() -> None:
    session = asked(Phase.DELTA)
    ops = session.receive(first(entry("a"), page="p1", reason=Reason.EXPIRED))
    assert (ops.generation, ops.remove_older) == (5, False)
    assert ops.after == StoredState(page="p1", generation=5, revision=10, reason="expired", done=1)
    assert session.next_request() == SyncRequest("phone", page="p1")
    assert session.receive(further(page="p2")).generation == 5
    assert session.next_request() == SyncRequest("phone", page="p2")
    ops = session.receive(further(entry("z"), cursor="c1"))
    assert (ops.generation, ops.remove_older, ops.revision) == (5, True, 11)
    assert ops.after == StoredState(
        cursor="c1", generation=5, revision=12, reason="expired", done=2
    )
    assert session.next_request() is None


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    session = SyncCourse(STORED[Phase.DELTA], "phone")
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
    assert session.failed(refused(400, Reason.UNREADABLE)) is False
    with pytest.raises(InvalidAnswerError):
        session.receive(ANSWERS[Event.DELTA])


@pytest.mark.parametrize("reason", [Reason.UNREADABLE, Reason.OTHER_USER])
@pytest.mark.parametrize("phase", [Phase.DELTA, Phase.PAGED, Phase.VERIFY, Phase.CORRECT])
def test_a_refused_token_is_dropped(phase: Phase, reason: Reason) -> None:
    session, error = asked(phase), refused(400, reason)
    assert session.failed(error)
    assert session.next_request() == asking()
    assert not session.failed(error), "the request itself is refused: nothing else is left to try"
    # The store was not touched: the correction that follows is told apart by its generation.
    ops = session.receive(first(page="p1"))
    assert (ops.generation, ops.forget) == (5, reason is Reason.OTHER_USER)
    session.next_request()
    assert not session.receive(further(page="p2")).forget, "what the first page brought stays"
    session.next_request()
    ops = session.receive(first(page="p3", reason=Reason.EPOCH_CHANGED))
    assert not ops.forget, "it is this user's now"


@pytest.mark.parametrize(
    "error",
    [
        refused(404),
        refused(400),
        refused(400, "boredom"),
        refused(400, Reason.EXPIRED),
        refused(410),
        AuthError("no"),
        ServerError("500"),
        NetworkError("cut"),
    ],
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
        ops = session.receive(first(page=f"p{number + 1}", reason=Reason.EPOCH_CHANGED))
        assert ops.generation == 5 + number
        session.next_request()
    with pytest.raises(ServerError, match="again later"):
        session.receive(first(page="px"))
    assert session.next_request() == SyncRequest("phone", page=f"p{number + 1}")


def test_refusing_every_page_token_ends() -> None:
    session = asked(Phase.PAGED)
    for number in range(limits.RESTARTS_PER_SYNC_MAX + 1):
        assert session.failed(refused(400, Reason.UNREADABLE))
        session.next_request()
        session.receive(first(page=f"p{number}"))
        session.next_request()
    assert session.failed(refused(400, Reason.UNREADABLE))
    session.next_request()
    with pytest.raises(ServerError, match="again later"):
        session.receive(first(page="px"))


def test_pages_that_lead_nowhere_are_refused() -> None:
    session = asked(Phase.PAGED)
    with pytest.raises(InvalidAnswerError, match="just asked"):
        session.receive(further(entry("a"), page="p0"))
    assert session.next_request() == SyncRequest("phone", page="p0")


def test_a_correction_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.client.course.PAGES_PER_SYNC_MAX", 3)
    session = asked(Phase.PAGED)
    for number in range(1, 4):
        session.receive(further(page=f"p{number}"))
        session.next_request()
    with pytest.raises(InvalidAnswerError, match="does not end"):
        session.receive(further(page="p4"))


def test_a_delta_in_pages_goes_on_at_its_own_cursors() -> None:
    session = asked(Phase.DELTA)
    ops = session.receive(delta_page(entry("b"), cursor="c1"))
    assert (ops.after.cursor, ops.replace, ops.generation) == ("c1", False, 4)
    assert session.next_request() == asking(cursor="c1")
    with pytest.raises(InvalidAnswerError, match="just sent"):
        session.receive(delta_page(entry("a"), cursor="c1"))
    assert session.receive(delta(entry("a"), cursor="c2")).after.cursor == "c2"
    assert session.next_request() is None


def test_a_delta_without_a_cursor_keeps_the_one_there_is() -> None:
    ops = asked(Phase.DELTA).receive(delta(cursor=None))
    assert (ops.after.cursor, ops.is_news) == ("c0", False)


def test_the_total_and_the_reason_are_kept_over_the_pages() -> None:
    session = asked(Phase.DELTA)
    session.receive(first(page="p1", total=5, reason=Reason.TOO_MANY))
    session.next_request()
    after = session.receive(further(cursor="c1")).after
    assert (after.total, after.reason) == (5, "too_many")


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


# Verifying. `THEIRS` is what the server has; the store is a list that a test changes as `apply` would.


def verifying(held: list[ConversationState]) -> SyncCourse:
    return SyncCourse(CURSOR, "phone", verify=lambda: held)


def test_equal_states_are_one_small_round_trip() -> None:
    session = verifying(HELD)
    assert session.next_request() == asking(cursor="c0", root=root(HELD))
    session.receive(delta(cursor=None, root=root(HELD)))
    assert session.phase is Phase.CHECK
    assert session.next_request() is None


def test_a_server_that_tells_no_root_is_not_asked_again() -> None:
    session = verifying(HELD)
    session.next_request()
    session.receive(delta(entry("sg_1", 2, 5), cursor="c1"))
    assert session.next_request() is None


def test_after_a_delta_the_roots_are_compared_and_it_is_asked_again() -> None:
    held = list(HELD)
    session = verifying(held)
    session.next_request()
    session.receive(delta(entry("sg_2", 2, 2), cursor="c1", root=OTHER_ROOT))
    assert session.next_request() == asking(cursor="c1", root=root(HELD))
    session.receive(delta(entry("sg_1", 2, 99), cursor="c2", root=OTHER_ROOT))
    held[:] = THEIRS
    assert session.next_request() is None


def test_the_pages_of_a_delta_carry_the_root_each() -> None:
    held = list(HELD)
    session = verifying(held)
    session.next_request()
    session.receive(delta_page(entry("sg_1", 2, 99), cursor="c1"))
    held[:] = THEIRS
    assert session.next_request() == asking(cursor="c1", root=OTHER_ROOT)
    session.receive(delta(cursor=None, root=OTHER_ROOT))
    assert session.next_request() is None


def test_one_round_of_a_correction() -> None:
    held = list(HELD)
    session = verifying(held)
    session.next_request()
    ops = session.receive(correction(parts=told(THEIRS), root=OTHER_ROOT))
    assert (ops.after.cursor, ops.generation, ops.is_news) == ("c0", 4, False)
    request = session.next_request()
    assert request is not None
    assert request == session.next_request()
    assert (request.cursor, request.root) == ("c0", None)
    assert request.correct is not None
    ops = session.receive(correction(entry("sg_1", 3, 99), root=OTHER_ROOT))
    assert (ops.path, ops.after.cursor, ops.generation) == ("correction", "c0", 5)
    held[:] = THEIRS
    assert session.next_request() is None


def test_a_correction_may_move_the_cursor() -> None:
    session = verifying(list(HELD))
    session.next_request()
    session.receive(correction(parts=told(THEIRS), cursor="c1"))
    request = session.next_request()
    assert request is not None
    assert request.cursor == "c1"
    assert session.receive(correction(cursor="c2", root=OTHER_ROOT)).after.cursor == "c2"


def rounds(answer: SyncResponse) -> int:
    """Count the requests that ask for rows, when every one of them is answered so, to no avail."""
    session, count = verifying(list(HELD)), 0
    while (request := session.next_request()) is not None:
        if request.root is not None:
            session.receive(correction(parts=told(THEIRS), root=OTHER_ROOT))
        elif request.correct is not None:
            session.receive(answer)
            count += 1
        else:
            assert request == asking(), "after the last round, everything"
            session.receive(first(entry("a"), cursor="c9"))
    return count


def test_what_rounds_do_not_mend_is_fetched_anew() -> None:
    assert rounds(correction(root=OTHER_ROOT)) == limits.CORRECTIONS_PER_SYNC_MAX
    assert rounds(correction()) == limits.CORRECTIONS_PER_SYNC_MAX
    cut = correction(entry("b"), has_more=True, root=OTHER_ROOT)
    assert rounds(cut) == limits.CUT_CORRECTIONS_PER_SYNC_MAX


def test_a_server_that_always_has_news_is_asked_for_its_digests_outright() -> None:
    held = list(HELD)
    session, count = verifying(held), 0
    while (request := session.next_request()) is not None and request.correct is None:
        session.receive(delta(entry("sg_2", 2, 5), cursor=f"c{count + 1}", root=OTHER_ROOT))
        count += 1
    assert count == limits.CHECKED_DELTAS_PER_SYNC_MAX
    assert request == asking(cursor=f"c{count}", correct=Correction())
    session.receive(correction(parts=told(THEIRS), root=OTHER_ROOT))
    request = session.next_request()
    assert request is not None
    assert request.correct not in {None, Correction()}
    session.receive(correction(entry("sg_1", 3, 99), root=bytes(16)))
    held[:] = THEIRS
    # What came in between comes as it always does.
    request = session.next_request()
    assert request == asking(cursor=f"c{count}", root=OTHER_ROOT)
    session.receive(delta(cursor=None, root=OTHER_ROOT))
    assert session.next_request() is None


def test_the_last_round_begins_anew_and_ends() -> None:
    """A server that contradicts itself in every way there is."""
    session, asked = verifying(list(HELD)), 0
    while (request := session.next_request()) is not None and request.cursor is not None:
        asked += 1
        if request.root is not None:
            session.receive(delta(entry("sg_1", 2, 5), cursor=f"c{asked}", root=OTHER_ROOT))
        elif request.correct == Correction():
            session.receive(correction(parts=told(THEIRS), root=OTHER_ROOT))
        else:
            session.receive(correction(root=OTHER_ROOT))
    assert request == asking()
    assert asked <= 3 * limits.CORRECTIONS_PER_SYNC_MAX + limits.CHECKED_DELTAS_PER_SYNC_MAX


def test_what_does_not_fit_into_a_request_is_fetched_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.client.correction.LISTING_BYTES_MAX", 10)
    monkeypatch.setattr("sdk.client.correction.sketch.cheaper_by_sketch", lambda *_: False)
    session = verifying(list(HELD))
    session.next_request()
    session.receive(correction(parts=told(THEIRS), root=OTHER_ROOT))
    assert session.next_request() == asking()
    assert session.phase is Phase.FRESH


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (Correction(listed=(RangeRows(WHOLE, b""),)), correction(undecoded=True)),
        (Correction(), correction(entry("a"))),
        (Correction(), correction(undecoded=True)),
        (Correction(sketch=b"x"), correction(parts=told(THEIRS))),
        (Correction(split=(WHOLE,)), correction(entry("a"))),
    ],
)
def test_an_answer_to_what_was_not_asked_changes_nothing(
    sent: Correction, answer: SyncResponse
) -> None:
    session = verifying(list(HELD))
    session.next_request()
    session.receive(correction(parts=told(THEIRS)))
    session._differences.ask = lambda: sent  # type: ignore[method-assign]
    before = session.next_request()
    with pytest.raises(InvalidAnswerError, match="nothing was asked"):
        session.receive(answer)
    assert session.next_request() is before


def test_a_full_correction_is_not_verified() -> None:
    for stored in (STORED[Phase.FRESH], STORED[Phase.PAGED]):
        session = SyncCourse(stored, "phone", verify=lambda: HELD)
        session.next_request()
        session.receive(first(entry("a"), cursor="c1"))
        assert session.next_request() is None


def test_the_states_are_read_once_for_as_long_as_they_stay() -> None:
    reads = 0

    def states() -> list[ConversationState]:
        nonlocal reads
        reads += 1
        return HELD

    session = SyncCourse(CURSOR, "phone", verify=states)
    session.next_request()
    session.receive(correction(parts=told(THEIRS), root=OTHER_ROOT))
    session.next_request()
    assert reads == 1
    session.receive(correction(entry("sg_1", 3, 99), root=OTHER_ROOT))
    session.next_request()
    assert reads == 2
