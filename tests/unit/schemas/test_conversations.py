"""What is derived from a state, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.conversations import (
    NO_CAP,
    ConversationState,
    OwnState,
    activity_ms,
    is_listed,
    last_seq,
    unread,
)
from schemas.limits import SEQ_MAX


def state(
    max_seq: int = 0, read_seq: int = 0, conversation_id: str = "sg_1", **own: int | bool
) -> ConversationState:
    return ConversationState(conversation_id, max_seq, 1_000, read_seq, OwnState(**own))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_state", "expected"),
    [
        (state(), 0),
        (state(5), 5),
        (state(5, 3), 2),
        (state(5, 5), 0),
        # Read on another device before the message is here.
        (state(5, 9), 0),
        # Cleared up to 3: the first message that counts is 4.
        (state(5, 0, min_seq=4), 2),
        (state(5, 4, min_seq=4), 1),
        (state(5, 4, min_seq=2), 1),
        (state(5, 0, min_seq=6), 0),
        (state(5, 0, min_seq=9), 0),
        (state(5, 0, min_seq=1), 5),
        # Left when 3 was the last.
        (state(9, 1, member=False, user_max_seq=3), 2),
        (state(9, 4, member=False, user_max_seq=3), 0),
        (state(9, 0, member=False, user_max_seq=0), 0),
        (state(9, 0, "n_1"), 0),
        (state(9, 3, deleted_seq=9), 6),
        (state(9, 3, muted=True), 6),
    ],
)
def test_unread(given_state: ConversationState, expected: int) -> None:
    assert unread(given_state) == expected


@pytest.mark.parametrize(
    ("given_state", "expected"),
    [
        (state(), True),
        (state(5), True),
        (state(5, conversation_id="n_1"), False),
        # Deleted at 5: not even a pin or unread messages bring it back.
        (state(5, deleted_seq=5), False),
        (state(5, deleted_seq=5, pinned=True), False),
        (state(6, deleted_seq=5), True),
        (state(0, deleted_seq=0), False),
        (state(1, deleted_seq=0), True),
        # Deleted after leaving at 5: messages that the user may not see do not bring it back.
        (state(9, deleted_seq=5, member=False, user_max_seq=5), False),
        # Joined again after the deletion, or before it.
        (state(5, deleted_seq=5, deleted_at_ms=10, membership_at_ms=11), True),
        (state(5, deleted_seq=5, deleted_at_ms=10, membership_at_ms=10), False),
        (state(5, deleted_seq=5, deleted_at_ms=10, membership_at_ms=9), False),
        # What came after the deletion was leaving, not joining.
        (
            state(5, deleted_seq=5, deleted_at_ms=10, membership_at_ms=11, member=False),
            False,
        ),
        (state(9, member=False, user_max_seq=3), True),
    ],
)
def test_is_listed(given_state: ConversationState, *, expected: bool) -> None:
    assert is_listed(given_state) is expected


def test_activity_is_the_last_message_or_the_leaving() -> None:
    assert activity_ms(state(5, membership_at_ms=2_000)) == 1_000
    assert activity_ms(state(5, membership_at_ms=2_000, member=False)) == 2_000


def test_a_member_sees_everything() -> None:
    assert NO_CAP == SEQ_MAX == OwnState().user_max_seq
    assert last_seq(state(SEQ_MAX)) == SEQ_MAX


seqs = st.integers(0, 20)


@given(seqs, seqs, seqs, seqs)
def test_unread_is_bounded_and_falls_as_one_reads(
    max_seq: int, read_seq: int, min_seq: int, cap: int
) -> None:
    found = state(max_seq, read_seq, min_seq=min_seq, user_max_seq=cap)
    assert 0 <= unread(found) <= last_seq(found) <= max_seq
    further = state(max_seq, read_seq + 1, min_seq=min_seq, user_max_seq=cap)
    assert unread(further) in {unread(found), unread(found) - 1}
    assert unread(state(max_seq, max_seq, min_seq=min_seq, user_max_seq=cap)) == 0


@given(seqs, seqs, seqs, seqs)
def test_unread_counts_the_messages_one_by_one(
    max_seq: int, read_seq: int, min_seq: int, cap: int
) -> None:
    counted = sum(
        1 for seq in range(1, max_seq + 1) if seq <= cap and seq > read_seq and seq >= min_seq
    )
    assert unread(state(max_seq, read_seq, min_seq=min_seq, user_max_seq=cap)) == counted


@given(seqs, st.integers(-1, 20), seqs)
def test_a_newer_message_never_hides_a_conversation(
    max_seq: int, deleted_seq: int, at_ms: int
) -> None:
    own = {"deleted_seq": deleted_seq, "deleted_at_ms": at_ms}
    if is_listed(state(max_seq, **own)):
        assert is_listed(state(max_seq + 1, **own))
