"""Snapshots: whole states of conversations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.conversations import NO_CAP, OwnState
from schemas.protocol import ConversationEntry, merge
from schemas.rows import InboxRow
from syncapi import delta, snapshot
from syncapi.delta import Collapsed
from tests.unit.syncapi.support import T0, head, inbox_of


@given(st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_what_is_visible_ends_with_the_membership(last: int, cap: int, member: bool) -> None:
    own = OwnState(member=member, membership_at_ms=T0 + 5, user_max_seq=NO_CAP if member else cap)
    seq, at_ms = snapshot.visible(head(last), own)
    assert seq == (last if member else min(last, cap))
    assert member or at_ms <= T0 + 5


# Pages.


def test_a_page_tells_the_whole_state_of_each_conversation() -> None:
    rows = [InboxRow("sg_1", 3, OwnState(muted=True)), InboxRow("sg_2", 0, OwnState())]
    made = snapshot.page_entries(rows, {"sg_1": head(7)}, 42)
    assert made == (
        ConversationEntry("sg_1", 42, 7, T0 + 7, 3, OwnState(muted=True)),
        ConversationEntry("sg_2", 42, 0, 0, 0, OwnState()),
    )


def test_a_page_leaves_out_what_the_user_never_belonged_to() -> None:
    assert snapshot.page_entries([InboxRow("sg_1", 3, None)], {"sg_1": head(7)}, 42) == ()


def test_a_page_tells_who_left_what_he_may_see() -> None:
    own = OwnState(member=False, membership_at_ms=T0 + 2, user_max_seq=2)
    (made,) = snapshot.page_entries([InboxRow("sg_1", 1, own)], {"sg_1": head(7)}, 42)
    assert (made.max_seq, made.active_at_ms) == (2, T0 + 2)


@given(st.integers(0, 9), st.integers(0, 9))
def test_pages_and_deltas_tell_the_same_of_a_state(seq: int, read_seq: int) -> None:
    rows, heads = inbox_of(read_seq=read_seq, pinned=True), {"sg_1": head(seq)}
    (paged,) = snapshot.page_entries(rows.values(), heads, 42)
    (told,) = delta.entries({"sg_1": Collapsed(state_version=42)}, rows, heads, [], 42)
    assert merge(None, paged) == merge(None, told)
