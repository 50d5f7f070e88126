"""Where the state on this device differs from the server's: what one round of a correction asks.

Pure. The server tells the digests of the parts of the whole (`compare`); the rows held here say
which parts differ and about how many rows in them, and so what to ask (`ask`), the cheaper of:

- a sketch of the whole state, from which the server reads off the rows that differ;
- the row hashes of the differing parts, if a sketch costs more, or was too small;
- or finer parts first, of those that hold very many rows, if the hashes of all are too long.

The server answers with the rows to replace, and with what it has no counterpart of (`removed`).
Whatever goes wrong in here, by chance or by a change in the middle, is found by the digest of the
whole, which the session compares at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from schemas import digests, sketch
from schemas.conversations import ConversationState
from schemas.digests import WHOLE, DigestRow
from schemas.errors import InputError
from schemas.limits import (
    CURSOR_CHARS_MAX,
    RANGE_BITS_MAX,
    RANGE_DIGEST_BYTES,
    RANGES_MAX,
    REQUEST_BYTES_MAX,
)
from schemas.protocol import Correction, KeyRange, RangeDigests, RangeRows, SyncResponse
from sdk.client.errors import InvalidAnswerError
from sdk.client.limits import LISTED_ROWS_MAX, SPLITS_PER_ROUND_MAX

States: TypeAlias = Callable[[], Iterable[ConversationState]]
"""Reads the state of every conversation held, as the last transaction left it."""

REQUEST_REST_BYTES: Final = CURSOR_CHARS_MAX + 4_096
"""Of a request, what is not the list: the longest cursor and device id, and the small fields."""

LISTING_BYTES_MAX: Final = REQUEST_BYTES_MAX - REQUEST_REST_BYTES

RANGE_JSON_BYTES: Final = 24
"""A range and its brackets in JSON; MessagePack takes less, but which it is, is not known here."""


class Differences:
    """The state held here beside what the server told of its own, over one round."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._rows: list[DigestRow] | None = None
        self.begin()

    def begin(self) -> None:
        """Begin a round: nothing is known of the server's state."""
        self._parts: tuple[RangeDigests, ...] = ()
        self._coarse: list[KeyRange] = []
        self._splits = 0
        self._undecoded = False

    def root(self) -> bytes:
        """Digest of the whole state held."""
        return digests.root_of(self._held())

    def forget_rows(self) -> None:
        """Read the rows again when they are needed next: they were written."""
        self._rows = None

    def compare(self, parts: tuple[RangeDigests, ...], asked: Correction | None) -> None:
        """Take the digests of the server's parts: of what `asked` to split, or of the whole.

        Raises `InvalidAnswerError`, and changes nothing, if they are none, or of other ranges.
        """
        split = () if asked is None else asked.split
        ranges = [one.range for one in parts]
        if not set(ranges) <= set(split or (WHOLE,)) or len(set(ranges)) < len(ranges):
            raise InvalidAnswerError("the answer splits a range that was not asked for, or twice")
        try:
            for one in parts:
                digests.parts_count(one)
        except InputError as error:
            raise InvalidAnswerError(f"the parts cannot be read: {error}") from error
        if split:
            # Those that were not split stay, also if there was no room for them in the answer.
            self._coarse = [one for one in self._differing() if one not in ranges]
            self._splits += 1
        else:
            self.begin()
        self._parts = parts

    def undecoded(self) -> None:
        """Take note that the sketch was too small: more rows differ than it seemed."""
        self._undecoded = True

    def ask(self) -> Correction | None:
        """Say what to ask about the rows that differ; None: it does not fit into a request.

        An empty correction asks for the parts, if nothing is known of them.
        """
        if not self._parts:
            return Correction()
        rows, ranges = self._held(), self._differing()
        expected = sum(
            digests.estimate(len(digests.differing(one, rows)), digests.parts_count(one))
            for one in self._parts
        )
        if not ranges:
            # The roots differ and the parts do not: by chance, or no longer. The sketch has the
            # whole, and says so either way.
            ranges, expected = [WHOLE], 1
        listed = [digests.listed(one, rows) for one in ranges]
        count = sum(map(_count, listed))
        first = not (self._undecoded or self._splits)
        if first and sketch.cheaper_by_sketch(expected, count):
            return Correction(sketch=sketch.sketch_of(rows, sketch.cells_for(expected)))
        fitting = _fitting(listed)
        if len(fitting) < len(listed) and self._splits < SPLITS_PER_ROUND_MAX:
            large = [one.range for one in listed if _is_large(one)]
            if large:
                return Correction(split=tuple(large[:RANGES_MAX]))
        # Those that do not fit are left to the next round.
        return Correction(listed=tuple(fitting)) if fitting else None

    def removed(self, asked: Correction, response: SyncResponse) -> tuple[str, ...]:
        """Name the conversations that the server does not have, by an answer to `asked`.

        Nothing, if the answer was cut: a hash without a counterpart may then be that of a row which
        comes next. Raises `InvalidAnswerError`. If two rows have one hash, both are named, and the
        one that is right comes back with the next round.
        """
        if response.has_more or not response.gone:
            return ()
        replaced = {entry.conversation_id for entry in response.conversations}
        return tuple(
            row.conversation_id
            for row in self._gone(asked, response.gone)
            if row.conversation_id not in replaced
        )

    def _gone(self, asked: Correction, packed: bytes) -> list[DigestRow]:
        rows = self._held()
        if asked.sketch is not None:
            try:
                ids = set(sketch.gone_ids(packed))
            except InputError as error:
                raise InvalidAnswerError(f"what is gone cannot be read: {error}") from error
            return [row for row in rows if sketch.id_of(row.key) in ids]
        size = RANGE_DIGEST_BYTES
        if len(packed) % size:
            raise InvalidAnswerError(f"{len(packed)} bytes are not row hashes of {size} bytes")
        hashes = {packed[at : at + size] for at in range(0, len(packed), size)}
        ranges = [one.range for one in asked.listed]
        return [
            row
            for one in ranges
            for row in digests.rows_in(one, rows)
            if digests.row_hash(row) in hashes
        ]

    def _held(self) -> list[DigestRow]:
        if self._rows is None:
            self._rows = digests.in_order(map(digests.digest_row, self._states()))
        return self._rows

    def _differing(self) -> list[KeyRange]:
        rows = self._held()
        found = [part for one in self._parts for part in digests.differing(one, rows)]
        return self._coarse + found


def _count(listed: RangeRows) -> int:
    return len(listed.rows) // RANGE_DIGEST_BYTES


def _is_large(listed: RangeRows) -> bool:
    return _count(listed) > LISTED_ROWS_MAX and listed.range.bits < RANGE_BITS_MAX


def _fitting(listed: Sequence[RangeRows]) -> list[RangeRows]:
    """Ranges of which the hashes fit into one request, base64 as JSON has it; in order."""
    fitting: list[RangeRows] = []
    room = LISTING_BYTES_MAX
    for one in listed[:RANGES_MAX]:
        room -= RANGE_JSON_BYTES + -(-len(one.rows) // 3) * 4
        if room < 0:
            break
        fitting.append(one)
    return fitting
