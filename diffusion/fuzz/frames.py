"""Handshakes and frames of the persistent connection, good and bad, as bytes."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from diffusion.fuzz import hostile, mutate
from schemas.encoding import Coding, Format, pack
from schemas.frames import ClientFrame
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import SyncRequest

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9

GOOD_ID: Final = 7
"""Of a request that must be answered."""

LAST_ID: Final = 99
"""Of a ping that comes after everything else: a server that still listens answers it."""

_CODINGS: Final = (Coding.IDENTITY, Coding.DEFLATE, Coding.GZIP, Coding.ZSTD)


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True, reserved: int = 0
) -> bytes:
    """One frame of a client. The mask is four zeros, which leave a payload as it is."""
    size = len(payload)
    bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 2**16:
        head += bytes([bit | 126]) + size.to_bytes(2)
    else:
        head += bytes([bit | 127]) + size.to_bytes(8)
    return head + (bytes(4) if masked else b"") + payload


def last_ping() -> bytes:
    """See `LAST_ID`."""
    return frame(TEXT, msgspec.json.encode(ClientFrame(LAST_ID)))


def good(rng: random.Random, request: SyncRequest) -> bytes:
    """A request that must be answered, in any form."""
    asked = ClientFrame(GOOD_ID, request)
    if rng.random() < 0.5:
        return frame(TEXT, msgspec.json.encode(asked))
    return frame(BINARY, pack(asked, rng.choice(_CODINGS)))


def fragmented(rng: random.Random, request: SyncRequest) -> bytes:
    """The same in pieces, with a ping between them."""
    data = msgspec.json.encode(ClientFrame(GOOD_ID, request))
    at = rng.randrange(1, len(data))
    return (
        frame(TEXT, data[:at], fin=False)
        + frame(PING, b"between")
        + frame(0, b"", fin=False)
        + frame(0, data[at:])
    )


def bad(rng: random.Random, request: SyncRequest) -> bytes:
    """Some frames that are none, or mean nothing, or too much."""
    asked = ClientFrame(GOOD_ID + 1, request)
    text = mutate.data(rng, mutate.fields(rng, asked) if rng.random() < 0.7 else b"")
    packed = pack(asked, rng.choice(_CODINGS))
    return rng.choice(
        (
            frame(TEXT, text),
            frame(TEXT, mutate.fields(rng, asked)),
            frame(TEXT, rng.choice(hostile.unreadable_bodies(Format.JSON))),
            frame(TEXT, b"\xff\xfe"),
            frame(BINARY, mutate.data(rng, packed)),
            frame(BINARY, bytes([rng.randrange(256), rng.randrange(256)]) + packed[2:]),
            frame(BINARY, bytes([1, rng.randrange(1, 4)]) + rng.randbytes(40)),
            frame(BINARY, bytes([1, Coding.DEFLATE]) + hostile.bomb(Coding.DEFLATE, 2**24)),
            frame(BINARY, bytes([1, Coding.GZIP]) + hostile.bomb(Coding.GZIP, 2**24)),
            frame(BINARY, bytes([1, Coding.ZSTD]) + hostile.bomb(Coding.ZSTD, 2**24)),
            frame(BINARY, rng.randbytes(rng.randrange(40))),
            frame(TEXT, b" " * (REQUEST_BYTES_MAX + 1)),
            frame(TEXT, b"{}", masked=False),
            frame(TEXT, b"{}", reserved=rng.randint(1, 7)),
            frame(rng.choice((3, 7, 11, 15)), b"{}"),
            frame(0, b"continues nothing"),
            frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
            frame(TEXT, b"{", fin=False) + frame(0, b"", fin=False) * 200,
            frame(PING, b"x" * 126),
            frame(PING, b"x", fin=False),
            frame(PING, b"x") * 50,
            frame(10, b"a pong that nobody asked for"),
            frame(CLOSE, rng.choice((b"", b"\x03", b"\x00\x00", b"\x03\xe8\xff", b"\x0f\xa0"))),
            rng.randbytes(rng.randint(2, 60)),
        )
    )


def unfinished(rng: random.Random) -> bytes:
    """The beginning of a frame, whose rest does not come."""
    return rng.choice(
        (
            frame(TEXT, b" " * 1_000)[: rng.randint(1, 900)],
            bytes([0x81, 0xFE, 0xFF]),
            bytes([0x82, 0xFF]) + (2**63 - 1).to_bytes(8),
            bytes([0x81, 0xFF]) + (2**64 - 1).to_bytes(8),
            frame(TEXT, b"{", fin=False),
        )
    )
