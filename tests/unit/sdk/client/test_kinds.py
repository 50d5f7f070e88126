"""What counts as a change for the app."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from schemas.conversations import ConversationState, OwnState
from sdk.client.kinds import NOTHING, Kinds, difference

HELD = ConversationState("sg_1", 9, 1_000, 4, OwnState(min_seq=2))


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        (HELD, NOTHING),
        (replace(HELD, max_seq=10), Kinds.MESSAGE),
        (replace(HELD, max_seq=10, active_at_ms=2_000), Kinds.MESSAGE | Kinds.STATE),
        (replace(HELD, read_seq=5), Kinds.READ),
        (replace(HELD, own=replace(HELD.own, pinned=True)), Kinds.STATE),
        (replace(HELD, own=replace(HELD.own, user_max_seq=8)), Kinds.MESSAGE | Kinds.STATE),
        # A server that lost data says less than before: that is a change, too.
        (replace(HELD, max_seq=3, read_seq=3), Kinds.MESSAGE | Kinds.READ),
    ],
)
def test_a_difference_names_what_differs(state: ConversationState, kinds: Kinds) -> None:
    assert difference(HELD, state) == kinds


def test_a_new_conversation_is_a_change_even_if_it_is_empty() -> None:
    assert difference(None, ConversationState("sg_1")) == Kinds.STATE
    assert difference(None, HELD) == Kinds.MESSAGE | Kinds.READ | Kinds.STATE


def test_the_bits_are_those_of_the_schema() -> None:
    assert {kind.name: kind.value for kind in Kinds} == {
        "MESSAGE": 1,
        "READ": 2,
        "STATE": 4,
        "ITEM": 8,
    }
