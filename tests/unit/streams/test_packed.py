"""Packing loses nothing, and is small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from schemas.heads import Activity, Head, Mode, ModeReason
from streams.diffusion import Conversation
from streams.packed import pack, unpack

T0 = 1_750_000_000_000
counts = st.integers(0, 2**53 - 1)
rates = st.floats(allow_nan=False, allow_infinity=False)
heads = st.builds(
    Head,
    st.just("sg_1"),
    max_seq=counts,
    active_at_ms=counts,
    mode=st.sampled_from(Mode),
    mode_epoch=counts,
    mode_since_ms=counts,
    mode_reason=st.sampled_from(ModeReason),
    member_count=counts,
    diffusion=st.sampled_from(["auto", "always_write", "always_read"]),
    updated_at_ms=counts,
    activity=st.builds(Activity, counts, counts, counts, rates, rates, rates),
)
users = st.sets(st.text(min_size=1, max_size=8), max_size=6)


@given(heads, st.none() | users, users)
def test_a_conversation_comes_back_as_it_was(
    head: Head, members: set[str] | None, left: set[str]
) -> None:
    conversation = Conversation(head, members)
    conversation.left = set(left)
    again = unpack("sg_1", pack(conversation))
    assert (again.head, again.members, again.left) == (head, members, left)


def test_every_field_of_a_head_is_drawn_above() -> None:
    assert [one.name for one in fields(Head)] == [
        "conversation_id",
        "max_seq",
        "active_at_ms",
        "mode",
        "mode_epoch",
        "mode_since_ms",
        "mode_reason",
        "member_count",
        "diffusion",
        "updated_at_ms",
        "activity",
    ]


def test_a_member_costs_a_byte_beside_his_id() -> None:
    def size(members: int) -> int:
        ids = (str(3_000_000_000 + number) for number in range(members))
        return len(pack(Conversation(Head("sg_1", 700, T0), ids)))

    assert size(2) <= 2 * 11 + 40
    assert size(5_000) - size(1_000) == 4_000 * 11
