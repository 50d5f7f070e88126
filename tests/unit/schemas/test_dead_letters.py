"""Dead letters: where a record came from and why it could not be used, in a record that fits."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.dead_letters import (
    MAX_VALUE_BYTES,
    REASON_CHARS_MAX,
    DeadLetter,
    decode,
    encode,
    letter,
)
from schemas.errors import DecodeError

SOURCE = ("im.user-writes.v1", 3, 44)
MESSAGE_BYTES_MAX = 1_048_576
"""Kafka's default."""


@given(st.integers(0, 500) | st.none(), st.text(max_size=REASON_CHARS_MAX), st.binary(max_size=200))
def test_a_letter_survives_the_wire(index: int | None, reason: str, value: bytes) -> None:
    made = letter(SOURCE, index, reason, value, 99)
    assert decode(encode(made)) == made
    assert made == DeadLetter(*SOURCE, index, reason, 99, len(value), value)


def test_a_long_value_is_cut_and_its_size_told() -> None:
    made = letter(SOURCE, None, "too large", b"x" * (MAX_VALUE_BYTES + 5), 99)
    assert len(made.value) == MAX_VALUE_BYTES
    assert made.size == MAX_VALUE_BYTES + 5


@pytest.mark.parametrize("character", ["x", "\0", '"', "\N{GRINNING FACE}"])
def test_the_largest_letter_fits_a_record(character: str) -> None:
    source = ("t" * 249, 10_000, 2**62)
    made = letter(source, 499, character * 2_000_000, b"\xff" * 2_000_000, 2**53)
    assert len(made.reason) == REASON_CHARS_MAX
    assert len(encode(made)) < MESSAGE_BYTES_MAX


def test_what_is_no_letter_is_refused() -> None:
    with pytest.raises(DecodeError, match="missing required field"):
        decode(b"{}")


def test_a_letter_of_a_newer_version_is_read_or_says_whose_it_is() -> None:
    made = letter(SOURCE, 3, "why", b"x", 99)
    minor = msgspec.to_builtins(made) | {"v": "1.7", "found_by": "a newer worker"}
    assert decode(msgspec.json.encode(minor)) == replace(made, v="1.7")
    major = msgspec.to_builtins(made) | {"v": "2.0"}
    with pytest.raises(DecodeError, match=r"version 2\.0 is newer than 1\.0.*use the `diffusion`"):
        decode(msgspec.json.encode(major))
