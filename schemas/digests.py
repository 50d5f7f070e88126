"""Digests of a user's whole state, of ranges of it, and of its rows: how two holders find out that
they differ, and where. PURE.

Server and SDK use these same functions. A row stands for one conversation as its user sees it; its
digest is over `canonical`, so that holders of equivalent states agree whatever else they hold. All
sums are additive, so that one changed row is one subtraction and one addition.

Conversations are ordered by `key_of`, a hash: equal ranges of keys then hold about equally many
conversations, whatever their ids look like. A range is all keys that begin with the same bits.
Range-based set reconciliation: A. Meyer, arXiv:2212.13567; the negentropy protocol. Here in at most
two trips: parts small enough to be listed at once, or summed up by a sketch (`schemas.sketch`).

Functions that take `ordered` rows want them as `in_order` leaves them.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from schemas.conversations import ConversationState, last_seq
from schemas.errors import DecodeError, InputError
from schemas.limits import RANGE_BITS_MAX, RANGE_DIGEST_BYTES, RANGES_MAX, ROOT_BYTES
from schemas.protocol import KeyRange, RangeDigests, RangeRows

KEY_BITS: Final = 64
"""Of a conversation's key: two of 100,000 conversations share one in 4e9 accounts."""

WHOLE: Final = KeyRange(0, 0)
"""The range of all keys."""

PART_BITS_MIN: Final = 4
"""16 parts, 64 bytes: fewer would not tell ten differing rows from twenty."""

PART_BITS_MAX: Final = 12
"""4,096 parts: if all differ, they still fit into one request."""

ESTIMATE_SIGMAS: Final = 3.0
"""Standard deviations added to an estimate, so that one in 700 is too low. With two, one sketch in
30 was too small where all parts differ, for 4 % fewer bytes."""

ONE_ROW_FROM_PARTS: Final = 100
"""Parts from which on a single one that differs is taken to hold a single row that does: a sketch
for two would be four times as long, and one that is too small costs a list of that part."""

_ROOT_MOD: Final = 1 << 8 * ROOT_BYTES
_RANGE_MASK: Final = (1 << 8 * RANGE_DIGEST_BYTES) - 1
_key = attrgetter("key")

assert 1 << PART_BITS_MAX <= RANGES_MAX
assert PART_BITS_MAX <= RANGE_BITS_MAX <= KEY_BITS


class DigestRow(NamedTuple):
    """One conversation of a state, summed up. `digest` is of 128 bits."""

    conversation_id: str
    key: int
    digest: int


def key_of(conversation_id: str) -> int:
    """Place of a conversation among all: BLAKE2b of 8 bytes over the UTF-8 id, big-endian."""
    return int.from_bytes(hashlib.blake2b(conversation_id.encode(), digest_size=8).digest())


def canonical(state: ConversationState) -> bytes:
    """Bytes that are equal for holders of equivalent states, and for no others.

    Decimal numbers separated by commas, flags as 0 or 1, then `;` and the id in UTF-8:
    last_seq, activity, read_seq, member, membership_at_ms, user_max_seq, min_seq, deleted_seq,
    deleted_at_ms, pinned, muted. `last_seq` is min(max_seq, user_max_seq); activity is active_at_ms
    of a member, and membership_at_ms of who left, whose client may hold a later one.
    """
    own = state.own
    return b"%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d;%b" % (
        last_seq(state),
        state.active_at_ms if own.member else own.membership_at_ms,
        state.read_seq,
        own.member,
        own.membership_at_ms,
        own.user_max_seq,
        own.min_seq,
        own.deleted_seq,
        own.deleted_at_ms,
        own.pinned,
        own.muted,
        state.conversation_id.encode(),
    )


def row_digest(state: ConversationState) -> int:
    """BLAKE2b of 16 bytes over `canonical`, big-endian."""
    return int.from_bytes(hashlib.blake2b(canonical(state), digest_size=ROOT_BYTES).digest())


def digest_row(state: ConversationState) -> DigestRow:
    """Sum up one conversation."""
    return DigestRow(state.conversation_id, key_of(state.conversation_id), row_digest(state))


def in_order(rows: Iterable[DigestRow]) -> list[DigestRow]:
    """Rows in order of keys, and of ids where keys are equal."""
    return sorted(rows, key=lambda row: (row.key, row.conversation_id))


def root_of(rows: Iterable[DigestRow]) -> bytes:
    """Digest of a whole state: the sum of its row digests mod 2^128, big-endian.

    It guards against chance, not against an attacker: sums of hashes can be forged by the
    generalized birthday attack (D. Wagner, CRYPTO 2002), with which a client would fool himself.
    """
    return (sum(row.digest for row in rows) % _ROOT_MOD).to_bytes(ROOT_BYTES)


def moved_root(root: bytes, old: int = 0, new: int = 0) -> bytes:
    """Root after a row's digest went from `old` to `new`; 0 stands for no row."""
    return ((int.from_bytes(root) - old + new) % _ROOT_MOD).to_bytes(ROOT_BYTES)


def row_hash(row: DigestRow) -> bytes:
    """What a listed row is known by: its digest mod 2^32, big-endian."""
    return (row.digest & _RANGE_MASK).to_bytes(RANGE_DIGEST_BYTES)


def covers(key_range: KeyRange, key: int) -> bool:
    """Whether the key begins with the range's bits."""
    return key >> (KEY_BITS - key_range.bits) == key_range.prefix


def rows_in(key_range: KeyRange, ordered: Sequence[DigestRow]) -> Sequence[DigestRow]:
    """Rows of the range."""
    shift = KEY_BITS - key_range.bits
    first = bisect_left(ordered, key_range.prefix << shift, key=_key)
    return ordered[first : bisect_left(ordered, (key_range.prefix + 1) << shift, first, key=_key)]


def check_ranges(ranges: Iterable[KeyRange]) -> None:
    """Raise `InputError` unless these are ranges, no two of which overlap.

    Work on ranges of one request is then bounded by the rows.
    """
    end = 0
    for one in sorted(ranges, key=_start):
        start = _start(one)
        if one.prefix >> one.bits:
            raise InputError(f"{one.prefix} has more than {one.bits} bits")
        if start < end:
            raise InputError("two ranges overlap")
        end = (one.prefix + 1) << (KEY_BITS - one.bits)


def _start(key_range: KeyRange) -> int:
    return key_range.prefix << (KEY_BITS - key_range.bits)


def bits_for(rows: int) -> int:
    """Into how many parts to split a range of so many rows, as a power of two.

    About the square root of the rows: then listing one part costs what the digests of all do, which
    is the least for one differing row. So 10,000 rows make 128 parts of 78, which also tell up to
    some 600 differing rows apart for a sketch; 64 would save a quarter of a kilobyte and tell 300.
    """
    return min(max(round(math.log2(max(1, rows)) / 2), PART_BITS_MIN), PART_BITS_MAX)


def parts(key_range: KeyRange, ordered: Sequence[DigestRow], bits: int) -> RangeDigests:
    """Digests of the 2^bits equal parts of a range: each the sum of its rows' hashes mod 2^32.

    Fewer parts, if the keys of so many would be longer than `RANGE_BITS_MAX`; raises `InputError`
    if not even two are left, because a range that is answered by itself is asked for again.
    """
    bits = min(bits, PART_BITS_MAX, RANGE_BITS_MAX - key_range.bits)
    if bits < 1:
        raise InputError(f"a range of {key_range.bits} bits is not split but listed")
    return RangeDigests(
        key_range,
        b"".join(one.to_bytes(RANGE_DIGEST_BYTES) for one in _sums(key_range, ordered, bits)),
    )


def _sums(key_range: KeyRange, ordered: Sequence[DigestRow], bits: int) -> list[int]:
    shift, mask = KEY_BITS - key_range.bits - bits, (1 << bits) - 1
    sums = [0] * (1 << bits)
    for row in rows_in(key_range, ordered):
        sums[row.key >> shift & mask] += row.digest
    return [one & _RANGE_MASK for one in sums]


def parts_count(theirs: RangeDigests) -> int:
    """How many parts were sent; raises `DecodeError` for what `parts` does not make."""
    count, rest = divmod(len(theirs.digests), RANGE_DIGEST_BYTES)
    bits = count.bit_length() - 1
    if rest or count < 2 or count != 1 << bits or bits > PART_BITS_MAX:
        raise DecodeError(f"{len(theirs.digests)} bytes are not the digests of equal parts")
    if theirs.range.bits + bits > RANGE_BITS_MAX or theirs.range.prefix >> theirs.range.bits:
        raise DecodeError("parts of a range that there is not")
    return count


def differing(theirs: RangeDigests, ordered: Sequence[DigestRow]) -> list[KeyRange]:
    """Parts whose digest is not the one of these rows; raises `DecodeError`."""
    bits = parts_count(theirs).bit_length() - 1
    held, size = theirs.digests, RANGE_DIGEST_BYTES
    return [
        KeyRange(theirs.range.bits + bits, theirs.range.prefix << bits | place)
        for place, mine in enumerate(_sums(theirs.range, ordered, bits))
        if mine != int.from_bytes(held[place * size : (place + 1) * size])
    ]


def listed(key_range: KeyRange, ordered: Sequence[DigestRow]) -> RangeRows:
    """List a range: the hashes of its rows."""
    return RangeRows(key_range, b"".join(map(row_hash, rows_in(key_range, ordered))))


def compare_listed(theirs: RangeRows, ordered: Sequence[DigestRow]) -> tuple[list[str], bytes]:
    """Conversations of the range whose row the lister does not have, and his hashes without a
    counterpart: of rows that changed, and of conversations that are not here.

    Raises `DecodeError` for bytes that are not whole hashes.
    """
    size = RANGE_DIGEST_BYTES
    if len(theirs.rows) % size:
        raise DecodeError(f"{len(theirs.rows)} bytes are not row hashes of {size} bytes")
    unmatched = Counter(theirs.rows[at : at + size] for at in range(0, len(theirs.rows), size))
    missing = []
    for row in rows_in(theirs.range, ordered):
        hashed = row_hash(row)
        if unmatched[hashed]:
            unmatched[hashed] -= 1
        else:
            missing.append(row.conversation_id)
    return missing, b"".join(unmatched.elements())


def estimate(differing_count: int, count: int) -> int:
    """How many rows differ, most probably no more, if so many of `count` parts do.

    Balls in bins: d rows leave m·exp(-d/m) parts without one, so d is -m·ln(1 - x/m), with variance
    m·(exp(t) - t - 1) for t = d/m (linear counting: Whang, Vander-Zanden and Taylor, 1990). If all
    parts differ, half a part is taken to be equal, and the true number may be anything above. One
    part of many is one row: that two are in the same happens once in `count`.
    """
    if differing_count == 1 and count >= ONE_ROW_FROM_PARTS:
        return 1
    m = float(count)
    found = -m * math.log(max(m - differing_count, 0.5) / m)
    load = found / m
    variance = max(0.0, m * (math.exp(load) - load - 1))
    return max(differing_count, math.ceil(found + ESTIMATE_SIGMAS * math.sqrt(variance)))
