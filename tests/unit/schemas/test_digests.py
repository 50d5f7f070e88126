"""Holders of equivalent states agree, others do not; and where they differ is found exactly."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from schemas import digests
from schemas.conversations import ConversationState, OwnState
from schemas.digests import (
    KEY_BITS,
    PART_BITS_MAX,
    WHOLE,
    DigestRow,
    bits_for,
    canonical,
    check_ranges,
    compare_listed,
    covers,
    differing,
    digest_row,
    estimate,
    in_order,
    key_of,
    listed,
    moved_root,
    parts,
    root_of,
    row_digest,
    row_hash,
    rows_in,
)
from schemas.errors import DecodeError, InputError
from schemas.limits import RANGE_BITS_MAX, SEQ_MAX, TIME_MS_MAX
from schemas.protocol import KeyRange, RangeDigests, RangeRows

seqs = st.integers(0, SEQ_MAX)
times = st.integers(0, TIME_MS_MAX)
owns = st.builds(
    OwnState,
    member=st.booleans(),
    membership_at_ms=times,
    user_max_seq=seqs,
    min_seq=seqs,
    deleted_seq=st.integers(-1, SEQ_MAX),
    deleted_at_ms=times,
    pinned=st.booleans(),
    muted=st.booleans(),
)
states = st.builds(
    ConversationState,
    st.text(min_size=1),
    max_seq=seqs,
    active_at_ms=times,
    read_seq=seqs,
    own=owns,
)


def hashed(key: int, version: int) -> DigestRow:
    """A row as if hashed, of any key: keys that share their first bits are what ranges are about."""
    digest = hashlib.blake2b(b"%d;%d" % (key, version), digest_size=16).digest()
    return DigestRow(f"sg_{key}", key, int.from_bytes(digest))


keys = st.integers(0, 2**KEY_BITS - 1) | st.integers(0, 20) | st.integers(2**63, 2**63 + 20)
rows_lists = st.dictionaries(keys, st.integers(0, 2), max_size=40).map(
    lambda versions: in_order(hashed(key, version) for key, version in versions.items())
)
ranges = st.integers(0, RANGE_BITS_MAX).flatmap(
    lambda bits: st.builds(KeyRange, st.just(bits), st.integers(0, 2**bits - 1))
)

MEMBER = ConversationState("sg_42", 7, 1_700_000_000_000, 5)
LEFT = ConversationState(
    "sg_é",
    90,
    1_800_000_000_000,
    3,
    OwnState(False, 1_750_000_000_000, 12, 2, 1, 1_600_000_000_000, True, True),
)


GOLDEN_ORDER = ["sg_42", "sg_é"]
GOLDEN_KEYS = ["011eeb9a439ea14f", "ce4b3903dcf44d04"]
GOLDEN_DIGESTS = ["c648dd24042c9cd17ffcb79736c41e32", "aef296459cd96778671a0acaf21b08a3"]
GOLDEN_ROOT = "753b7369a1060449e716c26228df26d5"
GOLDEN_PARTS = "36c41e320000000000000000f21b08a3"
GOLDEN_LISTED = "36c41e32f21b08a3"


def random_rows(rng: random.Random, count: int) -> list[DigestRow]:
    return in_order(
        DigestRow(f"sg_{place}", rng.getrandbits(64), rng.getrandbits(128))
        for place in range(count)
    )


def test_golden_values() -> None:
    assert (
        canonical(MEMBER)
        == b"7,1700000000000,5,1,0,9007199254740991,0,-1,0,0,0;sg_42"
    )  # fmt: skip
    assert canonical(LEFT) == (
        b"12,1750000000000,3,0,1750000000000,12,2,1,1600000000000,1,1;sg_\xc3\xa9"
    )
    rows = in_order([digest_row(MEMBER), digest_row(LEFT)])
    assert [row.conversation_id for row in rows] == GOLDEN_ORDER
    assert [f"{row.key:016x}" for row in rows] == GOLDEN_KEYS
    assert [f"{row.digest:032x}" for row in rows] == GOLDEN_DIGESTS
    assert root_of(rows).hex() == GOLDEN_ROOT
    assert parts(WHOLE, rows, 2).digests.hex() == GOLDEN_PARTS
    assert listed(WHOLE, rows).rows.hex() == GOLDEN_LISTED


@given(states, seqs, times)
def test_what_the_user_cannot_see_does_not_count(
    state: ConversationState, beyond: int, at_ms: int
) -> None:
    cap = state.own.user_max_seq
    if state.max_seq >= cap:
        assert row_digest(replace(state, max_seq=max(cap, beyond))) == row_digest(state)
    if not state.own.member:
        assert row_digest(replace(state, active_at_ms=at_ms)) == row_digest(state)


@given(states, states)
def test_any_field_changes_the_digest(state: ConversationState, other: ConversationState) -> None:
    member = replace(state, own=replace(state.own, member=True, user_max_seq=SEQ_MAX))
    for field in fields(ConversationState):
        changed = replace(member, **{field.name: getattr(other, field.name)})
        same = getattr(other, field.name) == getattr(member, field.name)
        assert (row_digest(changed) == row_digest(member)) == same or field.name == "own"
    for field in fields(OwnState):
        value = getattr(other.own, field.name)
        changed = replace(state, own=replace(state.own, **{field.name: value}))
        same = value == getattr(state.own, field.name)
        assert (row_digest(changed) == row_digest(state)) == same


@given(states, states)
def test_canonical_is_equal_only_for_one_conversation(
    one: ConversationState, other: ConversationState
) -> None:
    if one.conversation_id != other.conversation_id:
        assert canonical(one) != canonical(other)


@given(rows_lists, st.randoms(use_true_random=False))
def test_the_root_knows_no_order(rows: list[DigestRow], rng: random.Random) -> None:
    shuffled = rng.sample(rows, len(rows))
    assert root_of(shuffled) == root_of(rows)
    assert in_order(shuffled) == rows


@given(rows_lists, rows_lists)
def test_the_root_moves_row_by_row(before: list[DigestRow], after: list[DigestRow]) -> None:
    root = root_of(before)
    old, new = ({row.key: row.digest for row in rows} for rows in (before, after))
    for key in old.keys() | new.keys():
        root = moved_root(root, old.get(key, 0), new.get(key, 0))
    assert root == root_of(after)


@given(ranges, st.integers(0, 2**KEY_BITS - 1), rows_lists)
def test_a_range_is_what_it_covers(key_range: KeyRange, key: int, rows: list[DigestRow]) -> None:
    inside = (key_range.prefix << (KEY_BITS - key_range.bits)) | key >> key_range.bits
    held = in_order([*rows, DigestRow("new", inside, 1)])
    assert covers(key_range, inside)
    assert rows_in(key_range, held) == [row for row in held if covers(key_range, row.key)]


@given(st.integers(1, 8), st.integers(0, 2**KEY_BITS - 1))
def test_ranges_of_as_many_bits_part_the_keys(bits: int, key: int) -> None:
    every = [KeyRange(bits, prefix) for prefix in range(2**bits)]
    assert [covers(one, key) for one in every].count(True) == 1
    check_ranges(every)


@pytest.mark.parametrize(
    "wrong",
    [
        [KeyRange(0, 1)],
        [KeyRange(3, 8)],
        [WHOLE, KeyRange(32, 5)],
        [KeyRange(32, 0), WHOLE],
        [KeyRange(4, 3), KeyRange(4, 3)],
        [KeyRange(4, 3), KeyRange(1, 0)],
    ],
)
def test_ranges_that_overlap_or_are_none_are_refused(wrong: list[KeyRange]) -> None:
    with pytest.raises(InputError):
        check_ranges(wrong)


@given(rows_lists, rows_lists, ranges, st.integers(1, 5))
@example([], [], WHOLE, 1)
def test_the_parts_that_differ_are_those_with_changes(
    mine: list[DigestRow], theirs: list[DigestRow], key_range: KeyRange, bits: int
) -> None:
    if key_range.bits + bits > RANGE_BITS_MAX:
        return
    found = differing(parts(key_range, theirs, bits), mine)
    changed = set(mine) ^ set(theirs)
    for prefix in range(2**bits):
        part = KeyRange(key_range.bits + bits, key_range.prefix << bits | prefix)
        assert (part in found) == any(covers(part, row.key) for row in changed)
    check_ranges(found)


@given(rows_lists, rows_lists, ranges)
def test_a_listing_tells_rows_apart(
    clients: list[DigestRow], servers: list[DigestRow], key_range: KeyRange
) -> None:
    missing, gone = compare_listed(listed(key_range, clients), servers)
    mine, theirs = (
        [row for row in rows if covers(key_range, row.key)] for rows in (servers, clients)
    )
    assert missing == [row.conversation_id for row in mine if row not in theirs]
    assert Counter(gone[at : at + 4] for at in range(0, len(gone), 4)) == Counter(
        row_hash(row) for row in theirs if row not in mine
    )


def test_two_rows_of_one_hash_are_two() -> None:
    twins = in_order([DigestRow("a", 1, 2**40 + 5), DigestRow("b", 2, 2**50 + 5)])
    assert compare_listed(RangeRows(WHOLE, row_hash(twins[0])), twins) == (["b"], b"")
    assert compare_listed(listed(WHOLE, twins), twins[:1]) == ([], row_hash(twins[0]))


@given(st.builds(RangeDigests, ranges, st.binary(max_size=70)), rows_lists)
@example(RangeDigests(KeyRange(0, 3), bytes(8)), [])
@example(RangeDigests(KeyRange(32, 0), bytes(8)), [])
@example(RangeDigests(WHOLE, bytes(4)), [])
@example(RangeDigests(WHOLE, bytes(4 << PART_BITS_MAX + 1)), [])
def test_malformed_parts_are_refused(theirs: RangeDigests, rows: list[DigestRow]) -> None:
    try:
        check_ranges(differing(theirs, rows))
    except DecodeError:
        return
    assert len(theirs.digests) in {8, 16, 32, 64}


@given(st.binary(max_size=50), rows_lists)
def test_a_malformed_listing_is_refused(rows: bytes, mine: list[DigestRow]) -> None:
    if len(rows) % 4:
        with pytest.raises(DecodeError):
            compare_listed(RangeRows(WHOLE, rows), mine)
    else:
        compare_listed(RangeRows(WHOLE, rows), mine)


def test_a_range_is_never_split_into_itself() -> None:
    assert len(parts(KeyRange(RANGE_BITS_MAX - 1, 0), [], 7).digests) == 4 * 2
    for one in (KeyRange(RANGE_BITS_MAX, 0), WHOLE):
        with pytest.raises(InputError):
            parts(one, [], 0 if one == WHOLE else 7)


@pytest.mark.parametrize(
    ("rows", "parts_expected"),
    [(0, 16), (1, 16), (1_000, 32), (10_000, 128), (50_000, 256), (100_000, 256), (10**9, 4_096)],
)
def test_how_many_parts(rows: int, parts_expected: int) -> None:
    assert 1 << bits_for(rows) == parts_expected


def test_an_estimate_is_seldom_too_low_and_never_far_too_high() -> None:
    rng = random.Random(1)
    for count in (16, 64, 128, 256):
        for rows in (1, 2, 5, 10, count // 4, count, 3 * count):
            made = [
                estimate(len({rng.randrange(count) for _ in range(rows)}), count)
                for _ in range(500)
            ]
            assert sum(one < rows for one in made) <= 15, (count, rows)
            assert sum(made) / len(made) <= 1.1 * rows + 12 * (rows / count + 1) * rows**0.5
    assert [estimate(found, 128) for found in (0, 1, 2)] == [0, 1, 3]
    assert estimate(1, 64) == 2
    assert estimate(128, 128) > estimate(127, 128)


def test_a_listing_and_a_splitting_find_all_of_a_large_state() -> None:
    rng = random.Random(2)
    mine = random_rows(rng, 3_000)
    theirs = [
        row._replace(digest=rng.getrandbits(128)) if rng.random() < 0.01 else row for row in mine
    ]
    theirs = in_order([*theirs[5:], *random_rows(rng, 7)])
    found = differing(parts(WHOLE, theirs, digests.bits_for(len(theirs))), mine)
    missing = [one for part in found for one in compare_listed(listed(part, mine), theirs)[0]]
    assert missing == [row.conversation_id for row in theirs if row not in set(mine)]


def test_a_key_is_of_64_bits_over_utf_8() -> None:
    assert 0 <= key_of("sg_é") < 2**64
