"""Statements: what becomes readable together, what is one batch, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import statements
from consumers.coalesce import Fold
from consumers.statements import USER_ROWS_MAX
from infra.cassandra.changes_by_user import (
    UPDATE_MESSAGE,
    UPDATE_OWN_MESSAGE,
    UPDATE_READ,
    UPDATE_STATE,
)
from infra.cassandra.module_changes_by_user import UPDATE_ITEM
from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.rows import MODULES_MARK
from schemas.versions import version_of
from tests.unit.consumers.support import T0
from tests.unit.infra.cassandra.support import Bound, Cells, written

GROUP = "sg_1"
TTL_S = 600


def fold(*changes: Change) -> Fold:
    found = Fold()
    for offset, change in enumerate(changes, 1):
        found.add(change, version_of(1, offset), T0)
    return found


def index(*changes: Change, user: str = "ann") -> list[Any]:
    return statements.index(Cells(), fold(*changes), TTL_S).get(user, [])


def state(*changes: Change, user: str = "ann") -> list[Any]:
    return statements.state(Cells(), fold(*changes), TTL_S).get(user, [])


def message(seq: int, *users: str, sender: str | None = None) -> MessageChange:
    return MessageChange(GROUP, users or ("ann",), seq, T0, sender)


class Replicas(Cells):
    """Names the replica set of a user by his first letter."""

    def replica_set(self, partition_key: bytes) -> object:
        return partition_key[:1]


# Index.


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([message(4)], [UPDATE_MESSAGE]),
        ([ReadChange(GROUP, ("ann",), 4)], [UPDATE_READ]),
        ([StateChange(GROUP, ("ann",), 1, pinned=True)], [UPDATE_STATE]),
        ([ModuleChange(("ann",), "friends", "bob", "insert", 1)], [UPDATE_STATE]),
        ([message(4, sender="ann")], [UPDATE_OWN_MESSAGE]),
        ([message(4, sender="ann"), message(5)], [UPDATE_READ, UPDATE_MESSAGE]),
        ([message(4), ReadChange(GROUP, ("ann",), 4)], [UPDATE_MESSAGE, UPDATE_READ]),
        (
            [message(4, sender="ann"), ReadChange(GROUP, ("ann",), 5)],
            [UPDATE_MESSAGE, UPDATE_READ],
        ),
    ],
)
def test_an_own_message_is_one_write_only_when_both_cells_say_the_same(
    changes: list[Change], expected: list[str]
) -> None:
    assert [found.cql for found in index(*changes)] == expected


def test_a_module_item_is_written_before_the_mark_that_points_at_it() -> None:
    item = ModuleChange(("ann",), "friends", "bob", "insert", 1)
    assert [found.cql for found in state(item)] == [UPDATE_ITEM]
    (mark,) = index(item)
    name, cells, key, _, ttl_s = written(mark)
    assert (name, key["conversation_id"], ttl_s) == ("changes_by_user", MODULES_MARK, TTL_S)
    assert written(state(item)[0])[1]["version"] == cells["state_version"]


def test_rows_of_a_user_are_in_the_order_of_their_versions() -> None:
    found = index(
        StateChange("sg_9", ("ann",), 1, pinned=True),
        message(1),
        ModuleChange(("ann",), "friends", "bob", "insert", 1),
        ReadChange("sg_0", ("ann",), 1),
        ReadChange("sg_9", ("ann",), 1),
    )
    versions = [
        next(value for column, value in written(one)[1].items() if column.endswith("version"))
        for one in found
    ]
    assert versions == [version_of(1, offset) for offset in range(1, 6)]


def test_index_rows_expire_and_state_does_not() -> None:
    changes = [message(1, sender="ann"), StateChange(GROUP, ("ann",), 1, pinned=True)]
    assert {written(found)[4] for found in index(*changes)} == {TTL_S}
    assert {written(found)[4] for found in state(*changes)} == {None}


# State.


def test_every_part_of_own_state_has_a_cell_of_its_own_stamp() -> None:
    change = StateChange(
        GROUP,
        ("ann",),
        77,
        membership=Membership(True, 9, T0),
        min_seq=3,
        deletion=Deletion(5, T0),
        pinned=True,
        muted=False,
        read_side=True,
        mode_epoch=2,
    )
    stamps = {}
    for found in state(change, ReadChange(GROUP, ("ann",), 6)):
        table, cells, key, stamp, _ = written(found)
        assert key["user_id"] == "ann"
        stamps |= {(table, column): (stamp, value) for column, value in cells.items()}
    assert stamps == {
        ("inbox", "read_seq"): (6, 6),
        ("inbox", "min_seq"): (3, 3),
        ("inbox", "deleted_seq"): (5, 5),
        ("inbox", "deleted_at_ms"): (5, T0),
        ("inbox", "member"): (77, True),
        ("inbox", "membership_at_ms"): (77, T0),
        ("inbox", "user_max_seq"): (77, 9),
        ("inbox", "pinned"): (77, True),
        ("inbox", "muted"): (77, False),
        ("pinned_by_user", "pinned"): (77, True),
        ("read_side_by_user", "on_read_side"): (2, True),
    }


@pytest.mark.parametrize("pinned", [True, False])
def test_a_pin_is_said_in_the_inbox_and_in_the_list_in_one_batch(pinned: bool) -> None:
    """Of one partition key: Cassandra applies both at once."""
    found = fold(StateChange(GROUP, ("ann",), 77, pinned=pinned))
    by_user = statements.state(Cells(), found, TTL_S)
    ((batch,),) = statements.grouped(Cells(), by_user, 50)
    taken = [written(one) for one in batch]
    assert [one[0] for one in taken] == ["inbox", "pinned_by_user"]
    assert taken[0][1:] == taken[1][1:] == ({"pinned": pinned}, taken[0][2], 77, None)


def test_state_without_a_pin_leaves_the_list_alone() -> None:
    there = Membership(True, 9, T0)
    change = StateChange(GROUP, ("ann",), 1, membership=there, muted=True)
    assert {written(found)[0] for found in state(change)} == {"inbox"}


def test_a_message_of_others_writes_no_state() -> None:
    assert state(message(1)) == []


# Grouping.


def some(user: str, rows: int) -> dict[str, list[Any]]:
    return {user: [Bound(f"{user}{row}", ()) for row in range(rows)]}


def grouped(by_user: dict[str, list[Any]], rows_max: int) -> list[list[list[Any]]]:
    """Rounds of batches of names."""
    return [
        [[one.cql for one in (found if isinstance(found, list) else [found])] for found in batches]
        for batches in statements.grouped(Replicas(), by_user, rows_max)
    ]


def test_batches_hold_one_replica_set_each() -> None:
    by_user = some("a1", 1) | some("b1", 1) | some("a2", 1) | some("b2", 1)
    assert grouped(by_user, 10) == [[["a10", "a20"], ["b10", "b20"]]]


def test_a_batch_of_one_is_no_batch() -> None:
    (batches,) = statements.grouped(Replicas(), some("a1", 1), 10)
    assert batches == some("a1", 1)["a1"]


def test_batches_end_at_the_bound() -> None:
    by_user = some("a1", 2) | some("a2", 2) | some("a3", 2)
    assert [len(batch) for batch in grouped(by_user, 4)[0]] == [4, 2]


def test_all_rows_of_a_user_are_in_one_batch_even_above_the_bound() -> None:
    by_user = some("a1", 3) | some("a2", 20) | some("a3", 3)
    assert [len(batch) for batch in grouped(by_user, 5)[0]] == [3, 20, 3]


def test_a_user_with_too_many_rows_gets_them_in_rounds_oldest_first() -> None:
    by_user = some("a1", USER_ROWS_MAX * 2 + 1) | some("a2", 1)
    rounds = grouped(by_user, 50)
    assert [[len(batch) for batch in batches] for batches in rounds] == [
        [USER_ROWS_MAX, 1],
        [USER_ROWS_MAX],
        [1],
    ]
    names = [name for batches in rounds for batch in batches for name in batch if name[:2] == "a1"]
    assert names == [one.cql for one in by_user["a1"]]


def test_nothing_is_no_round() -> None:
    assert grouped({}, 50) == []


by_users = st.dictionaries(
    st.sampled_from([f"{letter}{n}" for letter in "abc" for n in range(4)]), st.integers(1, 1_100)
)


@given(by_users, st.integers(1, 200))
def test_grouping_loses_nothing_repeats_nothing_and_splits_no_user(
    sizes: dict[str, int], rows_max: int
) -> None:
    by_user: dict[str, list[Any]] = {}
    for user, rows in sizes.items():
        by_user |= some(user, rows)
    rounds = grouped(by_user, rows_max)
    names = [name for batches in rounds for batch in batches for name in batch]
    assert sorted(names) == sorted(one.cql for found in by_user.values() for one in found)
    for batches in rounds:
        homes: dict[str, int] = {}
        for number, batch in enumerate(batches):
            users = {name[:2] for name in batch}
            assert len({user[0] for user in users}) == 1, "one replica set"
            assert len(batch) <= rows_max or len(users) == 1
            assert all(homes.setdefault(user, number) == number for user in users)
