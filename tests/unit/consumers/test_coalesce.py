"""Folding: a batch leaves the same cells however the log is cut, and no change is just dropped."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumers import statements
from consumers.coalesce import Fold
from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.versions import version_of, window_start
from tests.unit.consumers.support import T0, WINDOW_MS
from tests.unit.infra.cassandra.support import Cells

GROUP = "sg_1"
TTL_S = 600

Place = tuple[Change, int, int]
"""A change, its version, its window."""


def message(seq: int, *users: str, sender: str | None = None) -> MessageChange:
    return MessageChange(GROUP, users or ("ann",), seq, T0 + seq, sender)


def read(seq: int, user: str = "ann") -> ReadChange:
    return ReadChange(GROUP, (user,), seq)


def state(stamp: int, **parts: Any) -> StateChange:
    return StateChange(GROUP, ("ann",), stamp, **parts)


def placed(changes: Sequence[Change], at_ms: int = T0) -> list[Place]:
    window_ms = window_start(at_ms, WINDOW_MS)
    return [(change, version_of(1, offset), window_ms) for offset, change in enumerate(changes, 1)]


def fold(*changes: Change) -> Fold:
    return folded(placed(changes))


def folded(places: Sequence[Place]) -> Fold:
    found = Fold()
    for place in places:
        found.add(*place)
    return found


def apply(cells: Cells, places: Sequence[Place]) -> Cells:
    """Write what a batch leaves, as the materializer does."""
    found = folded(places)
    for by_user in (statements.state(cells, found, TTL_S), statements.index(cells, found, TTL_S)):
        for batches in statements.grouped(cells, by_user, 50):
            cells.write(batches, in_flight=1)
    return cells


def row(found: Fold, user: str = "ann") -> Any:
    return found.rows[user, T0, GROUP]


def v(offset: int) -> int:
    return version_of(1, offset)


# What a row says.


def test_the_greatest_sequence_and_its_version_stand_for_all_messages() -> None:
    found = row(fold(message(3), message(5), message(4)))
    assert (found.max_seq, found.active_at_ms, found.message_version) == (5, T0 + 5, v(2))


def test_a_message_repeated_takes_the_newer_version() -> None:
    assert row(fold(message(5), message(5))).message_version == v(2)


def test_every_user_of_a_record_has_a_row() -> None:
    found = fold(message(1, "ann", "bob"), message(2, "bob"))
    assert (row(found, "ann").max_seq, row(found, "bob").max_seq) == (1, 2)
    assert found.marks == 3


def test_the_senders_message_is_read_by_him_and_by_nobody_else() -> None:
    found = fold(message(4, "ann", "bob", sender="ann"))
    assert (row(found, "ann").read_seq, row(found, "ann").read_version) == (4, v(1))
    assert row(found, "bob").read_version == 0
    assert found.inbox["ann", GROUP].read_seq == 4
    assert ("bob", GROUP) not in found.inbox


def test_kinds_of_one_row_keep_versions_of_their_own() -> None:
    found = row(fold(message(4), read(3), state(7, pinned=True)))
    assert (found.message_version, found.read_version, found.state_version) == (v(1), v(2), v(3))


def test_a_read_marker_never_goes_back() -> None:
    found = fold(read(5), read(3))
    assert (row(found).read_seq, row(found).read_version) == (5, v(1))
    assert found.inbox["ann", GROUP].read_seq == 5


def test_a_read_marker_of_zero_is_one() -> None:
    assert row(fold(read(0))).read_version == v(1)


def test_windows_and_conversations_have_rows_of_their_own() -> None:
    found = Fold()
    found.add(message(1), v(1), T0)
    found.add(message(2), v(2), T0 + WINDOW_MS)
    found.add(MessageChange("sg_2", ("ann",), 1, T0), v(3), T0)
    assert len(found.rows) == 3


def test_a_message_touches_no_inbox() -> None:
    assert fold(message(1)).inbox == {}


# Own state.


def test_the_newest_stamp_wins_in_every_flag_by_itself() -> None:
    inbox = fold(
        state(9, pinned=True), state(8, pinned=False, muted=True), state(7, muted=False)
    ).inbox["ann", GROUP]
    assert (inbox.pinned, inbox.muted) == ((9, True), (8, True))


def test_membership_is_that_of_the_newest_stamp() -> None:
    there, gone = Membership(True, 9, T0), Membership(False, 4, T0)
    assert fold(state(2, membership=gone), state(1, membership=there)).inbox[
        "ann", GROUP
    ].membership == (2, gone)


def test_sequences_of_own_state_never_go_back() -> None:
    inbox = fold(
        state(1, min_seq=7, deletion=Deletion(7, 10)),
        state(2, min_seq=3, deletion=Deletion(3, 99)),
        state(3, deletion=Deletion(7, 11)),
    ).inbox["ann", GROUP]
    assert inbox.min_seq == 7
    assert inbox.deletion == Deletion(7, 11)


def test_the_side_is_that_of_the_newest_mode_whatever_event_it_came_from() -> None:
    inbox = fold(state(99, read_side=False, mode_epoch=3), state(1, read_side=True, mode_epoch=5))
    assert inbox.inbox["ann", GROUP].read_side == (5, True)


def test_of_one_mode_epoch_being_on_the_read_side_wins() -> None:
    for order in ((True, False), (False, True)):
        found = fold(*(state(9, read_side=side, mode_epoch=1) for side in order))
        assert found.inbox["ann", GROUP].read_side == (1, True)


def test_a_record_read_twice_in_one_batch_takes_no_version_back() -> None:
    """A partition lost and given back between two records of a batch begins again at the commit."""
    once = placed([message(1), state(5, pinned=True), read(1), state(6, muted=True)])
    assert folded([*once, *once[:2]]).rows == folded(once).rows


# Modules.


def test_of_a_module_item_the_greatest_version_stands() -> None:
    old, new = (ModuleChange(("ann",), "friends", "bob", "update", n) for n in (1, 2))
    key = ("ann", T0, "friends", "bob")
    assert fold(old, new).modules[key] == (v(2), new)
    assert fold(new, old).modules[key] == (v(1), new)


def test_module_items_have_rows_of_their_own() -> None:
    found = fold(
        ModuleChange(("ann",), "friends", "bob", "insert", 1),
        ModuleChange(("ann",), "friends", "cid", "insert", 1),
        ModuleChange(("ann",), "folders", "bob", "insert", 1),
    )
    assert len(found.modules) == 3


# However the log is cut.

users = st.lists(st.sampled_from(["ann", "bob"]), min_size=1, unique=True).map(tuple)
groups = st.sampled_from(["sg_1", "sg_2"])
seqs = st.integers(0, 4)


def own_state(group: str, users: tuple[str, ...], stamp: int, parts: dict[str, Any]) -> StateChange:
    """What has a stamp is a function of it, because equal stamps are the same source event."""
    return StateChange(
        group,
        users,
        stamp,
        membership=Membership(stamp % 2 == 0, stamp, stamp) if stamp % 3 == 0 else None,
        pinned=stamp % 4 == 0 if stamp % 5 == 0 else None,
        muted=stamp % 4 == 1 if stamp % 7 == 0 else None,
        read_side=(stamp // 4) % 2 == 0 if stamp % 2 else None,
        mode_epoch=stamp // 8 if stamp % 2 else 0,
        **parts,
    )


some_state = st.builds(
    own_state,
    groups,
    users,
    st.integers(1, 30),
    st.fixed_dictionaries(
        {},
        optional={
            "min_seq": st.integers(1, 4),
            "deletion": st.builds(Deletion, seqs, st.integers(0, 3)),
        },
    ),
)
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        lambda group, users, seq, sends: MessageChange(
            group, users, seq, T0 + seq, users[0] if sends else None
        ),
        groups,
        users,
        st.integers(1, 4),
        st.booleans(),
    ),
    st.builds(ReadChange, groups, users, seqs),
    some_state,
    st.builds(
        ModuleChange,
        users,
        st.just("friends"),
        st.sampled_from("xy"),
        st.just("update"),
        st.integers(1, 3),
    ),
)


def windowed(found: Sequence[tuple[Change, int]]) -> list[Place]:
    return [
        (change, version_of(1, offset), T0 + window * WINDOW_MS)
        for offset, (change, window) in enumerate(found, 1)
    ]


logs = st.lists(st.tuples(changes, st.integers(0, 1)), max_size=14).map(windowed)


@given(logs, st.data())
def test_any_cut_of_the_log_leaves_the_same_cells(log: list[Place], data: st.DataObject) -> None:
    whole = apply(Cells(), log)
    cut, rest = Cells(), log
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        apply(cut, rest[:size])
        rest = rest[size:]
    assert cut.rows == whole.rows


@given(logs, st.data())
def test_a_batch_repeated_from_anywhere_changes_nothing(
    log: list[Place], data: st.DataObject
) -> None:
    whole = apply(Cells(), log)
    before = copy.deepcopy(whole.rows)
    start = data.draw(st.integers(0, len(log)))
    end = data.draw(st.integers(start, len(log)))
    apply(whole, log[start:end])
    assert whole.rows == before


@given(logs)
def test_every_change_is_found_by_whoever_stands_before_it(log: list[Place]) -> None:
    """Visible, or superseded: of each change there is a row of its user, in its window, of a version
    not below, which says as much. So a cursor before it finds it.
    """
    cells = apply(Cells(), log)
    rows = cells.table("changes_by_user")
    for change, version, window_ms in log:
        if isinstance(change, ModuleChange):
            continue
        for user in change.users:
            found = rows[user, window_ms, change.conversation_id]
            later = [v for c, v, w in log if v >= version]
            match change:
                case MessageChange():
                    assert found["max_seq"] >= change.max_seq
                    assert found["message_version"] in later or found["max_seq"] > change.max_seq
                case ReadChange():
                    assert found["read_seq"] >= change.read_seq
                    assert found["read_version"] in later or found["read_seq"] > change.read_seq
                case StateChange():
                    assert found["state_version"] >= version


@given(logs, st.lists(st.integers(0, 13), max_size=6))
def test_a_zombie_that_repeats_old_messages_lowers_nothing(
    log: list[Place], repeated: list[int]
) -> None:
    """A worker that was replaced without knowing says old things at new versions."""
    cells = apply(Cells(), log)
    before = cells.table("changes_by_user")
    heads, pins = cells.table("inbox"), cells.table("pinned_by_user")
    again = [log[index][0] for index in repeated if index < len(log)]
    places = [
        (change, version_of(1, 100 + index), T0 + WINDOW_MS) for index, change in enumerate(again)
    ]
    apply(cells, places)
    for key, row in cells.table("changes_by_user").items():
        for column in ("max_seq", "read_seq"):
            assert row.get(column, -1) >= before.get(key, {}).get(column, -1)
    assert cells.table("inbox") == heads
    assert cells.table("pinned_by_user") == pins


def greatest(values: Iterable[Any]) -> Any:
    return max(values, default=None)


def newest(states: Sequence[StateChange], part: str) -> Any:
    found = [(one.stamp, getattr(one, part)) for one in states if getattr(one, part) is not None]
    return max(found, key=lambda pair: pair[0], default=(0, None))[1]


@given(logs)
def test_inbox_cells_are_those_of_the_greatest_and_the_newest(log: list[Place]) -> None:
    """The merge rules in one line each, on all changes of a row at once."""
    applied = apply(Cells(), log)
    cells, pins = applied.table("inbox"), applied.table("pinned_by_user")
    for user, group in itertools.product(["ann", "bob"], ["sg_1", "sg_2"]):
        mine = [
            change
            for change, _, _ in log
            if user in change.users and getattr(change, "conversation_id", None) == group
        ]
        states = [change for change in mine if isinstance(change, StateChange)]
        reads = [change.read_seq for change in mine if isinstance(change, ReadChange)]
        reads += [
            change.max_seq
            for change in mine
            if isinstance(change, MessageChange) and change.sender_id == user
        ]
        deletions = [(d.seq, d.at_ms) for d in (one.deletion for one in states) if d is not None]
        membership = newest(states, "membership") or Membership(None, None, None)
        expected = {
            "read_seq": greatest(reads),
            "min_seq": greatest(one.min_seq for one in states if one.min_seq is not None),
            "deleted_seq": greatest(deletions)[0] if deletions else None,
            "deleted_at_ms": greatest(deletions)[1] if deletions else None,
            "pinned": newest(states, "pinned"),
            "muted": newest(states, "muted"),
            "member": membership.member,
            "user_max_seq": membership.user_max_seq,
            "membership_at_ms": membership.at_ms,
        }
        found = cells.get((user, group), {})
        assert {name: found.get(name) for name in expected} == expected
        assert pins.get((user, group), {}).get("pinned") == expected["pinned"]
