"""The yardstick's two answers, from rows of the tables."""

from __future__ import annotations

import gzip

from diffusion import baseline
from diffusion.bench.ordinary import packed, states_of
from schemas.conversations import ConversationState, OwnState
from schemas.heads import Head
from schemas.rows import InboxRow

USER = "1000000001"


def test_states_are_inbox_rows_joined_with_heads() -> None:
    rows = [InboxRow("si_a", read_seq=3, own=OwnState()), InboxRow("si_b", read_seq=0, own=None)]
    heads = {"si_a": Head("si_a", max_seq=9, active_at_ms=1_750_000_000_000)}
    assert states_of(rows, heads) == [ConversationState("si_a", 9, 1_750_000_000_000, 3)]


def test_answers_are_the_protobuf_messages_each_packed_by_itself() -> None:
    states = [ConversationState(f"si_{USER}_{number}", number, 0, 1) for number in range(1, 40)]
    first, second = packed(USER, states)
    assert gzip.decompress(first) == baseline.max_seq_answer(USER, states)
    assert gzip.decompress(second) == baseline.read_seq_answer(states)
