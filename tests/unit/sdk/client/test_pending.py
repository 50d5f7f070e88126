"""The pending queue: claim, acknowledge, retry, and changes that come in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversations import OwnState
from schemas.protocol import ConversationEntry, ModuleEntry
from sdk.client.course import SyncCourse
from sdk.client.kinds import Kinds
from sdk.client.limits import DETAIL_CHARS_MAX, RETRY_BASE_MS, RETRY_MAX_MS
from sdk.client.pending import PendingEntry, pause_ms
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
    (found,) = store.pending(9, now_ms)
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
    ids = [e.conversation_id for e in store.pending(9, T0)]
    assert ids == ["pinned", "new", "n_1", "old"]
    assert [e.conversation_id for e in store.pending(2, T0)] == ["pinned", "new"]


def test_claiming_writes_nothing(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    assert only(store) == only(store)


def test_an_acknowledged_entry_is_gone(store: Store) -> None:
    change(store, entry("sg_1", 1, 1), entry("sg_2", 2, 2))
    assert store.ack(store.pending(9, T0)[0])
    assert only(store).conversation_id == "sg_1"


def test_a_newer_change_keeps_the_entry(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    claimed = only(store)
    change(store, entry("sg_1", 2, 2))
    assert not store.ack(claimed)
    assert store.ack(only(store))
    assert store.pending(9, T0) == []


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
    assert store.pending(9, T0 + pause - 1) == []
    found = only(store, T0 + pause)
    assert (found.attempts, found.last_error) == (1, "OSError: no route")
    store.retry(found, "x" * (DETAIL_CHARS_MAX + 1), T0 + pause, 1.0)
    assert store.pending(9, T0 + pause + 2 * RETRY_BASE_MS - 1) == []
    found = only(store, T0 + pause + 2 * RETRY_BASE_MS)
    assert (found.attempts, found.last_error) == (2, "x" * DETAIL_CHARS_MAX)


def test_a_newer_change_makes_a_waiting_entry_due(store: Store) -> None:
    change(store, entry("sg_1", 1, 1))
    for _ in range(10):
        store.retry(only(store, T0), "no", T0 - RETRY_MAX_MS, 1.0)
    store.retry(only(store, T0), "no", T0, 1.0)
    assert store.pending(9, T0) == []
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
    assert store.pending(9, T0) == []
    assert not store.ack(claimed)


def test_module_items_have_a_queue_of_their_own(store: Store) -> None:
    items = (
        ModuleEntry("friends", "f2", "insert", 1, 1),
        ModuleEntry("friends", "f1", "delete", 4, 2),
        ModuleEntry("folders", "f1", "update", 2, 3),
    )
    change(store, entry("f1", 4, 1), modules=items)
    assert [e.conversation_id for e in store.pending(9, T0)] == ["f1"]
    due = store.pending_items(9, T0)
    assert [(e.module, e.item_id, e.op, e.item_version) for e in due] == [
        ("friends", "f2", "insert", 1),
        ("friends", "f1", "delete", 4),
        ("folders", "f1", "update", 2),
    ]
    assert {e.kinds for e in due} == {Kinds.ITEM}
    assert store.ack(due[1])
    store.retry(due[0], "no", T0, 1.0)
    assert [e.module for e in store.pending_items(9, T0)] == ["folders"]
    assert [e.attempts for e in store.pending_items(9, T0 + RETRY_BASE_MS)] == [1, 0]
    assert len(store.pending(9, T0)) == 1


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_bounded_and_its_bound_doubles(attempts: int, jitter: float) -> None:
    assert 0 <= pause_ms(attempts, jitter) <= pause_ms(attempts, 1.0) <= RETRY_MAX_MS
    bound, following = pause_ms(attempts, 1.0), pause_ms(attempts + 1, 1.0)
    assert following == min(2 * bound, RETRY_MAX_MS)
    assert pause_ms(attempts, 0.0) == 0


def test_the_first_pause_is_the_base() -> None:
    assert pause_ms(1, 1.0) == RETRY_BASE_MS
