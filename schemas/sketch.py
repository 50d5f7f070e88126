"""A sketch of a whole state, from which another holder reads off which conversations differ. PURE.

Arithmetic is in the prime field of `FIELD` elements, five bytes each. A row has an id, from its
key, and a weight, from its digest. A sketch is a table of cells in four equal quarters. Every row
goes into one cell of each quarter; a cell holds the sum of the weights of its rows, A, and the sum of
weight * id, B. Behind the cells stands one more element, the sum of weight * id^2 over all rows.

The server subtracts the client's sketch from its own. Equal rows cancel. A row that differs leaves
the difference w of its weights, as (w, w * id), in four cells; so it counts once, where sketches
of sets count an old row and a new one. A cell with one such row has B / A = id, and says so: the id
is one the server knows, and its place is this cell. The row is taken out of its four cells, which
lays bare others, until all cells are zero. If any of it was wrong, the last element is not zero.

An id that the server does not know is a conversation which only the client has. Nothing vouches for
it but its cells: taken are first those that all four, then three, two, and at last one cell names.

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
"""The largest prime below 2^40: an element is five bytes, and two of 10,000 conversations share an
id in 20,000 accounts. (They are then told together.)"""

ELEMENT_BYTES: Final = 5
CELL_BYTES: Final = 2 * ELEMENT_BYTES

PLACES: Final = 4
"""Cells of a row. What fails below 200 differences is mostly two rows with all cells in common,
which is rarer the more there are; beyond, the fewer the better, down to three. With three, 10, 100
and 1,000 differences need 51, 249 and 1,302 cells, with four 36, 152 and 1,352, with five 30, 165
and 1,485."""

MULTIPLIERS: Final = (0x6A09E667F3, 0xBB67AE8584, 0x3C6EF372FE, 0xA54FF53A5F)
"""One for each quarter: the first 40 bits of the fractions of the square roots of 2, 3, 5 and 7. Ids
are hashes already, so multiplying is enough to make four of one."""

CELLS_MAX: Final = (SKETCH_BYTES_MAX - ELEMENT_BYTES) // (PLACES * CELL_BYTES) * PLACES


class Decoded(NamedTuple):
    """What a sketch said: conversations to be told anew, and ids of those to be dropped."""

    changed: list[str]
    gone: list[int]


def id_of(key: int) -> int:
    """Id of a conversation in sketches: its key mod `FIELD`, and 1 for 0."""
    return key % FIELD or 1


def sketch_bytes(cells: int) -> int:
    """Length of a sketch of so many cells."""
    return cells * CELL_BYTES + ELEMENT_BYTES


def sketch_of(rows: Iterable[DigestRow], cells: int) -> bytes:
    """Sum up a state in so many cells, a multiple of four: A and B of each, and the check."""
    assert cells > 0
    assert cells % PLACES == 0
    weights, products, check = _sums(rows, cells // PLACES)
    elements = [one for cell in zip(weights, products, strict=True) for one in cell]
    return gone_bytes([*elements, check])


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
    theirs = gone_ids(sketch)
    weights, products, check = _sums(rows, cells // PLACES)
    peeling = _Peeling(
        [(mine - other) % FIELD for mine, other in zip(weights, theirs[:-1:2], strict=True)],
        [(mine - other) % FIELD for mine, other in zip(products, theirs[1::2], strict=True)],
        (check - theirs[-1]) % FIELD,
    )
    known: dict[int, list[str]] = {}
    for row in rows:
        known.setdefault(id_of(row.key), []).append(row.conversation_id)
    if not peeling.run(known):
        return None
    return Decoded(
        [told for one in peeling.found for told in known.get(one, ())],
        [one for one in peeling.found if one not in known],
    )


class _Peeling:
    """The difference of two sketches, being taken apart."""

    def __init__(self, weights: list[int], products: list[int], check: int) -> None:
        self.weights = weights
        self.products = products
        self.check = check
        self.quarter = len(weights) // PLACES
        self.found: dict[int, None] = {}

    def run(self, known: dict[int, list[str]]) -> bool:
        """Take out row by row; say whether nothing is left.

        A cell waits until those have been looked at that need less trust: an unknown id is taken
        when all its cells name it, and if nothing else is left, when one less does. No id is taken
        twice: a forged sketch could go on for ever.
        """
        waiting: list[list[int]] = [list(range(len(self.weights))), [], [], []]
        while any(waiting):
            trust = next(trust for trust, cells in enumerate(waiting) if cells)
            cell = waiting[trust].pop()
            if not self.weights[cell]:
                continue
            one = self.products[cell] * pow(self.weights[cell], -1, FIELD) % FIELD
            places = _places(one, self.quarter)
            if one in self.found or not one or cell not in places:
                continue
            if one not in known and self._names(one, places) < PLACES - trust:
                waiting[trust + 1].append(cell)
                continue
            self._take(one, self.weights[cell], places)
            waiting[0].extend(places)
        return not (self.check or any(self.weights) or any(self.products))

    def _names(self, one: int, places: tuple[int, ...]) -> int:
        """Count the cells that hold nothing else."""
        return sum(
            self.weights[place] != 0 and self.products[place] == self.weights[place] * one % FIELD
            for place in places
        )

    def _take(self, one: int, weight: int, places: tuple[int, ...]) -> None:
        self.found[one] = None
        product = weight * one
        self.check = (self.check - product * one) % FIELD
        for place in places:
            self.weights[place] = (self.weights[place] - weight) % FIELD
            self.products[place] = (self.products[place] - product) % FIELD


def gone_bytes(ids: Iterable[int]) -> bytes:
    """Elements one after the other, big-endian."""
    return b"".join(one.to_bytes(ELEMENT_BYTES) for one in ids)


def gone_ids(packed: bytes) -> list[int]:
    """Elements as `gone_bytes` packed them; raises `DecodeError`."""
    if len(packed) % ELEMENT_BYTES:
        raise DecodeError(f"{len(packed)} bytes are not elements of {ELEMENT_BYTES} bytes")
    return [
        int.from_bytes(packed[at : at + ELEMENT_BYTES])
        for at in range(0, len(packed), ELEMENT_BYTES)
    ]


def cells_for(differing: int) -> int:
    """Cells that hold so many differences with a failure rate of at most 1 %; at most `CELLS_MAX`."""
    rows = max(1, differing)
    twins = (60 * rows * (rows - 1)) ** 0.25
    core = 0.324 * rows + 0.57 * math.sqrt(rows)
    return min(PLACES * math.ceil(max(twins, core)), CELLS_MAX)


def cheaper_by_sketch(differing: int, rows_in_differing: int) -> bool:
    """Whether a sketch costs less than listing, if so many rows differ, within so many."""
    listing = RANGE_DIGEST_BYTES * (rows_in_differing + differing)
    cells = cells_for(differing)
    return cells < CELLS_MAX and sketch_bytes(cells) < listing
