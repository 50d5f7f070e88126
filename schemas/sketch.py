"""A sketch of a whole state, from which another holder reads off which conversations differ. PURE.

Arithmetic is in the prime field of `FIELD` elements, five bytes each. A row has an id, from its
key, and a weight, from its digest. A sketch is a table of cells in four equal quarters. Every row
goes into one cell of each quarter; a cell holds the sum of the weights of its rows, A, and the sum
of weight * id, B. Behind the cells stands one more element, the sum of weight * id^2 over all rows.

The server subtracts the client's sketch from its own. Equal rows cancel. A row that differs leaves
the difference w of its weights, as (w, w * id), in four cells; so it counts once, where sketches
of sets count an old row and a new one. A cell with one such row has B / A = id; what a cell with
more of them says looks like an id whose place is this cell once in 4,096 * cells / 4. The row is
taken out of its four cells, which lays bare others, until all cells are zero. What was taken by
mistake is laid bare in the end, too, and taken back. If anything is wrong that far, the last
element is not zero.

One-sparse recovery over a field: Ganguly, "Counting distinct items over update streams" (2007);
Cormode and Firmani, "A unifying framework for l0-sampling" (2014). Peeling: Goodrich and
Mitzenmacher, "Invertible Bloom lookup tables" (2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from schemas.digests import DigestRow
from schemas.errors import DecodeError
from schemas.limits import RANGE_DIGEST_BYTES, SKETCH_BYTES_MAX

FIELD: Final = 2**40 - 87
"""The largest prime below 2^40."""

ELEMENT_BYTES: Final = 5
CELL_BYTES: Final = 2 * ELEMENT_BYTES

ID_BITS: Final = 28
"""Fewer than an element has, which tells ids from other quotients. Of 10,000 conversations two have
the same id in one account of five, and are told together, if one of them differs."""

ID_BYTES: Final = 4

PLACES: Final = 4
"""Cells of a row. What fails below 100 differences is mostly two rows with all cells in common,
which is rarer the more there are; beyond, the fewer the better, down to three. With three, 10, 100
and 1,000 differences need 51, 249 and 1,302 cells, with four 36, 152 and 1,352, with five 30, 165
and 1,485."""

MULTIPLIERS: Final = (0x6A09E667F3, 0xBB67AE8584, 0x3C6EF372FE, 0xA54FF53A5F)
"""One for each quarter: the first 40 bits of the fractions of the square roots of 2, 3, 5 and 7.
Ids are hashes already, so multiplying is enough to make four of one."""

CELLS_MAX: Final = (SKETCH_BYTES_MAX - ELEMENT_BYTES) // (PLACES * CELL_BYTES) * PLACES
_ID_MASK: Final = (1 << ID_BITS) - 1


class Decoded(NamedTuple):
    """What a sketch said: conversations to be told anew, and ids of those to be dropped."""

    changed: list[str]
    gone: list[int]


def id_of(key: int) -> int:
    """Id of a conversation in sketches: the last 28 bits of its key, and 1 for 0."""
    return key & _ID_MASK or 1


def sketch_bytes(cells: int) -> int:
    """Length of a sketch of so many cells."""
    return cells * CELL_BYTES + ELEMENT_BYTES


def sketch_of(rows: Iterable[DigestRow], cells: int) -> bytes:
    """Sum up a state in so many cells, a multiple of four: A and B of each, then the check."""
    assert cells > 0
    assert cells % PLACES == 0
    weights, products, check = _sums(rows, cells // PLACES)
    elements = [one for cell in zip(weights, products, strict=True) for one in cell]
    return _pack([*elements, check], ELEMENT_BYTES)


def _sums(rows: Iterable[DigestRow], quarter: int) -> tuple[list[int], list[int], int]:
    weights, products, check = [0] * (PLACES * quarter), [0] * (PLACES * quarter), 0
    for row in rows:
        one = id_of(row.key)
        weight = row.digest % FIELD
        product = weight * one
        check += product * one
        for place in _places(one, quarter):
            weights[place] += weight
            products[place] += product
    return [one % FIELD for one in weights], [one % FIELD for one in products], check % FIELD


def _places(one: int, quarter: int) -> tuple[int, int, int, int]:
    first, second, third, last = MULTIPLIERS
    return (
        one * first % FIELD % quarter,
        one * second % FIELD % quarter + quarter,
        one * third % FIELD % quarter + 2 * quarter,
        one * last % FIELD % quarter + 3 * quarter,
    )


def decode(sketch: bytes, rows: Sequence[DigestRow]) -> Decoded | None:
    """Say where the holder of `rows` differs from the maker of the sketch; None: too small for it.

    Raises `DecodeError` for bytes that are no sketch. Costs a step for each row and each cell.
    """
    cells, rest = divmod(len(sketch) - ELEMENT_BYTES, CELL_BYTES)
    if rest or cells < PLACES or cells % PLACES or cells > CELLS_MAX:
        raise DecodeError(f"{len(sketch)} bytes are no sketch")
    theirs = _unpack(sketch, ELEMENT_BYTES)
    weights, products, check = _sums(rows, cells // PLACES)
    differing = _peel(
        [(mine - other) % FIELD for mine, other in zip(weights, theirs[:-1:2], strict=True)],
        [(mine - other) % FIELD for mine, other in zip(products, theirs[1::2], strict=True)],
        (check - theirs[-1]) % FIELD,
    )
    if differing is None:
        return None
    changed = [row for row in rows if id_of(row.key) in differing]
    unknown = differing.difference(id_of(row.key) for row in changed)
    return Decoded([row.conversation_id for row in changed], sorted(unknown))


def _peel(weights: list[int], products: list[int], check: int) -> set[int] | None:
    """Take the difference of two sketches apart, in place; None if something is left.

    Taking twice as many rows as there are cells ends it: a forged sketch could go on for ever.
    """
    quarter = len(weights) // PLACES
    found: dict[int, int] = {}
    waiting = list(range(len(weights)))
    takes_left = 2 * len(weights)
    while waiting and takes_left:
        cell = waiting.pop()
        weight = weights[cell]
        if not weight:
            continue
        one = products[cell] * pow(weight, -1, FIELD) % FIELD
        if not 0 < one <= _ID_MASK:
            continue
        places = _places(one, quarter)
        if cell not in places:
            continue
        takes_left -= 1
        found[one] = (found.get(one, 0) + weight) % FIELD
        product = weight * one
        check = (check - product * one) % FIELD
        for place in places:
            weights[place] = (weights[place] - weight) % FIELD
            products[place] = (products[place] - product) % FIELD
        waiting.extend(places)
    if check or any(weights) or any(products):
        return None
    return {one for one, weight in found.items() if weight}


def gone_bytes(ids: Iterable[int]) -> bytes:
    """Pack ids for an answer, four bytes each, big-endian."""
    return _pack(ids, ID_BYTES)


def gone_ids(packed: bytes) -> list[int]:
    """Unpack what `gone_bytes` packed; raises `DecodeError`."""
    if len(packed) % ID_BYTES:
        raise DecodeError(f"{len(packed)} bytes are not ids of {ID_BYTES} bytes")
    return _unpack(packed, ID_BYTES)


def _pack(numbers: Iterable[int], size: int) -> bytes:
    return b"".join(one.to_bytes(size) for one in numbers)


def _unpack(packed: bytes, size: int) -> list[int]:
    return [int.from_bytes(packed[at : at + size]) for at in range(0, len(packed), size)]


def cells_for(differing: int) -> int:
    """Cells that hold so many differences with a failure rate of at most 1 %.

    At most `CELLS_MAX`, which holds 3,000. The larger of two needs: that no two rows share all
    their cells, and that peeling does not get stuck in a core, which for large tables it does
    beyond 1 / 1.295 rows a cell, and for small ones earlier by the root of the rows. Simulated
    20,000 times for each number of changed rows up to 100, above in steps and at least 500 times;
    38 rows fail most often, with 0.97 %. Rows that only one side has fail as seldom.

        rows      1     2     3     5    10    20    30    50   100   200   500  1,000  2,000  3,000
        cells     4    16    20    28    36    52    64    88   164   308   720  1,400  2,736  4,064
        failed   0%  .34%  .46%  .49%  .74%  .76%  .78%  .59%  .30%  .07%  .13%   .13%   .10%   .10%
    """
    rows = max(1, differing)
    twins = math.sqrt(math.sqrt(72 * rows * (rows - 1)))
    core = 0.324 * rows + 0.8 * math.sqrt(rows - 1)
    return min(PLACES * math.ceil(max(twins, core)), CELLS_MAX)


def cheaper_by_sketch(differing: int, rows_in_differing: int) -> bool:
    """Whether a sketch costs less than listing, if so many rows differ, within so many."""
    listing = RANGE_DIGEST_BYTES * (rows_in_differing + differing)
    cells = cells_for(differing)
    return cells < CELLS_MAX and sketch_bytes(cells) < listing
