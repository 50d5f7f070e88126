"""What an attacker, a broken client or a bad line sends; for any transport, seeded where random.

`unreadable_bodies` and `unfit_requests` are bodies (of `POST /v1/sync`, and the request within a
frame); `cut_off`, `flipped`, `followed` and `bomb` are packed bytes, `tampered` are tokens.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec

from schemas.encoding import Coding, Format
from schemas.limits import CHANGES_PER_ANSWER_MAX, CURSOR_CHARS_MAX, ROOT_BYTES

GOOD: Final = {"device_id": "phone"}
DEEP: Final = 50_000
"""Levels of nesting: far beyond Python's recursion limit, and a body below its bound."""

BASE64URL: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BLOCK: Final = 131_072

UNSUPPORTED: Final[tuple[int, ...]] = (0, 2, 7, 255, -1, 2**31, 2**53, 2**63 - 1)
"""Versions that are integers but not ours."""

UNFIT: Final[tuple[Any, ...]] = (
    [],
    None,
    7,
    "text",
    {},
    {"device_id": ""},
    {"device_id": 7},
    {"device_id": None},
    {"device_id": []},
    {"device_id": {}},
    {"device_id": "x" * 129},
    {**GOOD, "v": "1"},
    {**GOOD, "v": 1.0},
    {**GOOD, "v": None},
    {**GOOD, "v": True},
    {**GOOD, "cursor": ""},
    {**GOOD, "cursor": 7},
    {**GOOD, "cursor": {"deep": ["x"]}},
    {**GOOD, "cursor": "x" * (CURSOR_CHARS_MAX + 1)},
    {**GOOD, "page": []},
    {**GOOD, "page": "x" * (CURSOR_CHARS_MAX + 1)},
    {**GOOD, "changes_max": 0},
    {**GOOD, "changes_max": -1},
    {**GOOD, "changes_max": 1.5},
    {**GOOD, "changes_max": "many"},
    {**GOOD, "changes_max": CHANGES_PER_ANSWER_MAX + 1},
    {**GOOD, "page_max": 2**63 - 1},
    {**GOOD, "page_max": 1e308},
    {**GOOD, "modules_max": -(2**63)},
    {**GOOD, "bytes_max": 1},
    {**GOOD, "bytes_max": 2**40},
    {**GOOD, "root": 7},
    {**GOOD, "root": b"x" * (ROOT_BYTES - 1)},
    {**GOOD, "root": b"x" * (ROOT_BYTES + 1)},
    {**GOOD, "correct": []},
    {**GOOD, "correct": {"split": 7}},
    {**GOOD, "correct": {"split": [[33, 0]]}},
    {**GOOD, "correct": {"split": [[0]]}},
    {**GOOD, "correct": {"split": [[0, 0]] * 4_097}},
    {**GOOD, "correct": {"listed": [[[0, 0], "not base64 %%%"]]}},
    {**GOOD, "correct": {"sketch": b"x" * 40_961}},
)
"""Requests that are records, but not ours."""

_NOT_JSON: Final = (
    b"",
    b"{",
    b"}",
    b"nonsense",
    b"\xff\xfe",
    b"\x00" * 100,
    b"\xef\xbb\xbf{}",
    b'{"device_id": "phone"} ,',
    b'{"device_id": "phone", "x": NaN}',
    b"{'device_id': 'phone'}",
    b'{"device_id": "\xff"}',
    b'{"device_id": "\\ud800"}',
    b'{"device_id": "phone", "cursor": "\\udfff"}',
    b'{"device_id": "phone", "v": 1e999}',
    b'{"device_id": "phone", "changes_max": ' + b"9" * 4_000 + b"}",
    b'{"device_id": "phone", "changes_max": ' + b"9" * 100_000 + b"}",
    b'{"device_id": "phone", "v": ' + b"9" * 100_000 + b"}",
    b"[" * DEEP,
    b'{"device_id":' * (DEEP // 10),
    b'{"device_id":"phone","x":' + b"[" * DEEP + b"]" * DEEP + b"}",
)

_MAP: Final = b"\x82\xa9device_id\xa5phone"
_NOT_MSGPACK: Final = (
    b"",
    b"\x82",
    b"\xc1",
    b"{}",
    b"\x81\xa9device_id\xa1\xff",
    b"\x81\xa9device_id\xa3\xed\xa0\x80",
    b"\x81\xa9device_id\xa5phone" + b"x",
    b"\x81\xa9device_id\xdb\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff\xa9device_id\xa5phone",
    b"\xdd\xff\xff\xff\xff",
    _MAP + b"\xa1x\xdd\xff\xff\xff\xff",
    _MAP + b"\xa1x\xdf\xff\xff\xff\xff",
    _MAP + b"\xa1x\xc6\xff\xff\xff\xff",
    _MAP + b"\xa1v\xd6\xff\x00\x00\x00\x00",
    _MAP + b"\xa4root\xc6\xff\xff\xff\xff",
    _MAP + b"\xa7correct\x81\xa6listed\xdd\xff\xff\xff\xff",
    _MAP + b"\x01\x02",
    _MAP + b"\xa1x" + b"\x91" * DEEP,
    b"\x81\xa9device_id" * (DEEP // 10),
)


def write(value: Any, form: Format) -> bytes:
    """Any value in a format, as a client that means no good writes it."""
    written: bytes = (msgspec.json if form is Format.JSON else msgspec.msgpack).encode(value)
    return written


def unreadable_bodies(form: Format) -> tuple[bytes, ...]:
    """Bytes that are no record of that format at all."""
    return _NOT_JSON if form is Format.JSON else _NOT_MSGPACK


def unfit_requests(form: Format) -> Iterator[bytes]:
    """Records of that format that are no request."""
    for value in UNFIT:
        yield write(value, form)


def cut_off(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """The beginning of it; never the whole."""
    for _ in range(count):
        yield data[: rng.randrange(len(data))]


def flipped(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """One bit is another. The result may mean something: a field of another name, for one."""
    for _ in range(count):
        place = rng.randrange(len(data))
        changed = data[place] ^ (1 << rng.randrange(8))
        yield data[:place] + bytes((changed,)) + data[place + 1 :]


def followed(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """Something comes after it, beginning with what is no space in any format."""
    for _ in range(count):
        yield data + b"x" + rng.randbytes(rng.randrange(8))


def tampered(token: str, rng: random.Random) -> Iterator[str]:
    """A token with each character replaced, one at a time; then cut off, turned and doubled.

    The last character of base64 may hold bits that stand for nothing: it is replaced by one that
    differs in the bits that count.
    """
    for place, held in enumerate(token):
        number = BASE64URL.index(held)
        changed = BASE64URL[number ^ (32 >> rng.randrange(2))]
        yield token[:place] + changed + token[place + 1 :]
    yield from (token[:-1], token[:-4], token[1:], token[::-1], token + token, token + "AAAA")
    yield from (token + "\n", " " + token, token.swapcase(), "x", "é", "%%%", "\x00")


@cache
def bomb(coding: Coding, size: int) -> bytes:
    """Bytes that unpack to `size` zeros (rounded up), without ever having been as large."""
    blocks = -(-size // _BLOCK)
    if coding is Coding.ZSTD:
        # Magic number, no content size, a window of 128 KiB; then blocks of one repeated byte.
        repeated = (_BLOCK << 3 | 2).to_bytes(3, "little") + b"\x00"
        last = (_BLOCK << 3 | 3).to_bytes(3, "little") + b"\x00"
        return b"\x28\xb5\x2f\xfd\x00\x38" + repeated * (blocks - 1) + last
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    head = gzip.compress(b"")[:10] if coding is Coding.GZIP else zlib.compress(b"", 9)[:2]
    return head + block * blocks
