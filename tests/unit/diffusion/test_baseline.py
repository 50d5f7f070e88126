"""The yardstick: against formulas, against decoded bytes, against figures measured elsewhere."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator

import pytest

from diffusion.baseline import (
    answer_sizes,
    fresh_install_round_trips,
    max_seq_answer,
    read_seq_answer,
    reconnect_round_trips,
)
from schemas.conversations import ConversationState
from schemas.ids import group, is_notification, one_to_one

T = 1_700_000_000_000


@pytest.mark.parametrize(
    ("changed", "notifications", "groups", "trips"),
    [
        (0, 0, 0, 8), (1, 0, 0, 9), (100, 0, 0, 9), (100, 1, 0, 10), (20, 30, 500, 9),
        (0, 0, 501, 9), (1_000, 0, 1_500, 20),
    ],
)  # fmt: skip
def test_reconnect(changed: int, notifications: int, groups: int, trips: int) -> None:
    assert reconnect_round_trips(changed, notifications, groups) == trips


@pytest.mark.parametrize(
    ("conversations", "members", "friends", "trips"),
    [
        # socket 2 + pulls; own 2; groups 2 + pages; members; friends 2 + pages; chats 2 + pages
        (0, [], 0, 2 + 2 + 3 + 0 + 3 + 3),
        (1, [], 1, 3 + 2 + 3 + 0 + 3 + 3),
        (300, [], 0, 5 + 2 + 3 + 0 + 3 + 4),  # a full page is followed by an empty one
        (2, [99, 100], 0, 3 + 2 + 3 + (1 + 2 + 3) + 3 + 3),
        (1, [50_000], 0, 3 + 2 + 3 + (1 + 1 + 10) + 3 + 3),  # members stop at 1,000
    ],
)
def test_fresh_install(conversations: int, members: list[int], friends: int, trips: int) -> None:
    assert fresh_install_round_trips(conversations, members, friends) == trips


def varint_bytes(value: int) -> int:
    return max(1, -(-value.bit_length() // 7))


def test_sizes_are_those_of_the_formulas() -> None:
    states = [
        ConversationState("si_1000000001_1000000002", 300, T, 127),
        ConversationState("sg_1234567890", 1, T, 1),
        ConversationState("n_1000000001_1000000002", 5, T),
        ConversationState("n_1234567890", 0),  # without a message: not named
    ]
    named = {state.conversation_id: state.max_seq for state in states[:3]}
    named["n_1000000001_1000000001"] = 0
    assert len(max_seq_answer("1000000001", states)) == sum(
        2 + (2 + len(name)) + (1 + varint_bytes(seq)) for name, seq in named.items()
    )
    assert len(read_seq_answer(states)) == sum(
        2 + (2 + len(s.conversation_id)) + 2 + (1 + varint_bytes(s.max_seq))
        + (1 + varint_bytes(s.read_seq)) + (1 + 6)
        for s in states[:2]
    )  # fmt: skip


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Decode a protobuf message: field numbers with numbers or bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            yield tag >> 3, data[place : place + value]
            place += value
        else:
            assert tag & 7 == 0
            yield tag >> 3, value


def as_bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def test_the_bytes_are_protobuf_and_say_what_the_states_say() -> None:
    long_id = "si_" + "x" * 200  # lengths of two bytes
    states = [
        ConversationState(long_id, 2**40, T, 128),
        ConversationState("sg_1", 7, T, 0),
        ConversationState("sg_2"),
    ]
    entries = [dict(fields(as_bytes(entry))) for _, entry in fields(max_seq_answer("u", states))]
    assert {as_bytes(entry[1]).decode(): entry[2] for entry in entries} == {
        "n_u_u": 0, long_id: 2**40, "sg_1": 7, "sg_2": 0,
    }  # fmt: skip
    entries = [dict(fields(as_bytes(entry))) for _, entry in fields(read_seq_answer(states))]
    assert {as_bytes(e[1]).decode(): dict(fields(as_bytes(e[2]))) for e in entries} == {
        long_id: {1: 2**40, 2: 128, 3: T}, "sg_1": {1: 7, 3: T}, "sg_2": {},
    }  # fmt: skip


def half_and_half(conversations: int, seed: int) -> tuple[str, list[ConversationState]]:
    """Half one-to-one, half groups, ten-digit ids, each with its notification conversation."""
    rng = random.Random(seed)
    user = str(rng.randrange(10**9, 10**10))
    states: list[ConversationState] = []
    for number in range(conversations):
        other = str(rng.randrange(10**9, 10**10))
        name = group(other) if number % 2 else one_to_one(user, other)
        last = rng.randint(1, 1_000)
        sent_at_ms = T + rng.randrange(10**10)
        read = max(1, last - rng.randrange(3))
        states.append(ConversationState(name, last, sent_at_ms, read))
        notices = f"n_{name.partition('_')[2]}"
        states.append(ConversationState(notices, rng.randint(1, 20), sent_at_ms))
    return user, states


@pytest.mark.parametrize(
    ("conversations", "max_seq_bytes", "read_seq_bytes"),
    [(1_000, 13_900, 18_800), (10_000, 134_000, 179_000)],
)
def test_it_agrees_with_frames_encoded_and_compressed_in_go(
    conversations: int, max_seq_bytes: int, read_seq_bytes: int
) -> None:
    """Those were measured with envelope; 5 % covers that and other random ids."""
    sizes = answer_sizes(*half_and_half(conversations, seed=1))
    assert sizes.max_seq_gzip == pytest.approx(max_seq_bytes, rel=0.05)
    assert sizes.read_seq_gzip == pytest.approx(read_seq_bytes, rel=0.05)
    assert sizes.gzip == pytest.approx(max_seq_bytes + read_seq_bytes, rel=0.05)
    assert sizes.max_seq_raw == pytest.approx(47 * conversations, rel=0.05)
    assert sizes.read_seq_raw == pytest.approx(37 * conversations, rel=0.05)


def test_sizes_do_not_depend_on_the_order_of_the_states() -> None:
    user, states = half_and_half(100, seed=2)
    shuffled = random.Random(3).sample(states, len(states))
    assert answer_sizes(user, shuffled) == answer_sizes(user, states)
    chats = [state for state in states if not is_notification(state.conversation_id)]
    assert answer_sizes(user, chats).read_seq_raw == answer_sizes(user, states).read_seq_raw


def test_compressed_sizes_are_those_of_real_bytes() -> None:
    user, states = half_and_half(1, seed=4)
    chat = [states[0]]
    assert answer_sizes(user, chat).read_seq_gzip == len(gzip.compress(read_seq_answer(chat), 6))
    assert answer_sizes(user, []).read_seq_raw == 0
