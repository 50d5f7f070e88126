"""What is asked of the API: bytes, what may become of them, and how a good request is written."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from schemas import limits
from schemas.encoding import Format
from schemas.protocol import Correction, KeyRange, RangeRows, SyncRequest

BREAKS_OFF: Final = "breaks off"
"""The client ends its side within a request: there is nothing to answer."""

TOO_LONG: Final = "too long"
"""Refused while it is still sent: the answer may be lost with what the server does not read."""

SOCKET: Final = "a connection that stands"
"""Ends with a close frame, or is cut after a frame that is none."""

CLOSES: Final = {
    "": "must be answered",
    BREAKS_OFF: "may be closed without an answer: it is not complete",
    TOO_LONG: "may be closed without an answer that arrives: it is refused while it is sent",
    SOCKET: "is closed in the end",
}
"""For which requests a close is in order."""


class Known(NamedTuple):
    """What a client was given: of a user, his tokens; and those of others."""

    host: str
    bearer: str
    cursor: str
    page: str
    foreign_cursor: str
    foreign_page: str
    strangers: tuple[str, ...]
    """Bearer tokens that are good for nothing."""


class Asked(NamedTuple):
    """A request. `closes`: see `CLOSES`. `good`: must be answered with 200. `frames` are sent when
    a handshake was accepted. `kind` says how it was made.
    """

    data: bytes
    closes: str = ""
    good: bool = False
    head_only: bool = False
    frames: bytes = b""
    ends: bool = False
    """The client ends its side then: nothing comes after it."""
    kind: str = ""


Headers = dict[str, str]


def http(
    known: Known,
    body: bytes,
    headers: Headers | None = None,
    *,
    line: str = "POST /v1/sync HTTP/1.1",
    extra: bytes = b"",
) -> bytes:
    """Write a request. A header of `headers` takes the place of ours; "" leaves it out."""
    all_headers = {
        "Host": known.host,
        "Authorization": f"Bearer {known.bearer}",
        "Content-Type": Format.JSON.value,
        "Content-Length": str(len(body)),
    } | (headers or {})
    lines = [line, *(f"{name}: {value}" for name, value in all_headers.items() if value)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n" + extra + b"\r\n" + body


def request(rng: random.Random, known: Known) -> SyncRequest:
    """A good request, of any kind."""
    match rng.randrange(5):
        case 0:
            return SyncRequest("fuzz", page_max=rng.randint(1, 9))
        case 1:
            return SyncRequest("fuzz", page=known.page)
        case 2:
            return SyncRequest("fuzz", cursor=known.cursor, root=rng.randbytes(limits.ROOT_BYTES))
        case 3:
            return SyncRequest("fuzz", cursor=known.cursor, correct=_correction(rng))
        case _:
            return SyncRequest("fuzz", cursor=known.cursor)


def _correction(rng: random.Random) -> Correction:
    """One that can be read; what it says is noise."""
    bits = rng.randrange(8)
    where = KeyRange(bits, rng.randrange(2**bits))
    return rng.choice(
        (
            Correction(),
            Correction(split=(where,)),
            Correction(listed=(RangeRows(where, rng.randbytes(4 * rng.randrange(30))),)),
        )
    )
