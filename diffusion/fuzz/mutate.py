"""From good to bad: values of a record exchanged by its grammar, and bytes by no grammar at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any, Final, TypeAlias

import msgspec

Fields: TypeAlias = dict[str, Any]

MEGABYTE: Final = 2**20
DEEP: Final = 100_000
MANY: Final = 1_000_000
"""Members of a list that is far too long."""

_RAW: Final = (
    b"1e400", b"-1e400", b"NaN", b"Infinity", b"-Infinity", b"-0", b"-0.0", b"1.0", b"1e3", b"01",
    b"+1", b".5", b"0x10", b"9" * 30, b"9" * 5_000, b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d"',
    b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xf0\x9f"', b'"\x00"',
    b'"\\u0000"', b'"\x1f"', b'"\\x41"', b"'a'", b"", b"undefined", b"nul", b"[", b"{", b'"',
    b"]", b"}", b",", b"/* */ 1", b"[[[[1]]]]", b'{"a":{"a":{}}}',
)  # fmt: skip
"""Values as no encoder writes them, and what is no value."""

_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2**31, 2**32, 2**53 - 2, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1,
    2**63, 2**64 - 1, -(2**63), 0.0, 1.0, 0.5, 1e308, 5e-324, "", " ", "0", "1", "true",
    "null", "\x00", "\x7f", "\u2028", "\ufeff", "*", "a" * 64, "a" * 65, "a" * 128, "a" * 129,
    "a" * 300, "a" * 301, "\U0001f600" * 128, "\U0001f600" * 301, [], {}, [None], [""], ["a"] * 3,
    [[]], ["a", 1], {"a": 1}, 0, 946_684_799_999, 4_102_444_800_001, 1_700_000_000, -1_700_000,
    7_258_118_400_000, 1_700_000_000_000_000, ["fz-1"] * 1_000, ["fz-1"] * 1_001,
    ["fz-1"] * 500, ["fz-1"] * 501, "message", "read", "auto", "insert", "state", "bored",
)  # fmt: skip


@cache
def _large() -> tuple[msgspec.Raw, ...]:
    """Values that are far too large; made once."""
    return (
        msgspec.Raw(b'"' + b"a" * MEGABYTE + b'"'),
        msgspec.Raw(b'"' + b"a" * 800_000 + b'"'),
        msgspec.Raw(b"[" * DEEP + b"]" * DEEP),
        msgspec.Raw(b"[" * DEEP),
        msgspec.Raw(b'{"a":' * (DEEP // 5) + b"1" + b"}" * (DEEP // 5)),
        msgspec.Raw(b"[" + b'"u",' * (MANY - 1) + b'"u"]'),
        msgspec.Raw(b"[" + b'"u",' * 200_000 + b'"u"]'),
        msgspec.Raw(b"9" * MEGABYTE),
    )


LARGE_SHARE: Final = 0.002


def strange(rng: random.Random) -> Any:
    """Draw a value for a place where another one belongs."""
    at = rng.random()
    if at < LARGE_SHARE:
        return rng.choice(_large())
    if at < 0.3:
        return msgspec.Raw(rng.choice(_RAW))
    return deepcopy(rng.choice(_VALUES))  # it may be changed in turn


def _exchanged(rng: random.Random, fields: Fields) -> None:
    fields[rng.choice(list(fields))] = strange(rng)


def _removed(rng: random.Random, fields: Fields) -> None:
    del fields[rng.choice(list(fields))]


def _added(rng: random.Random, fields: Fields) -> None:
    fields[rng.choice(("new", "", "x" * 2_000, "\u00fc", "TYPE", "seq ", "version"))] = strange(rng)


def _swapped(rng: random.Random, fields: Fields) -> None:
    one, other = rng.choice(list(fields)), rng.choice(list(fields))
    fields[one], fields[other] = fields[other], fields[one]


def _renamed(rng: random.Random, fields: Fields) -> None:
    name = rng.choice(list(fields))
    fields[rng.choice((name.upper(), f"{name} ", name[:-1]))] = fields.pop(name)


def _within(rng: random.Random, fields: Fields) -> None:
    """Exchange one value of a list or of an object inside."""
    inner = [value for value in fields.values() if isinstance(value, list | dict) and value]
    if not inner:
        _exchanged(rng, fields)
        return
    chosen = rng.choice(inner)
    places = list(chosen) if isinstance(chosen, dict) else range(len(chosen))
    chosen[rng.choice(places)] = strange(rng)


_OF_FIELDS: Final[tuple[Callable[[random.Random, Fields], None], ...]] = (
    _exchanged,
    _exchanged,
    _exchanged,
    _removed,
    _added,
    _swapped,
    _renamed,
    _within,
)


def changed(rng: random.Random, good: Any) -> Fields:
    """Take a record apart, and change one or two of its fields. Bytes stay bytes."""
    found: Fields = msgspec.msgpack.decode(msgspec.msgpack.encode(good))
    for _ in range(rng.choice((1, 1, 1, 2))):
        if found:
            rng.choice(_OF_FIELDS)(rng, found)
    return found


def fields(rng: random.Random, good: Any) -> bytes:
    """Write a record with a few of its fields changed; JSON as far as the values are."""
    found = changed(rng, good)
    written = msgspec.json.encode(found)
    if found and rng.random() < 0.05:
        name = msgspec.json.encode(rng.choice(list(found)))
        written = written[:-1] + b"," + name + b":" + msgspec.json.encode(strange(rng)) + b"}"
    return written


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _inserted(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    what = rng.choice((*_RAW, b"\xef\xbb\xbf", b"\x00", b"\r\n", rng.randbytes(rng.randint(1, 9))))
    return data[:at] + what + data[at:]


def _without(rng: random.Random, data: bytes) -> bytes:
    begin = rng.randrange(len(data))
    return data[:begin] + data[begin + rng.randint(1, 8) :]


def _followed(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice((b"x", b"]", b"}", b",", b"\x00", b" ", b"\n", data))


def _preceded(rng: random.Random, data: bytes) -> bytes:
    return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b" ", b"\n\t", b"\x00", b",", b"[")) + data


def _spliced(rng: random.Random, data: bytes) -> bytes:
    one, other = rng.randrange(len(data)), rng.randrange(len(data))
    return data[:one] + data[other:]


_OF_BYTES: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    _cut,
    _flipped,
    _inserted,
    _without,
    _followed,
    _preceded,
    _spliced,
)


def data(rng: random.Random, good: bytes) -> bytes:
    """Change bytes, whatever they mean."""
    return rng.choice(_OF_BYTES)(rng, good) if good else rng.randbytes(rng.randint(1, 40))
