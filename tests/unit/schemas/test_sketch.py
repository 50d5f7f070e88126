"""A sketch says exactly what differs, or that it was too small; and it is seldom too small."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.digests import DigestRow, digest_row, in_order
from schemas.errors import DecodeError
from schemas.limits import SKETCH_BYTES_MAX
from schemas.sketch import (
    CELL_BYTES,
    CELLS_MAX,
    FIELD,
    ID_BITS,
    MULTIPLIERS,
    PLACES,
    cells_for,
    cheaper_by_sketch,
    decode,
    gone_bytes,
    gone_ids,
    id_of,
    sketch_bytes,
    sketch_of,
)
from tests.unit.schemas.test_digests import LEFT, MEMBER

GOLDEN_ROWS = in_order([digest_row(MEMBER), digest_row(LEFT)])
GOLDEN_IDS = [60727631, 217337092]
GOLDEN_SKETCH = (
    "0000000000000000000096ab1ffe6521a7b6bb740000000000000000000096ab1ffe6521a7b6bb74"
    "0000000000000000000096ab1ffe6521a7b6bb7496ab1ffe6521a7b6bb7400000000000000000000"
    "6ca4430e9d"
)


def random_rows(rng: random.Random, count: int) -> list[DigestRow]:
    """Rows no two of which have the same id, which would be told together."""
    keys = [rng.getrandbits(36) << ID_BITS | one for one in rng.sample(range(1, 2**ID_BITS), count)]
    return [DigestRow(f"sg_{key}", key, rng.getrandbits(128)) for key in keys]


def changed(rng: random.Random, rows: Sequence[DigestRow]) -> list[DigestRow]:
    return [row._replace(digest=rng.getrandbits(128)) for row in rows]


def test_golden_values() -> None:
    assert [id_of(row.key) for row in GOLDEN_ROWS] == GOLDEN_IDS
    assert sketch_of(GOLDEN_ROWS, 8).hex() == GOLDEN_SKETCH
    assert gone_bytes(GOLDEN_IDS).hex() == "039ea14f0cf44d04"


def test_constants_are_what_they_are_said_to_be() -> None:
    def is_prime(number: int) -> bool:
        return all(number % divisor for divisor in range(3, math.isqrt(number) + 1, 2))

    assert is_prime(FIELD)
    assert not any(is_prime(number) for number in range(FIELD + 2, 2**40, 2))
    assert tuple(math.isqrt(n << 80) % 2**40 for n in (2, 3, 5, 7)) == MULTIPLIERS
    assert len(MULTIPLIERS) == PLACES
    assert sketch_bytes(CELLS_MAX) <= SKETCH_BYTES_MAX < sketch_bytes(CELLS_MAX + PLACES)
    assert cells_for(3_000) < CELLS_MAX
    assert 2**ID_BITS < FIELD


@given(
    st.integers(0, 2**32),
    st.integers(0, 60),
    *(st.integers(0, 12) for _ in range(3)),
    st.integers(1, 20),
)
@example(0, 0, 0, 0, 0, 1)
@example(0, 5, 0, 2, 0, 1)
@example(0, 5, 0, 0, 2, 1)
@example(0, 5, 1, 1, 1, 1)
def test_a_sketch_says_exactly_what_differs_or_nothing(
    seed: int, same: int, edited: int, new: int, gone: int, quarter: int
) -> None:
    rng = random.Random(seed)
    rows = iter(random_rows(rng, same + edited + new + gone))
    common, before, only_servers, only_clients = (
        list(islice(rows, count)) for count in (same, edited, new, gone)
    )
    after = changed(rng, before)
    servers = in_order([*common, *after, *only_servers])
    decoded = decode(sketch_of([*common, *before, *only_clients], PLACES * quarter), servers)
    if decoded is not None:
        assert decoded.changed == [
            row.conversation_id for row in servers if row in {*after, *only_servers}
        ]
        assert decoded.gone == sorted(id_of(row.key) for row in only_clients)
    else:
        assert edited + new + gone > 1
    assert decoded is not None or edited + new + gone > quarter // 4


@given(st.integers(0, 2**32), st.binary(max_size=600))
def test_what_is_no_sketch_is_refused(seed: int, sketch: bytes) -> None:
    rows = random_rows(random.Random(seed), 5)
    if len(sketch) % (PLACES * CELL_BYTES) == 5 and len(sketch) > 5:
        decode(sketch, rows)
    else:
        with pytest.raises(DecodeError):
            decode(sketch, rows)


@pytest.mark.parametrize("length", [0, 4, 5, 40, 44, 46, 41 * 10, sketch_bytes(CELLS_MAX + 4)])
def test_a_sketch_has_one_of_few_lengths(length: int) -> None:
    with pytest.raises(DecodeError):
        decode(bytes(length), [])


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_noise_is_no_difference(seed: int, quarter: int) -> None:
    rng = random.Random(seed)
    assert decode(rng.randbytes(sketch_bytes(PLACES * quarter)), random_rows(rng, 9)) is None


def test_a_forged_sketch_ends() -> None:
    """Each cell says that the row is there alone, with another weight: peeling would go round."""
    row = random_rows(random.Random(3), 1)[0]
    forged = b"".join(
        number.to_bytes(5)
        for weight in (1, 2, 3, 4)
        for number in (weight, weight * id_of(row.key) % FIELD)
    )
    assert decode(forged + bytes(5), []) is None


def test_conversations_of_one_id_are_told_together() -> None:
    rng = random.Random(4)
    *rest, one = random_rows(rng, 21)
    twin = DigestRow("twin", one.key ^ 1 << ID_BITS, rng.getrandbits(128))
    rows = [*rest, one, twin]
    decoded = decode(sketch_of([*rest, *changed(rng, [one]), twin], 4), rows)
    assert decoded == ([one.conversation_id, "twin"], [])


def test_the_key_without_an_id_has_one() -> None:
    row = DigestRow("zero", 0, 5)
    assert id_of(0) == id_of(1 << ID_BITS) == 1
    assert decode(sketch_of([], 4), [row]) == (["zero"], [])
    assert decode(sketch_of([row], 4), []) == ([], [1])


@given(st.lists(st.integers(0, 2**ID_BITS - 1)))
def test_ids_come_back(ids: list[int]) -> None:
    assert gone_ids(gone_bytes(ids)) == ids


@pytest.mark.parametrize("packed", [b"1", b"12345"])
def test_parts_of_ids_are_refused(packed: bytes) -> None:
    with pytest.raises(DecodeError):
        gone_ids(packed)


@pytest.mark.parametrize(
    ("differing", "trials"), [(1, 50), (2, 800), (10, 800), (40, 300), (300, 40)]
)
@pytest.mark.parametrize("gone_percent", [0, 50, 100])
def test_a_sketch_of_the_right_size_is_seldom_too_small(
    differing: int, trials: int, gone_percent: int
) -> None:
    rng = random.Random(differing + gone_percent)
    failures = 0
    for _ in range(trials):
        before = random_rows(rng, differing)
        after = changed(rng, before[: differing * (100 - gone_percent) // 100])
        failures += decode(sketch_of(before, cells_for(differing)), after) is None
    assert failures <= max(1, 0.015 * trials)


def test_the_size_grows_with_what_differs() -> None:
    sizes = [cells_for(differing) for differing in range(4_000)]
    assert sizes == sorted(sizes)
    assert {size % PLACES for size in sizes} == {0}
    assert (sizes[0], sizes[1], sizes[10], sizes[100], sizes[-1]) == (4, 4, 36, 164, CELLS_MAX)


def test_what_is_cheaper() -> None:
    assert not cheaper_by_sketch(1, 10)
    assert cheaper_by_sketch(1, 20)
    assert cheaper_by_sketch(10, 780)
    assert not cheaper_by_sketch(900, 1_000)
    assert cheaper_by_sketch(1_000, 10_000)
    assert not cheaper_by_sketch(5_000, 100_000)
