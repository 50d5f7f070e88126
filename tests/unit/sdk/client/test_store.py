"""What applying answers does to rows, list, drafts and modules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversations import ConversationState, OwnState, is_listed
from schemas.protocol import ModuleEntry, ResetReason, SyncResponse, merge
from sdk.client import database
from sdk.client.apply import Applied
from sdk.client.errors import StoreConflictError, StoreError, StoreOwnerError
from sdk.client.kinds import Kinds
from sdk.client.rows import SELECT_LIST
from sdk.client.session import SyncSession
from sdk.client.store import _UNREAD_TOTAL, Store
from tests.unit.sdk.client.support import T0, delta, entry, first, further


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:", "u1", "phone")
    yield store
    store.close()


def feed(store: Store, *answers: SyncResponse, fresh: bool = False, now_ms: int = T0) -> Applied:
    """Apply answers that belong to one sync; return what the last one did."""
    session = SyncSession(store.load(), "phone", fresh=fresh)
    applied = Applied(0, 0)
    for answer in answers:
        assert session.next_request() is not None
        applied = store.apply(session.receive(answer), now_ms)
    return applied


def listed(store: Store) -> list[str]:
    return [view.conversation_id for view in store.conversations(100, None)]


def queued(store: Store) -> dict[str, Kinds]:
    return {e.conversation_id: e.kinds for e in store.pending(100, T0)}


def drain(store: Store) -> None:
    for e in store.pending(1_000, T0):
        assert store.ack(e)


def test_a_delta_merges(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5, 2), cursor="c1"))
    feed(store, delta(entry("sg_1", 2, 4, 3), cursor="c2"))
    assert store.state() == {"sg_1": ConversationState("sg_1", 5, T0 + 5, 3)}
    assert store.load().cursor == "c2"


def test_a_full_page_replaces_also_where_the_server_has_less(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5, 2, OwnState(min_seq=3, pinned=True)), cursor="c1"))
    feed(store, first(entry("sg_1", 1, 4, 1), cursor="c2", reset=ResetReason.AHEAD), fresh=True)
    assert store.state() == {"sg_1": ConversationState("sg_1", 4, T0 + 4, 1)}


def test_a_conversation_named_twice_by_a_correction_keeps_both_times(store: Store) -> None:
    feed(
        store,
        first(entry("sg_1", 1, 5, 2), entry("sg_1", 1, 3, 4), page="p1"),
        further(entry("sg_1", 1, 4), cursor="c"),
    )
    assert store.state() == {"sg_1": ConversationState("sg_1", 5, T0 + 5, 4)}


def test_during_a_correction_the_list_is_the_union(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 1), entry("sg_2", 1, 2), cursor="c1"))
    feed(store, first(entry("sg_3", 1, 3), page="p1"), fresh=True)
    assert listed(store) == ["sg_3", "sg_2", "sg_1"]
    assert store.load().cursor is None
    assert store.load().page == "p1"
    applied = feed(store, further(entry("sg_2", 1, 2), cursor="c2"))
    assert applied.removed == 1
    assert listed(store) == ["sg_3", "sg_2"]
    assert store.load().cursor == "c2"
    assert store.load().page is None


def test_a_correction_that_starts_again_forgets_what_only_the_first_named(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 1), page="p1"))
    feed(
        store,
        first(entry("sg_2", 1, 1), page="q1", reset=ResetReason.EPOCH_CHANGED),
        further(cursor="c1"),
    )
    assert listed(store) == ["sg_2"]


def test_rows_written_by_deltas_are_gone_too_when_a_correction_does_not_name_them(
    store: Store,
) -> None:
    feed(store, first(cursor="c1"))
    feed(store, delta(entry("sg_1", 1, 1), cursor="c2"))
    feed(store, first(cursor="c3", reset=ResetReason.EXPIRED))
    assert store.state() == {}


def test_a_delta_enqueues_what_changed(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5), entry("sg_2", 1, 5), cursor="c1"))
    drain(store)
    applied = feed(
        store,
        delta(
            entry("sg_1", 2, 6, active_at_ms=T0 + 5),
            entry("sg_2", 3, read_seq=5),
            entry("n_1", 4, 1),
            entry("sg_9", 5, own=OwnState(deleted_seq=3)),
            cursor="c2",
        ),
    )
    assert applied.enqueued == 4
    assert queued(store) == {
        "sg_1": Kinds.MESSAGE,
        "sg_2": Kinds.READ,
        "n_1": Kinds.MESSAGE | Kinds.STATE,
        "sg_9": Kinds.STATE,
    }


def test_a_delta_that_repeats_what_is_known_enqueues_nothing(store: Store) -> None:
    """Heads of the read side come again for a while; they must not be pulled each time."""
    feed(store, first(entry("sg_1", 1, 5, 2), cursor="c1"))
    drain(store)
    applied = feed(store, delta(entry("sg_1", 2, 5, 1), cursor="c2"))
    assert applied == Applied(0, 0)
    assert queued(store) == {}


def test_a_correction_enqueues_listed_rows_that_differ(store: Store) -> None:
    gone = OwnState(deleted_seq=9)
    feed(
        store,
        first(
            entry("same", 1, 5),
            entry("more", 1, 5),
            entry("less", 1, 5),
            entry("left", 1, 5),
            entry("unlisted", 1, 5, own=gone),
            entry("n_1", 1, 5),
            cursor="c1",
        ),
    )
    assert "unlisted" not in queued(store)
    drain(store)
    feed(
        store,
        first(
            entry("same", 2, 5),
            entry("more", 2, 6),
            entry("less", 2, 4),
            entry("left", 2, 5, own=gone),
            entry("unlisted", 2, 6, own=gone),
            entry("new", 2, 0),
            entry("n_1", 2, 6),
            cursor="c2",
            reset=ResetReason.EXPIRED,
        ),
    )
    assert set(queued(store)) == {"more", "less", "left", "new", "n_1"}


def test_what_is_gone_is_no_longer_pending(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5), entry("sg_2", 1, 5), cursor="c1"))
    feed(store, first(entry("sg_2", 1, 5), cursor="c2", reset=ResetReason.EXPIRED))
    assert set(queued(store)) == {"sg_2"}
    rows = store._db.execute("SELECT item_id FROM pending WHERE module = ''").fetchall()
    assert rows == [("sg_2",)], "no row is left behind that only a join hides"


def test_drafts_survive_deltas_and_corrections(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5), cursor="c1"))
    store.set_draft("sg_1", "half a sent", T0)
    feed(store, delta(entry("sg_1", 2, 6), cursor="c2"))
    feed(store, first(page="p1", reset=ResetReason.EXPIRED), further(cursor="c3"))
    assert store.conversation("sg_1") is None
    feed(store, delta(entry("sg_1", 2, 6), cursor="c4"))
    view = store.conversation("sg_1")
    assert view is not None
    assert view.draft == "half a sent"
    store.set_draft("sg_1", "", T0)
    assert [v.draft for v in store.conversations(9, None)] == [""]


def test_nothing_of_another_user_is_left_from_the_first_page_on(store: Store) -> None:
    item = ModuleEntry("friends", "f1", "insert", 1, 1)
    feed(store, first(entry("sg_1", 1, 5), cursor="c1", modules=(item,)))
    store.set_draft("sg_1", "secret", T0)
    feed(store, first(entry("sg_1", 1, 7), page="p1", reset=ResetReason.OTHER_USER))
    assert [(v.max_seq, v.draft) for v in store.conversations(9, None)] == [(7, "")]
    assert [e.op for e in store.pending_items(9, T0)] == ["refresh"]
    assert queued(store) == {"sg_1": Kinds.MESSAGE | Kinds.STATE}


def test_module_items_are_kept_by_their_version(store: Store) -> None:
    def item(op: str, item_version: int, version: int) -> ModuleEntry:
        return ModuleEntry("friends", "f1", op, item_version, version)  # type: ignore[arg-type]

    def apply(cursor: str, *items: ModuleEntry) -> list[tuple[str, int, int]]:
        feed(store, delta(cursor=cursor, modules=items))
        due = store.pending_items(9, T0)
        for e in due:
            store.ack(e)
        return [(e.op, e.item_version, e.version) for e in due]

    feed(store, first(cursor="c0"))
    assert [store.ack(e) for e in store.pending_items(9, T0)] == [True]
    assert apply("c1", item("insert", 1, 10)) == [("insert", 1, 10)]
    assert apply("c2", item("insert", 1, 10)) == []
    assert apply("c3", item("update", 3, 12), item("update", 2, 13)) == [("update", 3, 12)]
    assert apply("c4", item("delete", 3, 14)) == [("delete", 3, 14)]


def test_a_correction_has_all_modules_fetched_anew(store: Store) -> None:
    item = ModuleEntry("friends", "f1", "update", 7, 7)
    feed(store, first(page="p1"), further(cursor="c1"))
    feed(store, delta(cursor="c2", modules=(item,)))
    due = store.pending_items(9, T0)
    assert [(e.module, e.item_id, e.op) for e in due] == [
        ("*", "", "refresh"),
        ("friends", "f1", "update"),
    ]
    feed(store, first(page="p1", reset=ResetReason.AHEAD))
    assert [e.op for e in store.pending_items(9, T0)] == ["refresh"]
    assert [store.ack(e) for e in due] == [False, False], "fetched before the reset: once more"
    feed(store, further(cursor="c3"))
    assert [store.ack(e) for e in store.pending_items(9, T0)] == [True]
    # The server lost versions: what it counts now is news again.
    feed(store, delta(cursor="c4", modules=(ModuleEntry("friends", "f1", "update", 2, 2),)))
    assert [e.item_version for e in store.pending_items(9, T0)] == [2]


def test_the_reason_of_a_correction_is_kept_over_its_pages(store: Store) -> None:
    feed(store, first(page="p1", reset=ResetReason.EXPIRED))
    feed(store, further(cursor="c1"))
    assert store.reset_reason() == "expired"


def test_two_processes_do_not_undo_each_other(tmp_path: Path) -> None:
    path = tmp_path / "im.db"
    one, two = Store(path, "u1", "phone"), Store(path, "u1", "phone")
    sessions = [SyncSession(one.load(), "phone"), SyncSession(two.load(), "phone")]
    for session in sessions:
        session.next_request()
    one.apply(sessions[0].receive(first(entry("sg_1", 9, 9), cursor="c9")), T0)
    with pytest.raises(StoreConflictError, match="sync again"):
        two.apply(sessions[1].receive(first(entry("sg_1", 1, 1), cursor="c1")), T0)
    assert two.load().cursor == "c9"
    assert two.state()["sg_1"].max_seq == 9
    one.close()
    two.close()


def test_a_store_of_another_user_is_not_opened(tmp_path: Path) -> None:
    Store(tmp_path / "im.db", "u1", "phone").close()
    with pytest.raises(StoreOwnerError):
        Store(tmp_path / "im.db", "u2", "phone")
    Store(tmp_path / "im.db", "u1", "tablet").close()


def test_errors_of_sqlite_are_errors_of_the_store(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="nothing was changed"):
        store.load()


def test_the_list_is_read_along_its_index() -> None:
    db = database.connect(":memory:")
    plan = " ".join(
        row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {SELECT_LIST}", (1, 5, 5, "a", 9))
    )
    assert "SEARCH c USING INDEX conversations_by_list_order (pinned=? AND activity_ms<?)" in plan
    assert "TEMP B-TREE" not in plan
    (plan,) = (row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {_UNREAD_TOTAL}"))
    assert "USING INDEX conversations_unread" in plan
    db.close()


own_states = st.builds(
    OwnState,
    pinned=st.booleans(),
    muted=st.booleans(),
    member=st.booleans(),
    membership_at_ms=st.integers(0, 3),
    deleted_seq=st.integers(-1, 2),
)
entries = st.lists(
    st.builds(
        entry,
        st.integers(0, 12).map(lambda n: f"sg_{n}") | st.integers(0, 2).map(lambda n: f"n_{n}"),
        st.just(1),
        st.integers(0, 3),
        st.integers(0, 3),
        own_states,
        st.integers(0, 3),
    ),
    max_size=16,
    unique_by=lambda e: e.conversation_id,
)


@given(entries, st.integers(1, 5))
def test_pages_of_the_list_are_the_list(found: list, page: int) -> None:
    store = Store(":memory:", "u1", "phone")
    feed(store, first(*found, cursor="c1"))
    views, after = [], None
    while rows := store.conversations(page, after):
        assert len(rows) <= page
        views += rows
        after = rows[-1]
    states = [merge(None, e) for e in found]
    by_id = {view.conversation_id: view for view in views}
    assert set(by_id) == {s.conversation_id for s in states if is_listed(s)}
    assert len(by_id) == len(views)
    keys = [(not v.pinned, -v.activity_ms, v.conversation_id) for v in views]
    assert keys == sorted(keys)
    assert store.unread_total() == sum(v.unread for v in views if not v.muted)
    store.close()


def test_a_place_that_moved_still_continues_the_list(store: Store) -> None:
    feed(store, first(*(entry(f"sg_{n}", 1, n) for n in range(1, 6)), cursor="c1"))
    after = store.conversations(2, None)[-1]
    assert after.conversation_id == "sg_4"
    feed(store, delta(entry("sg_4", 2, 9), cursor="c2"))
    assert [v.conversation_id for v in store.conversations(9, after)] == ["sg_3", "sg_2", "sg_1"]


def test_memory_stores_are_apart() -> None:
    one, two = Store(":memory:", "u1", "phone"), Store(":memory:", "u2", "phone")
    feed(one, first(entry("sg_1", 1, 1), cursor="c1"))
    assert two.state() == {}
    one.close()
    two.close()


def test_another_connection_sees_all_of_an_answer_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "im.db"
    store = Store(path, "u1", "phone")
    reader = sqlite3.connect(path)
    seen = set()

    def look(statement: str) -> None:
        del statement
        cursor = reader.execute("SELECT cursor FROM sync_state").fetchone()[0]
        rows = reader.execute("SELECT count(*) FROM conversations").fetchone()[0]
        due = reader.execute("SELECT count(*) FROM pending").fetchone()[0]
        seen.add((cursor, rows, due))

    store._db.set_trace_callback(look)
    feed(store, first(entry("sg_1", 1, 1), entry("sg_2", 1, 1), cursor="c1"))
    store._db.set_trace_callback(None)
    look("")
    assert seen == {(None, 0, 0), ("c1", 2, 3)}
    reader.close()
    store.close()
