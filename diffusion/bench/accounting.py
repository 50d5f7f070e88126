"""Bytes of a correction without what it corrects; and of other ways to find the same. Pure.

What is counted are whole requests and answers in MessagePack, uncompressed, with cursor, names of
fields and all; only the entries of the answers are left out, which any way has to send. Hashes of
rows that are gone are no payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from schemas import digests, sketch
from schemas.digests import DigestRow
from schemas.encoding import Format, encode
from schemas.limits import TIME_MS_MAX
from schemas.protocol import (
    Correction,
    KeyRange,
    RangeDigests,
    Reason,
    SyncRequest,
    SyncResponse,
)

NEGENTROPY_BYTES: Final = {
    1_000: {0: 351, 1: 978, 10: 5_522, 100: 30_342},
    10_000: {0: 351, 1: 1_112, 10: 6_670, 100: 41_400, 1_000: 173_072},
    50_000: {0: 351, 1: 1_433, 10: 10_849, 100: 74_480, 1_000: 451_290},
}
"""The negentropy protocol v1, measured with its own code: by rows held, then by rows that differ.
One trip if none does, else two."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One round trip of a sync."""

    request: SyncRequest
    answer: SyncResponse

    @property
    def bytes_without_payload(self) -> int:
        """Of request and answer, the entries being left out."""
        return size_of(self.request) + size_of(replace(self.answer, conversations=()))


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Bytes without payload of other ways to find the same differences; None: it fails.

    `listing` lists the parts that differ; `sketch` sums up the whole, as large as the parts that
    differ ask for; both in the second trip. `one_trip` is the sketch alone, for who knew how many
    rows differ.
    """

    listing: int | None
    sketch: int | None
    one_trip: int | None


@dataclass(frozen=True, slots=True)
class RootCost:
    """Bytes by which the digest of the whole state makes a request, and its answer, longer."""

    request: int
    answer: int


def size_of(record: msgspec.Struct) -> int:
    """Bytes of a record as it is written for the wire, uncompressed."""
    return len(encode(record, Format.MSGPACK))


def without_payload(exchanges: Iterable[Exchange]) -> int:
    """Bytes of all trips of a sync."""
    return sum(one.bytes_without_payload for one in exchanges)


def root_cost(exchange: Exchange) -> RootCost:
    """What it costs to be sure, where nothing differs."""
    request, answer = exchange.request, exchange.answer
    return RootCost(
        request=size_of(request) - size_of(replace(request, root=None)),
        answer=size_of(answer) - size_of(replace(answer, root=None)),
    )


def alternatives(
    mine: Sequence[DigestRow], theirs: Sequence[DigestRow], differing: int, ask: SyncRequest
) -> Alternatives:
    """Cost other ways from the device's rows and the server's, in order of keys.

    `ask` is a request with the device's cursor, and `differing` the true number.
    """
    ask, root = replace(ask, correct=None), digests.root_of(theirs)
    verify = replace(ask, root=digests.root_of(mine))
    known = _correct(ask, _sketch(mine, differing), theirs, root)
    if verify.root == root:
        equal = size_of(verify) + size_of(
            SyncResponse("delta", root=root, server_time_ms=TIME_MS_MAX)
        )
        return Alternatives(equal, equal, known)
    whole = digests.parts(digests.WHOLE, theirs, digests.bits_for(len(theirs)))
    first = size_of(verify) + size_of(_answer(root, parts=(whole,)))
    ranges = digests.differing(whole, mine)
    expected = digests.estimate(len(ranges), digests.parts_count(whole))
    return Alternatives(
        listing=_sum(first, _correct(ask, _listing(mine, ranges), theirs, root)),
        sketch=_sum(first, _correct(ask, _sketch(mine, expected), theirs, root)),
        one_trip=known,
    )


def _sketch(rows: Sequence[DigestRow], differing: int) -> Correction:
    return Correction(sketch=sketch.sketch_of(rows, sketch.cells_for(differing)))


def _listing(rows: Sequence[DigestRow], ranges: Iterable[KeyRange]) -> Correction:
    return Correction(listed=tuple(digests.listed(one, rows) for one in ranges))


def _correct(
    ask: SyncRequest, correction: Correction, theirs: Sequence[DigestRow], root: bytes
) -> int | None:
    """Bytes of the trip that tells the rows; None if the sketch is too small for it."""
    if correction.sketch is not None:
        decoded = sketch.decode(correction.sketch, theirs)
        if decoded is None:
            return None
        gone = sketch.gone_bytes(decoded.gone)
    else:
        gone = b"".join(digests.compare_listed(one, theirs)[1] for one in correction.listed)
    request = replace(ask, root=None, correct=correction)
    return size_of(request) + size_of(_answer(root, gone=gone))


def _answer(root: bytes, parts: tuple[RangeDigests, ...] = (), gone: bytes = b"") -> SyncResponse:
    """An answer of a correction; the clock takes as many bytes whatever it says."""
    return SyncResponse(
        "correction",
        reason=Reason.DIGEST_MISMATCH,
        root=root,
        parts=parts,
        gone=gone,
        server_time_ms=TIME_MS_MAX,
    )


def _sum(first: int, second: int | None) -> int | None:
    return None if second is None else first + second
