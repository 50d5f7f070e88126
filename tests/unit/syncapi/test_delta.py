"""Deltas: what changed since a cursor, and how it is cut into pages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.conversations import OwnState
from schemas.heads import Head
from schemas.limits import OFFSET_MAX
from schemas.protocol import ConversationEntry
from schemas.rows import MODULES_MARK, ChangeRow, InboxRow
from schemas.versions import epoch_of, version_of
from syncapi import delta
from syncapi.delta import CLOCK_SKEW_MS, READ_SIDE_MARGIN_MS, Collapsed
from tests.unit.syncapi.support import (
    HOUR_MS,
    T0,
    WINDOW_MS,
    cursor,
    ground,
    head,
    inbox_of,
    messaged,
    row,
)

# Where to look.


@given(
    st.integers(0, 10**6).map(lambda n: T0 + n * 1_000),
    st.integers(0, CLOCK_SKEW_MS),
    st.sampled_from([1_000, 60_000, WINDOW_MS, 24 * HOUR_MS]),
)
def test_a_change_that_a_slower_clock_stamped_is_looked_for(
    at_ms: int, skew_ms: int, window_ms: int
) -> None:
    """The next change of a user is appended later, by a clock behind by at most `CLOCK_SKEW_MS`."""
    delivered_in = at_ms - at_ms % window_ms
    next_in = (at_ms - skew_ms) - (at_ms - skew_ms) % window_ms
    assert delta.scan_from_ms(delivered_in, ground(window_ms=window_ms)) <= next_in


def test_who_never_had_a_change_is_looked_for_everywhere() -> None:
    assert delta.scan_from_ms(0, ground()) == 0


@given(st.integers(0, 2_000).map(lambda n: T0 - n * WINDOW_MS))
def test_the_scan_goes_back_by_one_window_and_no_further(window_ms: int) -> None:
    assert delta.scan_from_ms(window_ms, ground()) == window_ms - WINDOW_MS


# Collapse.


def test_only_changes_above_the_cursor_are_told() -> None:
    found = delta.collapse([messaged(5, 1, "sg_1"), messaged(6, 1, "sg_2")], since=5)
    assert set(found) == {"sg_2"}


def test_rows_of_all_windows_become_one_entry() -> None:
    rows = [messaged(9, 4, at=T0 + WINDOW_MS), messaged(5, 3), row(read_version=7, read_seq=2)]
    (found,) = delta.collapse(rows, since=0).values()
    assert found == Collapsed(
        max_seq=4,
        active_at_ms=T0 + 4,
        message_version=9,
        read_seq=2,
        read_version=7,
    )
    assert found.version == 9


def test_kinds_are_told_each_by_its_own_version() -> None:
    """A read marker written later does not hide the message before it, nor tell it again."""
    one = row(message_version=5, max_seq=3, read_version=8, read_seq=3, state_version=6)
    (all_of_it,) = delta.collapse([one], since=4).values()
    assert (all_of_it.message_version, all_of_it.read_version, all_of_it.state_version) == (5, 8, 6)
    (later,) = delta.collapse([one], since=6).values()
    assert (later.message_version, later.read_version, later.state_version) == (0, 8, 0)


def test_an_old_message_repeated_in_a_later_window_lowers_nothing() -> None:
    (found,) = delta.collapse(
        [messaged(20, 2, at=T0 + WINDOW_MS), messaged(5, 9)], since=0
    ).values()
    assert (found.max_seq, found.active_at_ms, found.message_version) == (9, T0 + 9, 20)


rows = st.lists(
    st.builds(
        row,
        st.sampled_from(["sg_1", "sg_2"]),
        st.sampled_from([T0, T0 + WINDOW_MS]),
        message_version=st.integers(0, 20),
        max_seq=st.integers(0, 9),
        read_version=st.integers(0, 20),
        read_seq=st.integers(0, 9),
        state_version=st.integers(0, 20),
    ),
    max_size=8,
)


@given(rows, st.integers(0, 20), st.randoms())
def test_collapse_does_not_depend_on_the_order_of_rows(
    found: list[ChangeRow], since: int, random: Any
) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    sides = [
        {
            key: {name: value for name, value in asdict(one).items() if name != "active_at_ms"}
            for key, one in delta.collapse(order, since).items()
        }
        for order in (found, shuffled)
    ]
    assert sides[0] == sides[1]


@given(rows, st.integers(0, 20))
def test_collapse_tells_exactly_the_conversations_that_changed(
    found: list[ChangeRow], since: int
) -> None:
    told = delta.collapse(found, since)
    assert set(told) == {one.conversation_id for one in found if one.version > since}
    for conversation_id, one in told.items():
        assert one.version == max(
            each.version for each in found if each.conversation_id == conversation_id
        )


# The cursor.

marks = st.lists(
    st.builds(
        lambda window_ms, version: row(MODULES_MARK, window_ms, state_version=version),
        st.sampled_from([T0, T0 + WINDOW_MS]),
        st.integers(1, 20),
    ),
    max_size=6,
)


@given(rows, marks, st.integers(0, 20), st.integers(0, 20))
def test_a_cursor_never_goes_back_and_covers_all_that_was_read(
    found: list[ChangeRow], marked: list[ChangeRow], version: int, modules_version: int
) -> None:
    before = cursor(version=version, modules_version=modules_version, window_ms=7)
    after = delta.advance(before, [*found, *marked])
    assert after.version == max([version, *(one.version for one in [*found, *marked])])
    assert after.modules_version == max([modules_version, *(one.version for one in marked)])
    assert delta.collapse([*found, *marked], after.version) == {}
    assert not delta.may_have_items(after, marked)


@given(rows, marks)
def test_a_cursor_takes_the_window_of_the_change_it_stands_at(
    found: list[ChangeRow], marked: list[ChangeRow]
) -> None:
    after = delta.advance(cursor(), [*found, *marked])
    if after.version:
        at = {r.window_ms for r in [*found, *marked] if r.version == after.version}
        assert after.window_ms in at
    if after.modules_version:
        at = {r.window_ms for r in marked if r.version == after.modules_version}
        assert after.modules_window_ms in at


def test_a_cursor_that_saw_nothing_new_stays_as_it_is() -> None:
    before = cursor(version=9, window_ms=T0, modules_version=8, modules_window_ms=T0)
    old = row(MODULES_MARK, T0 + 1, state_version=8)
    assert delta.advance(before, [messaged(9, 1, at=T0 + 1), old]) == before


def test_a_mark_is_no_conversation() -> None:
    assert delta.collapse([row(MODULES_MARK, state_version=8)], 0) == {}


def test_what_was_left_of_the_modules_is_read_without_a_mark() -> None:
    left = cursor(version=9, modules_version=3, modules_to=11)
    assert delta.may_have_items(left, [])
    begun = delta.begin(left, [], b"", T0)
    assert begun.modules_version == 11
    told = replace(begun, below=0, heads_below_ms=0, modules_below=0)
    assert not delta.may_have_items(delta.follow(left, told, b""), [])


def test_the_line_of_the_modules_goes_as_far_as_that_of_the_index() -> None:
    """Whatever stands behind an index row is readable when the modules are read, after it."""
    begun = delta.begin(cursor(version=3, modules_version=3), [messaged(9, 1)], b"", T0)
    assert (begun.version, begun.modules_version, begun.modules_window_ms) == (9, 9, T0)


def test_the_read_side_is_looked_at_if_it_has_heads_or_may_have_got_some() -> None:
    assert not delta.may_have_moved_sides(cursor(), [messaged(9, 1)])
    assert delta.may_have_moved_sides(cursor(), [row(state_version=9)])
    assert not delta.may_have_moved_sides(cursor(version=9), [row(state_version=9)])
    assert delta.may_have_moved_sides(cursor(heads_digest=b"x"), [])
    assert delta.sides_digest([], []) == b""
    assert delta.sides_digest(["sg_1"], []), "a set without a head is a set"


def test_nothing_but_versions_and_windows_of_a_cursor_moves() -> None:
    before = cursor(issued_at_ms=77)
    after = delta.advance(before, [messaged(9, 1)])
    assert replace(after, version=0, window_ms=0) == before


def test_the_newest_epoch_is_that_of_any_row() -> None:
    found = [messaged(version_of(1, OFFSET_MAX), 1), row(state_version=version_of(3, 0))]
    assert epoch_of(delta.newest_version(found)) == 3
    assert epoch_of(delta.newest_version([])) == 0


# News of the read side.


def test_heads_written_since_the_cursor_are_news_with_a_margin() -> None:
    edge_ms = T0 - READ_SIDE_MARGIN_MS
    heads = [
        head(1, "sg_1", updated_at_ms=edge_ms - 1),
        head(1, "sg_2", updated_at_ms=edge_ms),
        head(1, "sg_3", updated_at_ms=T0 + HOUR_MS),
    ]
    found = delta.read_side_news(heads, cursor(issued_at_ms=T0))
    assert [one.conversation_id for one in found] == ["sg_2", "sg_3"]


def test_heads_that_are_as_the_last_answer_left_them_are_no_news() -> None:
    heads = [head(7, "sg_1", updated_at_ms=T0), head(9, "sg_2", updated_at_ms=T0)]
    known = cursor(issued_at_ms=T0, heads_digest=delta.heads_digest(heads))
    assert delta.read_side_news(heads, known) == []
    assert delta.read_side_news(heads[::-1], known) == []
    newer = [heads[0], head(10, "sg_2", updated_at_ms=T0)]
    # All within the margin come again: which of them is newer than the client has, nobody kept.
    assert delta.read_side_news(newer, known) == newer
    fewer = heads[:1]
    assert delta.read_side_news(fewer, known) == fewer


def test_heads_that_differ_have_different_digests() -> None:
    found = [
        delta.heads_digest(heads)
        for heads in (
            [],
            [head(1, "a")],
            [head(2, "a")],
            [head(1, "b")],
            [head(1, "a"), head(1, "b")],
            [head(11, "a")],
            [head(1, "a1")],
        )
    ]
    assert len(set(found)) == len(found)
    assert found[0] == b""


def test_a_head_without_a_message_is_no_news() -> None:
    assert delta.read_side_news([head(0, updated_at_ms=T0)], cursor()) == []


# Entries.


def entries(
    collapsed: dict[str, Collapsed] | None = None,
    rows: dict[str, InboxRow] | None = None,
    heads: dict[str, Head] | None = None,
    news: list[Head] | None = None,
) -> dict[str, ConversationEntry]:
    made = delta.entries(collapsed or {}, rows or {}, heads or {}, news or [], 99)
    assert len({one.conversation_id for one in made}) == len(made)
    return {one.conversation_id: one for one in made}


def test_entries_come_newest_first() -> None:
    collapsed = delta.collapse([messaged(n, 1, f"sg_{n}") for n in (2, 9, 5)], since=0)
    made = delta.entries(collapsed, {}, {}, [head(1, "sg_0")], 99)
    assert [one.conversation_id for one in made] == ["sg_9", "sg_5", "sg_2"]
    made = delta.entries(collapsed, inbox_of("sg_0"), {}, [head(1, "sg_0")], 99)
    assert made[0].conversation_id == "sg_0"


def test_a_message_is_told_from_its_index_entry_alone() -> None:
    found = entries({"sg_1": Collapsed(max_seq=4, active_at_ms=T0, message_version=9)})
    assert found == {"sg_1": ConversationEntry("sg_1", 9, max_seq=4, active_at_ms=T0)}


def test_a_read_marker_is_told_without_a_message() -> None:
    found = entries({"sg_1": Collapsed(read_seq=4, read_version=9)}, inbox_of())
    assert found == {"sg_1": ConversationEntry("sg_1", 9, read_seq=4)}


@pytest.mark.parametrize("rows", [{}, {"sg_1": InboxRow("sg_1", 4, None)}])
def test_a_marker_of_who_never_belonged_is_not_told(rows: dict[str, InboxRow]) -> None:
    assert entries({"sg_1": Collapsed(read_seq=4, read_version=9)}, rows) == {}


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        (Collapsed(message_version=1), False),
        (Collapsed(message_version=1, read_version=1), False),
        (Collapsed(read_version=1), True),
        (Collapsed(state_version=1), True),
        (Collapsed(message_version=1, state_version=1), True),
    ],
)
def test_the_inbox_is_read_only_where_it_decides(change: Collapsed, needed: bool) -> None:
    assert delta.needs_own(change) is needed


def test_a_changed_state_comes_whole_with_inbox_and_head() -> None:
    found = entries(
        {"sg_1": Collapsed(state_version=9)},
        inbox_of(read_seq=3, pinned=True),
        {"sg_1": head(7)},
    )
    assert found == {
        "sg_1": ConversationEntry(
            "sg_1", 9, max_seq=7, active_at_ms=T0 + 7, read_seq=3, own=OwnState(pinned=True)
        )
    }


def test_a_state_takes_the_greater_of_index_and_joined_rows() -> None:
    change = Collapsed(
        max_seq=9,
        active_at_ms=T0 + 9,
        message_version=5,
        read_seq=8,
        read_version=6,
        state_version=7,
    )
    newer = entries({"sg_1": change}, inbox_of(read_seq=3), {"sg_1": head(4)})["sg_1"]
    assert (newer.max_seq, newer.active_at_ms, newer.read_seq) == (9, T0 + 9, 8)
    older = entries({"sg_1": change}, inbox_of(read_seq=9), {"sg_1": head(11)})["sg_1"]
    assert (older.max_seq, older.active_at_ms, older.read_seq) == (11, T0 + 11, 9)


def test_a_state_of_a_conversation_without_a_head_is_told() -> None:
    found = entries({"sg_1": Collapsed(state_version=9)}, inbox_of())["sg_1"]
    assert (found.max_seq, found.active_at_ms, found.own) == (0, 0, OwnState())


def test_a_flag_of_who_never_belonged_is_not_told() -> None:
    rows = {"sg_1": InboxRow("sg_1", 0, None)}
    assert entries({"sg_1": Collapsed(state_version=9)}, rows) == {}


def test_who_left_sees_nothing_that_came_later() -> None:
    left = inbox_of(member=False, membership_at_ms=T0 + 4, user_max_seq=4)
    found = entries({"sg_1": Collapsed(state_version=9)}, left, {"sg_1": head(50)})["sg_1"]
    assert (found.max_seq, found.active_at_ms) == (4, T0 + 4)


def test_read_side_news_tell_the_head() -> None:
    found = entries(rows=inbox_of(), news=[head(7)])
    assert found == {"sg_1": ConversationEntry("sg_1", 99, max_seq=7, active_at_ms=T0 + 7)}


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"sg_1": InboxRow("sg_1", 0, None)},
        inbox_of(member=False, user_max_seq=4),
    ],
    ids=["no row", "never belonged", "left"],
)
def test_read_side_news_are_for_members_only(rows: dict[str, InboxRow]) -> None:
    assert entries(rows=rows, news=[head(7)]) == {}


def test_read_side_news_raise_what_the_index_says_and_never_lower_it() -> None:
    change = Collapsed(max_seq=5, active_at_ms=T0 + 5, message_version=8)
    higher = entries({"sg_1": change}, inbox_of(), news=[head(7)])["sg_1"]
    assert (higher.max_seq, higher.active_at_ms, higher.version) == (7, T0 + 7, 8)
    lower = entries({"sg_1": change}, inbox_of(), news=[head(3)])["sg_1"]
    assert (lower.max_seq, lower.active_at_ms) == (5, T0 + 5)


def test_a_marker_in_a_read_conversation_comes_with_its_head() -> None:
    change = Collapsed(read_seq=7, read_version=8)
    found = entries({"sg_1": change}, inbox_of(), news=[head(7)])["sg_1"]
    assert (found.read_seq, found.max_seq) == (7, 7)
