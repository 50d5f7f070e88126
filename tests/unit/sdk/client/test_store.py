"""What applying answers does to rows, list, drafts and modules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import digests
from schemas.conversations import ConversationState, OwnState, is_listed
from schemas.protocol import KeyRange, ModuleEntry, RangeDigests, Reason, SyncResponse, merge
from sdk.client import database, pending
from sdk.client.course import SyncCourse
from sdk.client.errors import (
    StoreConflictError,
    StoreDamagedError,
    StoreError,
    StoreOwnerError,
)
from sdk.client.kinds import Kinds
from sdk.client.ops import Applied
from sdk.client.rows import SELECT_LIST
from sdk.client.store import _UNREAD_TOTAL, Store
from tests.unit.sdk.client.support import (
    T0,
    correction,
    delta,
    digest_rows,
    entry,
    first,
    further,
    refused,
)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:", "u1", "phone")
    yield store
    store.close()


def feed(store: Store, *answers: SyncResponse, fresh: bool = False, now_ms: int = T0) -> Applied:
    """Apply answers that belong to one sync; return what the last one did."""
    session = SyncCourse(store.load(), "phone", fresh=fresh)
    applied = Applied(0, 0)
    for answer in answers:
        assert session.next_request() is not None
        applied = store.apply(session.receive(answer), now_ms)
    return applied


def held(store: Store) -> dict[str, ConversationState]:
    return {state.conversation_id: state for state in store.states()}


def listed(store: Store) -> list[str]:
    return [view.conversation_id for view in store.conversations(100, None)]


def queued(store: Store) -> dict[str, Kinds]:
    return {e.conversation_id: e.kinds for e in store.pending(100, T0, 0)}


def drain(store: Store) -> None:
    for e in store.pending(1_000, T0, 0):
        assert store.ack(e)


def test_a_delta_merges(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5, 2), cursor="c1"))
    feed(store, delta(entry("sg_1", 2, 4, 3), cursor="c2"))
    assert held(store) == {"sg_1": ConversationState("sg_1", 5, T0 + 5, 3)}
    assert store.load().cursor == "c2"


def test_a_full_page_replaces_also_where_the_server_has_less(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5, 2, OwnState(min_seq=3, pinned=True)), cursor="c1"))
    feed(store, first(entry("sg_1", 1, 4, 1), cursor="c2", reason=Reason.AHEAD), fresh=True)
    assert held(store) == {"sg_1": ConversationState("sg_1", 4, T0 + 4, 1)}


def test_a_conversation_named_twice_by_a_correction_keeps_both_times(store: Store) -> None:
    feed(
        store,
        first(entry("sg_1", 1, 5, 2), entry("sg_1", 1, 3, 4), page="p1"),
        further(entry("sg_1", 1, 4), cursor="c"),
    )
    assert held(store) == {"sg_1": ConversationState("sg_1", 5, T0 + 5, 4)}


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
        first(entry("sg_2", 1, 1), page="q1", reason=Reason.EPOCH_CHANGED),
        further(cursor="c1"),
    )
    assert listed(store) == ["sg_2"]


def test_rows_written_by_deltas_are_gone_too_when_a_correction_does_not_name_them(
    store: Store,
) -> None:
    feed(store, first(cursor="c1"))
    feed(store, delta(entry("sg_1", 1, 1), cursor="c2"))
    feed(store, first(cursor="c3", reason=Reason.EXPIRED))
    assert held(store) == {}


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
            reason=Reason.EXPIRED,
        ),
    )
    assert set(queued(store)) == {"more", "less", "left", "new", "n_1"}


def test_what_is_gone_is_no_longer_pending(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5), entry("sg_2", 1, 5), cursor="c1"))
    feed(store, first(entry("sg_2", 1, 5), cursor="c2", reason=Reason.EXPIRED))
    assert set(queued(store)) == {"sg_2"}
    rows = store._db.execute("SELECT item_id FROM pending WHERE module = ''").fetchall()
    assert rows == [("sg_2",)], "no row is left behind that only a join hides"


def test_drafts_survive_deltas_and_corrections(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 5), cursor="c1"))
    store.set_draft("sg_1", "half a sent", T0)
    feed(store, delta(entry("sg_1", 2, 6), cursor="c2"))
    feed(store, first(page="p1", reason=Reason.EXPIRED), further(cursor="c3"))
    assert store.conversation("sg_1") is None
    feed(store, delta(entry("sg_1", 2, 6), cursor="c4"))
    view = store.conversation("sg_1")
    assert view is not None
    assert view.draft == "half a sent"
    store.set_draft("sg_1", "", T0)
    assert [v.draft for v in store.conversations(9, None)] == [""]


def test_conversations_that_the_first_page_names_ahead_come_again(store: Store) -> None:
    """The newest are named first, and in their place: also where they are not what they were."""
    feed(store, first(entry("sg_1", 1, 9, 9), entry("sg_9", 1, 9, 9), cursor="c1"))
    drain(store)
    feed(
        store,
        first(entry("sg_9", 2, 5, 1), page="p1", reason=Reason.AHEAD, total=3),
        further(entry("sg_1", 2, 4), entry("sg_2", 2, 3), page="p2"),
        further(entry("sg_9", 3, 6, 0), cursor="c2"),
    )
    assert {i: (s.max_seq, s.read_seq) for i, s in held(store).items()} == {
        "sg_1": (4, 0),
        "sg_2": (3, 0),
        "sg_9": (6, 1),
    }
    assert set(queued(store)) == {"sg_1", "sg_2", "sg_9"}
    assert store.load().total == 3


def test_nothing_of_another_user_is_left_from_the_first_page_on(store: Store) -> None:
    item = ModuleEntry("friends", "f1", "insert", 1, 1)
    feed(store, first(entry("sg_1", 1, 5), cursor="c1", modules=(item,)))
    store.set_draft("sg_1", "secret", T0)
    session = SyncCourse(store.load(), "phone")
    session.next_request()
    assert session.failed(refused(400, Reason.OTHER_USER))
    session.next_request()
    assert held(store).keys() == {"sg_1"}, "not before there is something to put in its place"
    page = first(entry("sg_1", 1, 7), page="p1", module_resets=("*",))
    store.apply(session.receive(page), T0)
    assert [(v.max_seq, v.draft) for v in store.conversations(9, None)] == [(7, "")]
    assert [e.op for e in store.pending_items(9, T0, 0)] == ["refresh"]
    assert queued(store) == {"sg_1": Kinds.MESSAGE | Kinds.STATE}
    session.next_request()
    store.apply(session.receive(further(entry("sg_2", 1, 1), cursor="c2")), T0)
    assert set(held(store)) == {"sg_1", "sg_2"}


def item(
    item_id: str, item_version: int, version: int, op: Any = "update", module: str = "friends"
) -> ModuleEntry:
    return ModuleEntry(module, item_id, op, item_version, version)


def due_items(store: Store) -> list[tuple[str, str, str, int]]:
    return [(e.module, e.item_id, e.op, e.item_version) for e in store.pending_items(99, T0, 0)]


def test_module_items_are_kept_by_their_version(store: Store) -> None:
    def apply(cursor: str, *items: ModuleEntry) -> list[tuple[str, int, int]]:
        feed(store, delta(cursor=cursor, modules=items))
        due = store.pending_items(9, T0, 0)
        for e in due:
            store.ack(e)
        return [(e.op, e.item_version, e.version) for e in due]

    feed(store, first(cursor="c0"))
    assert due_items(store) == [], "what is reset, the server says"
    assert apply("c1", item("f1", 1, 10, "insert")) == [("insert", 1, 10)]
    assert apply("c2", item("f1", 1, 10, "insert")) == []
    assert apply("c3", item("f1", 3, 12), item("f1", 2, 13)) == [("update", 3, 12)]
    assert apply("c4", item("f1", 3, 14, "delete")) == [("delete", 3, 14)]


def test_items_on_the_first_page_go_on_as_in_a_delta(store: Store) -> None:
    feed(store, first(cursor="c0", modules=(item("f1", 3, 3),)))
    news = (item("f1", 2, 9), item("f2", 1, 8))
    feed(store, first(cursor="c1", reason=Reason.TOO_MANY, modules=news), fresh=True)
    assert due_items(store) == [("friends", "f1", "update", 3), ("friends", "f2", "update", 1)]


def test_a_reset_of_all_modules_has_them_fetched_anew(store: Store) -> None:
    feed(store, first(page="p1", module_resets=("*",)), further(cursor="c1"))
    feed(store, delta(cursor="c2", modules=(item("f1", 7, 7),)))
    due = store.pending_items(9, T0, 0)
    assert due_items(store) == [("*", "", "refresh", 0), ("friends", "f1", "update", 7)]
    applied = feed(store, first(page="p1", reason=Reason.AHEAD, module_resets=("*",)))
    assert applied.enqueued == 0, "a refresh is not counted"
    assert due_items(store) == [("*", "", "refresh", 0)]
    assert [store.ack(e) for e in due] == [False, False], "fetched before the reset: once more"
    feed(store, further(cursor="c3"))
    assert [store.ack(e) for e in store.pending_items(9, T0, 0)] == [True]
    # The server lost versions: what it counts now is news again.
    feed(store, delta(cursor="c4", modules=(item("f1", 2, 2),)))
    assert due_items(store) == [("friends", "f1", "update", 2)]


def test_one_module_is_reset_alone_and_before_the_items_of_the_same_answer(store: Store) -> None:
    folder = item("d1", 5, 5, module="folders")
    feed(store, first(cursor="c0"))
    feed(store, delta(cursor="c1", modules=(item("f1", 7, 7), item("f2", 7, 8), folder)))
    feed(store, delta(cursor="c2", module_resets=("friends",), modules=(item("f1", 2, 9),)))
    assert due_items(store) == [
        ("folders", "d1", "update", 5),
        ("friends", "", "refresh", 0),
        ("friends", "f1", "update", 2),
    ]
    known = store._db.execute("SELECT module, item_id FROM modules ORDER BY 1").fetchall()
    assert known == [("folders", "d1"), ("friends", "f1")]
    feed(store, delta(cursor="c3", module_resets=("friends", "*")))
    assert due_items(store) == [("*", "", "refresh", 0)]


def test_the_reason_of_a_correction_is_kept_over_its_pages(store: Store) -> None:
    feed(store, first(page="p1", reason=Reason.EXPIRED, total=7))
    feed(store, further(cursor="c1"))
    assert (store.load().reason, store.load().total) == ("expired", 7)
    feed(store, delta(entry("sg_1", 1, 1), cursor="c2"))
    assert (store.load().reason, store.load().total) == ("expired", 7)
    feed(store, first(cursor="c3", reason=Reason.FRESH), fresh=True)
    assert (store.load().reason, store.load().total) == ("fresh", None)


# The list of pinned conversations.


def pins(store: Store) -> set[str]:
    return {i for i, state in held(store).items() if state.own.pinned}


def test_the_list_of_pins_is_the_whole_list(store: Store) -> None:
    pinned = OwnState(pinned=True)
    feed(
        store,
        first(
            *(entry(i, 1, 1, own=pinned) for i in ("stays", "goes")),
            *(entry(i, 1, 1) for i in ("comes", "other")),
            cursor="c1",
        ),
    )
    drain(store)
    applied = feed(store, delta(cursor="c2", pinned=("comes", "not held", "stays")))
    assert pins(store) == {"stays", "comes"}
    assert applied.enqueued == 2
    assert queued(store) == {"goes": Kinds.STATE, "comes": Kinds.STATE}
    assert [v.pinned for v in store.conversations(9, None)] == [True, True, False, False]
    drain(store)
    assert feed(store, delta(cursor="c3")).enqueued == 0
    assert pins(store) == {"stays", "comes"}, "no list says nothing"
    assert feed(store, delta(cursor="c4", pinned=())).enqueued == 2
    assert pins(store) == set()


def test_pins_are_applied_after_the_entries_and_told_once(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 1), entry("sg_2", 1, 1), cursor="c1"))
    drain(store)
    applied = feed(
        store,
        delta(
            entry("sg_1", 3, 2, own=OwnState(muted=True)),
            entry("sg_2", 4, own=OwnState(pinned=True)),
            entry("sg_3", 5, own=OwnState()),
            cursor="c2",
            pinned=("sg_1", "sg_3"),
        ),
    )
    assert pins(store) == {"sg_1", "sg_3"}
    # Pinned by its entry and unpinned by the list: as it was.
    assert queued(store) == {"sg_1": Kinds.MESSAGE | Kinds.STATE, "sg_3": Kinds.STATE}
    assert applied.enqueued == 2
    assert {e.conversation_id: e.version for e in store.pending(9, T0, 0)} == {"sg_1": 3, "sg_3": 5}


def test_a_pin_does_not_save_a_row_from_a_correction_that_does_not_name_it(store: Store) -> None:
    feed(store, first(entry("sg_1", 1, 1), cursor="c1"))
    feed(store, first(page="p1", pinned=("sg_1",)), fresh=True)
    assert pins(store) == {"sg_1"}
    assert feed(store, further(cursor="c2")).removed == 1
    assert held(store) == {}


def test_more_pins_than_sqlite_takes_arguments(store: Store) -> None:
    ids = [f"sg_{n}" for n in range(1_000)]
    feed(store, first(*(entry(i, 1, 1) for i in ids), cursor="c1"))
    feed(store, delta(cursor="c2", pinned=(*ids, *(f"x{n}" for n in range(2_000)))))
    assert pins(store) == set(ids)


# Corrections.


def corrected(store: Store, *answers: SyncResponse) -> Applied:
    """Apply answers to a session that verifies, from the first on; return what the last did."""
    session = SyncCourse(store.load(), "phone", verify=store.states)
    applied = Applied(0, 0)
    for answer in answers:
        assert session.next_request() is not None
        applied = store.apply(session.receive(answer), T0)
    return applied


PARTS = correction(parts=(RangeDigests(KeyRange(0, 0), bytes(8)),), root=bytes(16))


def test_rows_of_a_correction_replace_and_are_enqueued_like_those_of_a_page(store: Store) -> None:
    gone = OwnState(deleted_seq=9)
    names = ("same", "more", "less", "unlisted", "other")
    own = {"unlisted": gone}
    feed(store, first(*(entry(i, 1, 5, own=own.get(i)) for i in names), cursor="c1"))
    drain(store)
    applied = corrected(
        store,
        PARTS,
        correction(
            entry("same", 2, 5),
            entry("more", 2, 6),
            entry("less", 2, 4),
            entry("unlisted", 2, 6, own=gone),
            entry("new", 2, 1),
            root=bytes(16),
        ),
    )
    assert {i: s.max_seq for i, s in held(store).items()} == {
        "same": 5, "more": 6, "less": 4, "unlisted": 6, "new": 1, "other": 5,
    }  # fmt: skip
    assert set(queued(store)) == {"more", "less", "new"}
    assert applied == Applied(enqueued=3, removed=0)
    assert store.load().cursor == "c1"
    feed(store, delta(entry("less", 3, 3), cursor="c2"))
    assert held(store)["less"].max_seq == 4, "and from then on, they merge"


def test_what_a_correction_finds_gone_is_gone_from_rows_and_queue(store: Store) -> None:
    feed(store, first(*(entry(f"sg_{n}", 1, n) for n in range(1, 4)), cursor="c1"))
    store.set_draft("sg_2", "half a", T0)
    hashes = {row.conversation_id: digests.row_hash(row) for row in digest_rows(store.states())}
    answer = correction(
        entry("sg_1", 2, 9), gone=hashes["sg_1"] + hashes["sg_2"] + b"none", root=bytes(16)
    )
    assert corrected(store, PARTS, answer) == Applied(enqueued=1, removed=1)
    assert {i: s.max_seq for i, s in held(store).items()} == {"sg_1": 9, "sg_3": 3}
    rows = store._db.execute("SELECT item_id FROM pending WHERE module = '' ORDER BY 1").fetchall()
    assert rows == [("sg_1",), ("sg_3",)]
    feed(store, delta(entry("sg_2", 3, 3), cursor="c2"))
    view = store.conversation("sg_2")
    assert view is not None
    assert view.draft == "half a", "the draft is the user's, not the server's"


def test_of_a_correction_that_was_cut_nothing_is_removed(store: Store) -> None:
    feed(store, first(*(entry(f"sg_{n}", 1, n) for n in range(1, 4)), cursor="c1"))
    gone = b"".join(digests.row_hash(row) for row in digest_rows(store.states()))
    answer = correction(entry("sg_1", 2, 9), gone=gone, has_more=True, root=bytes(16))
    assert corrected(store, PARTS, answer).removed == 0
    assert set(held(store)) == {"sg_1", "sg_2", "sg_3"}


def test_two_processes_do_not_undo_each_other(tmp_path: Path) -> None:
    path = tmp_path / "im.db"
    one, two = Store(path, "u1", "phone"), Store(path, "u1", "phone")
    sessions = [SyncCourse(one.load(), "phone"), SyncCourse(two.load(), "phone")]
    for session in sessions:
        session.next_request()
    one.apply(sessions[0].receive(first(entry("sg_1", 9, 9), cursor="c9")), T0)
    with pytest.raises(StoreConflictError, match="sync again"):
        two.apply(sessions[1].receive(first(entry("sg_1", 1, 1), cursor="c1")), T0)
    assert two.load().cursor == "c9"
    assert held(two)["sg_1"].max_seq == 9
    one.close()
    two.close()


def test_a_store_of_another_user_is_not_opened(tmp_path: Path) -> None:
    Store(tmp_path / "im.db", "u1", "phone").close()
    with pytest.raises(StoreOwnerError):
        Store(tmp_path / "im.db", "u2", "phone")
    Store(tmp_path / "im.db", "u1", "tablet").close()


def test_a_store_may_learn_later_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "im.db"
    store = Store(path)
    assert store.user_id is None
    drawn = store.device_id
    assert len(drawn) == 16
    store.close()
    store = Store(path)
    assert (store.user_id, store.device_id) == (None, drawn)
    store.bind("u1")
    store.bind("u1")
    with pytest.raises(StoreOwnerError, match="'u1'"):
        store.bind("u2")
    assert store.user_id == "u1"
    store.close()
    for user_id, device_id, expected in (
        (None, None, drawn),
        ("u1", "tablet", "tablet"),
        (None, None, "tablet"),
    ):
        store = Store(path, user_id, device_id)
        assert (store.user_id, store.device_id) == ("u1", expected)
        assert store.set_aside is None
        store.close()


def test_opening_a_store_that_is_known_waits_for_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "im.db"
    Store(path, "u1", "phone").close()
    writer = database.connect(str(path))
    writer.execute("BEGIN IMMEDIATE")
    store = Store(path, "u1", "phone")
    assert store.load().cursor is None
    store.close()
    writer.execute("ROLLBACK")
    writer.close()


def test_when_all_was_seen_to_be_the_servers_is_noted(store: Store) -> None:
    assert store.load().verified_at_ms is None
    store.note_verified(T0 + 7)
    assert store.load().verified_at_ms == T0 + 7


def test_fifty_thousand_conversations_fit_in_twenty_megabytes(tmp_path: Path) -> None:
    """All unread and all pending, with what the log keeps; and after all were processed."""
    path = tmp_path / "im.db"
    count, page = 50_000, 1_000
    entries = [
        entry(
            f"si_{1_234_567_890}_{(n * 7_919 % count) + 9_876_500_000}",
            10_000_000 + n,
            4_321,
            4_310,
            OwnState(membership_at_ms=T0),
            T0 + n * 6_007_001 % 10_000_000_000,
        )
        for n in range(count)
    ]
    entries.sort(key=lambda e: e.conversation_id)
    store = Store(path, "u1", "phone")
    course = SyncCourse(store.load(), "phone")
    for at in range(0, count, page):
        course.next_request()
        token = {"cursor": "c" * 100} if at + page == count else {"page": f"{at:0100}"}
        make = further if at else first
        store.apply(course.receive(make(*entries[at : at + page], **token)), T0)

    def size() -> int:
        return sum(one.stat().st_size for one in tmp_path.iterdir() if "-shm" not in one.name)

    assert store.pending_count() == count
    assert size() <= 20_000_000
    while claimed := store.pending(1_000, T0):
        with database.transaction(store._db):
            for one in claimed:
                pending.ack(store._db, one)
    assert store.pending_count() == 0
    assert size() <= 20_000_000
    store.close()


def test_errors_of_sqlite_are_errors_of_the_store(store: Store) -> None:
    store._db.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError, match="nothing was changed"):
        store.set_draft("a", "text", 1)


def test_a_store_that_is_closed_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.load()


def test_a_rebuild_that_failed_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "im.db", "u1")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("sdk.client.recovery.os.replace", fail)
        patched.setattr("sdk.client.recovery.os.rename", fail)
        with pytest.raises(StoreError):
            store.rebuild(1)
    with pytest.raises(StoreDamagedError, match="rebuilt"):
        store.load()
    assert store.rebuild(2).path
    assert store.load().cursor is None


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
    assert held(two) == {}
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
    assert seen == {(None, 0, 0), ("c1", 2, 2)}
    reader.close()
    store.close()
