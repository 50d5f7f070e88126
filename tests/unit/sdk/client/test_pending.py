"""The pending queue: claim, acknowledge, retry, and changes that come in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversations import OwnState, activity_ms
from schemas.protocol import ConversationEntry, ModuleEntry, Reason
from sdk.client.course import SyncCourse
from sdk.client.kinds import Kinds
from sdk.client.limits import (
    DETAIL_CHARS_MAX,
    LEASE_MS_DEFAULT,
    LEASE_MS_MAX,
    RETRY_BASE_MS,
    RETRY_MAX_MS,
)
from sdk.client.pending import (
    SELECT_NEXT_DUE,
    SELECT_READY_CONVERSATIONS,
    SELECT_READY_ITEMS,
    WAKE_FAR,
    WAKE_OVER,
    PendingEntry,
    _times,
)
from sdk.client.store import Store
from tests.unit.sdk.client.support import T0, delta, entry, first


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:", "u1", "phone")
    session = SyncCourse(store.load(), "phone")
    session.next_request()
    store.apply(session.receive(first(cursor="c0")), T0)
    yield store
    store.close()


def change(
    store: Store, *entries: ConversationEntry, now_ms: int = T0, modules: tuple = ()
) -> None:
    session = SyncCourse(store.load(), "phone")
    session.next_request()
    store.apply(session.receive(delta(*entries, modules=modules)), now_ms)


def only(store: Store, now_ms: int = T0) -> PendingEntry:
    """Look at the one entry that is due, without claiming it."""
    (found,) = store.pending(9, now_ms, 0)
    return found


def test_an_entry_says_what_is_to_do(store: Store) -> None:
    change(store, entry("sg_1", 7, 3), now_ms=T0 + 5)
    found = only(store)
    assert (found.conversation_id, found.version) == ("sg_1", 7)
    assert found.kinds == Kinds.MESSAGE | Kinds.STATE
    assert (found.enqueued_at_ms, found.attempts, found.last_error) == (T0 + 5, 0, None)


def test_changes_of_one_conversation_are_one_entry(store: Store) -> None:
    change(store, entry("sg_1", 7, 3), now_ms=T0)
    assert store.ack(only(store))
    change(store, entry("sg_1", 8, read_seq=2), now_ms=T0 + 1)
    change(store, entry("sg_1", 9, 4, active_at_ms=T0 + 3), now_ms=T0 + 2)
    found = only(store)
    assert (found.version, found.kinds) == (9, Kinds.READ | Kinds.MESSAGE)
    assert found.enqueued_at_ms == T0 + 1


def test_entries_come_pinned_first_then_by_activity(store: Store) -> None:
    change(
        store,
        entry("old", 1, 1),
        entry("new", 2, 9),
        entry("pinned", 3, 2, own=OwnState(pinned=True)),
        entry("n_1", 4, 5),
    )
    ids = [e.conversation_id for e in store.pending(9, T0, 0)]
    assert ids == ["pinned", "new", "n_1", "old"]
    assert [e.conversation_id for e in store.pending(2, T0, 0)] == ["pinned", "new"]


def test_a_look_leases_nothing(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    assert only(store) == only(store)
    assert only(store).leased_until_ms == 0


def test_an_acknowledged_entry_is_gone(store: Store) -> None:
    change(store, entry("sg_1", 1, 1), entry("sg_2", 2, 2))
    assert store.ack(store.pending(9, T0, 0)[0])
    assert only(store).conversation_id == "sg_1"


def test_a_newer_change_keeps_the_entry(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    claimed = only(store)
    change(store, entry("sg_1", 2, 2))
    assert not store.ack(claimed)
    assert store.ack(only(store))
    assert store.pending(9, T0, 0) == []


def test_a_change_without_a_newer_version_keeps_the_entry_too(store: Store) -> None:
    """A head from the read side brings news, but no change record and so no new version."""
    change(store, entry("sg_1", 5, 1))
    claimed = only(store)
    change(store, entry("sg_1", 5, 2))
    assert not store.ack(claimed)
    assert only(store).version == 5


def test_a_late_acknowledgement_does_not_take_an_entry_that_came_after_it(store: Store) -> None:
    change(store, entry("sg_1", 5, 1))
    claimed = only(store)
    assert store.ack(claimed)
    change(store, entry("sg_1", 5, 2))
    assert not store.ack(claimed)
    assert only(store).kinds == Kinds.MESSAGE | Kinds.STATE


def test_a_version_does_not_go_back(store: Store) -> None:
    change(store, entry("sg_1", 5, 1))
    change(store, entry("sg_1", 4, 2))
    assert only(store).version == 5


def test_a_failed_entry_is_due_after_its_pause(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    store.retry(only(store), "OSError: no route", T0, 0.5)
    pause = RETRY_BASE_MS // 2
    assert store.pending(9, T0 + pause - 1, 0) == []
    found = only(store, T0 + pause)
    assert (found.attempts, found.last_error) == (1, "OSError: no route")
    store.retry(found, "x" * (DETAIL_CHARS_MAX + 1), T0 + pause, 1.0)
    assert store.pending(9, T0 + pause + 2 * RETRY_BASE_MS - 1, 0) == []
    found = only(store, T0 + pause + 2 * RETRY_BASE_MS)
    assert (found.attempts, found.last_error) == (2, "x" * DETAIL_CHARS_MAX)


def test_a_newer_change_makes_a_waiting_entry_due(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    for _ in range(10):
        store.retry(only(store, T0), "no", T0 - RETRY_MAX_MS, 1.0)
    store.retry(only(store, T0), "no", T0, 1.0)
    assert store.pending(9, T0, 0) == []
    change(store, entry("sg_1", 2, 2))
    assert only(store).attempts == 11


def test_a_clock_that_is_set_back_does_not_hide_entries(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    store.retry(only(store), "no", T0, 1.0)
    year_ms = 365 * 24 * 3600 * 1000
    assert only(store, T0 - year_ms).attempts == 1


def test_retrying_what_is_gone_does_nothing(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    claimed = only(store)
    store.ack(claimed)
    store.retry(claimed, "no", T0, 1.0)
    assert store.pending(9, T0, 0) == []
    assert not store.ack(claimed)


def test_module_items_have_a_queue_of_their_own(store: Store) -> None:
    items = (
        ModuleEntry("friends", "f2", "insert", 1, 1),
        ModuleEntry("friends", "f1", "delete", 4, 2),
        ModuleEntry("folders", "f1", "update", 2, 3),
    )
    change(store, entry("f1", 4, 1), modules=items)
    assert [e.conversation_id for e in store.pending(9, T0, 0)] == ["f1"]
    due = store.pending_items(9, T0, 0)
    assert [(e.module, e.item_id, e.op, e.item_version) for e in due] == [
        ("friends", "f2", "insert", 1),
        ("friends", "f1", "delete", 4),
        ("folders", "f1", "update", 2),
    ]
    assert {e.kinds for e in due} == {Kinds.ITEM}
    assert store.ack(due[1])
    store.retry(due[0], "no", T0, 1.0)
    assert [e.module for e in store.pending_items(9, T0, 0)] == ["folders"]
    assert [e.attempts for e in store.pending_items(9, T0 + RETRY_BASE_MS, 0)] == [1, 0]
    assert len(store.pending(9, T0, 0)) == 1


# Leases.

YEAR_MS = 365 * 24 * 3600 * 1000


def claim(store: Store, now_ms: int = T0, lease_ms: int = LEASE_MS_DEFAULT) -> PendingEntry:
    (found,) = store.pending(9, now_ms, lease_ms)
    return found


def ids(entries: list[PendingEntry]) -> list[str]:
    return [e.conversation_id for e in entries]


def test_what_is_claimed_is_nobody_elses_until_the_lease_ends(store: Store) -> None:
    change(store, entry("sg_1", 1, 1), entry("sg_2", 2, 2))
    (first_one,) = store.pending(1, T0)
    assert (first_one.conversation_id, first_one.leased_until_ms) == ("sg_2", T0 + LEASE_MS_DEFAULT)
    assert ids(store.pending(9, T0 + 1, 10)) == ["sg_1"]
    assert store.pending(9, T0 + 10) == []
    assert ids(store.pending(9, T0 + 11, 0)) == ["sg_1"], "never acknowledged: once more"
    assert ids(store.pending(9, T0 + LEASE_MS_DEFAULT)) == ["sg_2", "sg_1"]


def test_items_are_leased_likewise(store: Store) -> None:
    items = [ModuleEntry("friends", f"f{n}", "insert", 1, n) for n in (1, 2)]
    change(store, modules=tuple(items))
    (one,) = store.pending_items(1, T0)
    assert (one.item_id, one.leased_until_ms) == ("f1", T0 + LEASE_MS_DEFAULT)
    (two,) = store.pending_items(9, T0)
    assert two.item_id == "f2"
    assert store.ack(one)
    store.retry(two, "no", T0, 0.0)
    (again,) = store.pending_items(9, T0)
    assert (again.item_id, again.attempts) == ("f2", 1)


@pytest.mark.parametrize("lease_ms", [-1, LEASE_MS_MAX + 1])
def test_a_lease_has_bounds(store: Store, lease_ms: int) -> None:
    with pytest.raises(ValueError, match="a lease must have"):
        store.pending(9, T0, lease_ms)


def test_a_newer_change_does_not_end_a_lease(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    claimed = claim(store)
    change(store, entry("sg_1", 2, 2))
    assert store.pending(9, T0) == []
    assert not store.ack(claimed), "the newer change is not processed"
    again = claim(store)
    assert (again.version, again.attempts) == (2, 0)
    assert store.ack(again)


def test_what_was_processed_counts_also_when_the_lease_has_ended(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    slow = claim(store)
    late_ms = T0 + LEASE_MS_DEFAULT
    second = claim(store, late_ms)
    assert store.ack(slow)
    assert not store.ack(second), "gone"
    store.retry(second, "no", late_ms, 1.0)
    assert store.pending_count() == 0


def test_a_late_end_leaves_the_lease_of_another_alone(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    slow = claim(store)
    change(store, entry("sg_1", 2, 2))
    late_ms = T0 + LEASE_MS_DEFAULT
    second = claim(store, late_ms)
    assert not store.ack(slow)
    store.retry(slow, "no", late_ms, 1.0)
    assert store.pending(9, late_ms) == [], "still the second one's"
    assert store.failing(9) == []
    assert store.ack(second)


def test_a_part_that_succeeded_leaves_a_clean_record(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    store.retry(claim(store), "no", T0, 0.0)
    claimed = claim(store)
    assert claimed.attempts == 1
    change(store, entry("sg_1", 2, 2))
    assert not store.ack(claimed)
    assert (only(store).attempts, only(store).last_error) == (0, None)


def test_a_failure_at_what_is_outdated_is_counted_and_brings_no_pause(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    claimed = claim(store)
    change(store, entry("sg_1", 2, 2))
    store.retry(claimed, "no", T0, 1.0)
    assert (only(store).attempts, only(store).version) == (1, 2)


def test_a_late_failure_does_not_shorten_the_pause_of_the_newer_change(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    slow = claim(store)
    change(store, entry("sg_1", 2, 2))
    late_ms = T0 + LEASE_MS_DEFAULT
    store.retry(claim(store, late_ms), "no", late_ms, 1.0)
    assert not store.ack(slow)
    assert [e.attempts for e in store.failing(9)] == [1], "of which the older one says nothing"
    store.retry(slow, "no", late_ms, 1.0)
    assert store.pending(9, late_ms + RETRY_BASE_MS - 1) == []
    assert only(store, late_ms + RETRY_BASE_MS).attempts == 2


def test_a_clock_that_is_set_back_ends_leases_that_are_too_far_ahead(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    claim(store)
    assert store.pending(9, T0 - LEASE_MS_MAX + LEASE_MS_DEFAULT, 0) == []
    stale = claim(store, T0 - YEAR_MS)
    assert stale.leased_until_ms == T0 - YEAR_MS + LEASE_MS_DEFAULT


def test_a_poison_conversation_does_not_block_the_rest(store: Store) -> None:
    poison = entry("poison", 9, 9, own=OwnState(pinned=True))
    change(store, poison, *(entry(f"sg_{n}", n, n) for n in range(1, 6)))
    now_ms, done = T0, []
    while store.pending_count() > 1:
        for e in store.pending(2, now_ms):
            if e.conversation_id == "poison":
                store.retry(e, "ValueError: unreadable", now_ms, 0.5)
            else:
                assert store.ack(e)
                done.append(e.conversation_id)
        now_ms += 1
    assert done == ["sg_5", "sg_4", "sg_3", "sg_2", "sg_1"]
    (stuck,) = store.failing(9)
    assert (stuck.conversation_id, stuck.last_error) == ("poison", "ValueError: unreadable")


def test_what_failed_most_often_is_listed_first(store: Store) -> None:
    change(store, *(entry(f"sg_{n}", n, n) for n in range(1, 4)))
    for n in (1, 2):
        for e in store.pending(n, T0 + n * RETRY_MAX_MS):
            store.retry(e, "no", T0 + n * RETRY_MAX_MS, 1.0)
    assert [(e.conversation_id, e.attempts) for e in store.failing(9)] == [("sg_3", 2), ("sg_2", 1)]
    assert ids(store.failing(1)) == ["sg_3"]
    assert store.pending_count() == 3


def test_when_the_next_entry_is_due(store: Store) -> None:
    assert store.next_due_ms(T0) is None
    change(
        store,
        entry("sg_1", 1, 1),
        entry("sg_2", 2, 2),
        modules=(ModuleEntry("friends", "f1", "insert", 1, 1),),
    )
    assert store.next_due_ms(T0) is None, "what is due now is not waited for"
    (two,) = store.pending(1, T0, 5_000)
    assert store.next_due_ms(T0) == T0 + 5_000
    store.retry(two, "no", T0, 1.0)
    assert store.next_due_ms(T0) == T0 + RETRY_BASE_MS
    assert store.next_due_ms(T0 + RETRY_BASE_MS) is None
    store.pending_items(1, T0, 500)
    assert store.next_due_ms(T0) == T0 + 500
    assert store.next_due_ms(T0 - YEAR_MS) is None, "due now, by a clock that was set back"
    assert store.next_due_ms(T0 - LEASE_MS_MAX + 500) == T0 + 500


def test_an_entry_moves_when_a_correction_finds_the_conversation_elsewhere(store: Store) -> None:
    """Also one that the app need not hear of again, because it is not listed."""

    def fill(*entries: ConversationEntry, reason: Reason) -> None:
        session = SyncCourse(store.load(), "phone", fresh=True)
        session.next_request()
        store.apply(session.receive(first(*entries, cursor="c1", reason=reason)), T0)

    gone = OwnState(deleted_seq=50)
    fill(entry("sg_1", 1, 1), entry("sg_2", 1, 5), reason=Reason.FRESH)
    change(store, entry("sg_1", 2, 2, own=gone))
    fill(entry("sg_1", 3, 9, own=gone), entry("sg_2", 1, 5), reason=Reason.AHEAD)
    assert ids(store.pending(9, T0, 0)) == ["sg_1", "sg_2"]
    assert_ranks(store)


def assert_ranks(store: Store) -> None:
    ranks = store._db.execute("SELECT item_id, rank FROM pending WHERE module = ''").fetchall()
    states = {state.conversation_id: state for state in store.states()}
    for conversation_id, rank in ranks:
        state = states[conversation_id]
        assert rank == activity_ms(state) + state.own.pinned * 2**53, conversation_id


rows = st.lists(
    st.builds(
        entry,
        st.sampled_from(["sg_1", "sg_2", "sg_3", "n_1"]),
        st.just(1),
        st.integers(0, 3),
        st.just(0),
        st.builds(
            OwnState, pinned=st.booleans(), member=st.booleans(), deleted_seq=st.integers(-1, 3)
        ),
        st.integers(0, 3),
    ),
    max_size=4,
    unique_by=lambda e: e.conversation_id,
)
answers = st.tuples(
    st.booleans(), rows, st.none() | st.sets(st.sampled_from(["sg_1", "sg_2", "sg_4"]))
)


@given(st.lists(answers, max_size=6))
def test_ranks_are_those_of_the_conversations(script: list) -> None:
    store = Store(":memory:", "u1", "phone")
    for fresh, entries, pins in script:
        session = SyncCourse(store.load(), "phone", fresh=fresh)
        request = session.next_request()
        assert request is not None
        pinned = None if pins is None else tuple(sorted(pins))
        make = delta if request.cursor is not None else first
        store.apply(session.receive(make(*entries, cursor="c", pinned=pinned)), T0)
        assert_ranks(store)
    store.close()


def test_nothing_is_sorted_or_gone_through_to_find_what_is_due(store: Store) -> None:
    def plan(statement: str, arguments: object) -> str:
        found = store._db.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)
        return " / ".join(row[3] for row in found)

    ready = plan(SELECT_READY_CONVERSATIONS, (9,))
    assert "USING INDEX pending_by_rank" in ready
    assert "USING INDEX pending_by_ticket" in plan(SELECT_READY_ITEMS, (9,))
    for statement in (WAKE_OVER, WAKE_FAR, SELECT_NEXT_DUE):
        found = plan(statement, _times(T0))
        assert "SEARCH pending USING INDEX pending_waiting (<expr>" in found, statement
    for statement, arguments in (
        (SELECT_READY_CONVERSATIONS, (9,)),
        (SELECT_READY_ITEMS, (9,)),
        (SELECT_NEXT_DUE, _times(T0)),
    ):
        assert "TEMP B-TREE" not in plan(statement, arguments), statement


def test_a_claim_does_not_go_through_what_waits(store: Store) -> None:
    """Counted in steps of SQLite's machine, because a plan does not say where a search begins."""

    def steps(now_ms: int = T0) -> int:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        store._db.set_progress_handler(step, 1)
        assert len(store.pending(1, now_ms, 0)) == 1
        assert store.next_due_ms(now_ms) is not None
        store._db.set_progress_handler(None, 0)
        return count

    change(store, *(entry(f"sg_{n}", n, n) for n in range(1, 601)))
    for e in store.pending(10, T0):
        store.retry(e, "no", T0, 1.0)
    few = steps()
    for e in store.pending(400, T0):
        store.retry(e, "no", T0, 1.0)
    store.pending(100, T0)
    assert steps() < few + 50
