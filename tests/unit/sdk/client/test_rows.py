"""Rows keep a state exactly, and their derived columns are those of the contract's functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas import conversations as contract
from schemas.conversations import ConversationState, OwnState
from schemas.limits import SEQ_MAX
from sdk.client import database
from sdk.client.rows import (
    SELECT_ALL,
    SELECT_ONE,
    SELECT_VIEW,
    STATE_WIDTH,
    UPSERT,
    row_of,
    state_of,
    view_of,
)

seqs = st.integers(0, 20) | st.integers(0, SEQ_MAX)
states = st.builds(
    ConversationState,
    conversation_id=st.text(min_size=1, max_size=8).filter(lambda t: t.isprintable())
    | st.sampled_from(["sg_1", "si_1_2", "n_1", "sg_\u0000é😀"]),
    max_seq=seqs,
    active_at_ms=seqs,
    read_seq=seqs,
    own=st.builds(
        OwnState,
        member=st.booleans(),
        membership_at_ms=seqs,
        user_max_seq=seqs,
        min_seq=seqs,
        deleted_seq=st.integers(-1, 20),
        deleted_at_ms=seqs,
        pinned=st.booleans(),
        muted=st.booleans(),
    ),
)


@given(states)
def test_a_row_gives_back_its_state(state: ConversationState) -> None:
    db = database.connect(":memory:")
    db.execute(UPSERT, row_of(state, 7))
    row = db.execute(SELECT_ONE, (state.conversation_id,)).fetchone()
    assert state_of(row) == state
    assert row[STATE_WIDTH] == 7
    assert state_of(db.execute(SELECT_ALL).fetchone()) == state
    db.close()


@given(states)
def test_a_view_shows_what_the_contract_derives(state: ConversationState) -> None:
    db = database.connect(":memory:")
    db.execute(UPSERT, row_of(state, 1))
    view = view_of(db.execute(SELECT_VIEW, (state.conversation_id,)).fetchone())
    db.close()
    assert view.conversation_id == state.conversation_id
    assert (view.max_seq, view.read_seq) == (state.max_seq, state.read_seq)
    assert view.last_seq == contract.last_seq(state)
    assert view.unread == contract.unread(state)
    assert view.activity_ms == contract.activity_ms(state)
    assert view.listed is contract.is_listed(state)
    assert (view.pinned, view.muted, view.member) == (
        state.own.pinned,
        state.own.muted,
        state.own.member,
    )
    assert view.draft == ""


@given(states, states)
def test_a_row_is_overwritten_as_a_whole(
    first: ConversationState, second: ConversationState
) -> None:
    second = ConversationState(
        first.conversation_id, second.max_seq, second.active_at_ms, second.read_seq, second.own
    )
    db = database.connect(":memory:")
    db.execute(UPSERT, row_of(first, 1))
    db.execute(UPSERT, row_of(second, 2))
    rows = db.execute("SELECT * FROM conversations").fetchall()
    db.close()
    assert rows == [row_of(second, 2)]
