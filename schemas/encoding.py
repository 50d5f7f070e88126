"""How records of the sync protocol become bytes: format, compression, and the binary frame.

JSON is for people and MessagePack for machines; both carry the same records. What comes from
outside raises `InputError`s only, and unpacking never makes more bytes than its bound allows,
whatever the packed bytes promise. No I/O, no state but encoders and decoders.

A binary frame is `version, coding, payload`: one byte `PROTOCOL_VERSION`, one byte `Coding`, and
MessagePack compressed by that coding.
"""

from __future__ import annotations

import zlib
from enum import Enum, IntEnum
from functools import cache
from types import ModuleType
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from schemas.errors import TooLargeError, UnreadableError, UnsupportedVersionError
from schemas.protocol import PROTOCOL_VERSION, SUPPORTED_VERSIONS, SyncRequest

T = TypeVar("T", bound=Struct)


class Format(Enum):
    """How a record is written; the value is the media type that answers carry."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"


FORMATS: Final = {
    "application/json": Format.JSON,
    "application/msgpack": Format.MSGPACK,
    "application/x-msgpack": Format.MSGPACK,
    "application/vnd.msgpack": Format.MSGPACK,
}
"""Media types that are understood; MessagePack went by the other two before it was registered."""


class Coding(IntEnum):
    """How bytes are compressed; the number is the second byte of a binary frame."""

    IDENTITY = 0
    DEFLATE = 1
    ZSTD = 2
    GZIP = 3

    @property
    def token(self) -> str:
        """The name in `Content-Encoding` and `Accept-Encoding`."""
        return self.name.lower()


CODINGS: Final = {coding.token: coding for coding in Coding} | {"x-gzip": Coding.GZIP}
"""Names of codings that are understood; RFC 9110 asks to take `x-gzip` for `gzip`."""

COMPRESS_FROM_BYTES: Final = 384
"""Shorter records go as they are. Bytes and CPU of an answer with K changed chats, plain to packed
(ids of 24 characters, a cursor of 131; CPU in microseconds on the machine of development):

    K    JSON    deflate 4    zstd 1       MessagePack  deflate 4    zstd 1
    1      324     272    6     284   12       285         268    6     286   14
    2      441     300    6     312   12       377         297    7     309   14
    3      557     327    7     340   13       469         326    8     336   13
    20   2,536     755   14     693   15     2,035         751   15     693   15
    200 23,500   5,117   81   3,986   35    18,595       4,846   77   4,029   33

With one chat the cursor, which shrinks little, is half of it: at most 52 bytes less, and the header
that says so takes 25. With more, a fifth is saved, soon a half, and in the end five sixths.
"""

ZSTD_LEVEL: Final = 1
"""Level 3 makes these answers 1 to 7% longer, not shorter; so do the levels to 12, for up to ten
times the CPU; only 19 packs better (13% at K = 200), for 150 times the CPU."""

DEFLATE_LEVEL: Final = 4
"""Of deflate and gzip. Level 6, the usual one, packs 1 to 3% better for twice the CPU at K = 500;
level 1 packs 3 to 6% worse for a half."""

ZSTD_WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024
"""A frame that needs more memory is refused: RFC 9659 allows `zstd` over HTTP no more."""

_ZLIB_WBITS: Final = {Coding.DEFLATE: zlib.MAX_WBITS, Coding.GZIP: zlib.MAX_WBITS | 16}
"""`deflate` is the zlib format (RFC 9110), without which damage would show by chance only."""

_HEADER_BYTES: Final = 2


@cache
def codings() -> tuple[Coding, ...]:
    """Codings that this machine can read and write, best first; `IDENTITY` is the last.

    zstd packs these records best and fastest, but a device may be without it; gzip is deflate in a
    wrapper 12 bytes longer.
    """
    known = (Coding.DEFLATE, Coding.GZIP, Coding.IDENTITY)
    return known if _zstandard() is None else (Coding.ZSTD, *known)


# Records.


def encode(value: Any, form: Format) -> bytes:
    """Write a record."""
    return _ENCODERS[form].encode(value)


def decode(data: bytes, kind: type[T], form: Format) -> T:
    """Read a record; unknown fields are ignored. Raises `UnreadableError` with the place."""
    try:
        found: T = _decoder(kind, form).decode(data)
    except msgspec.MsgspecError as error:
        raise UnreadableError(f"{error}.") from error
    except UnicodeDecodeError as error:
        raise UnreadableError("A text is not UTF-8.") from error
    except RecursionError as error:
        raise UnreadableError("It is nested too deeply.") from error
    return found


def decode_request(data: bytes, form: Format) -> SyncRequest:
    """Read a request of a version that is spoken here.

    Raises `UnsupportedVersionError` and `UnreadableError`; the first also when the rest does not
    fit, since another version may have other types.
    """
    try:
        request = decode(data, SyncRequest, form)
    except UnreadableError:
        check_version(_peek(data, form))
        raise
    check_version(request)
    return request


class Versioned(Struct):
    """What a request of any version has."""

    v: int = PROTOCOL_VERSION


def _peek(data: bytes, form: Format) -> Versioned:
    try:
        return decode(data, Versioned, form)
    except UnreadableError:
        return Versioned()


def check_version(request: SyncRequest | Versioned) -> None:
    """Raise `UnsupportedVersionError` unless the request's version is spoken here."""
    _check(request.v)


def _check(version: int) -> None:
    if version not in SUPPORTED_VERSIONS:
        # The number is not repeated: it may have thousands of digits.
        spoken = ", ".join(map(str, SUPPORTED_VERSIONS))
        raise UnsupportedVersionError(
            f"This protocol version is not spoken here, but {spoken}: send that one, or update the "
            "older side.",
            SUPPORTED_VERSIONS,
        )


_ENCODERS: Final[dict[Format, msgspec.json.Encoder | msgspec.msgpack.Encoder]] = {
    Format.JSON: msgspec.json.Encoder(),
    Format.MSGPACK: msgspec.msgpack.Encoder(),
}


@cache
def _decoder(kind: Any, form: Format) -> Any:
    return (msgspec.json if form is Format.JSON else msgspec.msgpack).Decoder(kind)


def prepare(*kinds: Any) -> None:
    """Make the decoders of these kinds. To be called while a module is loaded, which one thread
    does: where several are the first to read a kind, msgspec (0.22) gives one of them what another
    is still making of the type, and the process crashes.
    """
    for kind in kinds:
        for form in Format:
            _decoder(kind, form)


# Compression.


def shrink(data: bytes, coding: Coding) -> tuple[bytes, Coding]:
    """Compress when it pays: the bytes to send, and the coding that they are in."""
    if coding is Coding.IDENTITY or len(data) < COMPRESS_FROM_BYTES:
        return data, Coding.IDENTITY
    packed = compress(data, coding)
    return (packed, coding) if len(packed) < len(data) else (data, Coding.IDENTITY)


def compress(data: bytes, coding: Coding) -> bytes:
    """Compress; `coding` is one of `codings()`."""
    if coding is Coding.IDENTITY:
        return data
    if coding is Coding.ZSTD:
        # Made anew, for ten microseconds: a compressor is not safe between threads.
        packed: bytes = _zstd().ZstdCompressor(level=ZSTD_LEVEL).compress(data)
        return packed
    return zlib.compress(data, DEFLATE_LEVEL, _ZLIB_WBITS[coding])


def decompress(data: bytes, coding: Coding, bytes_max: int) -> bytes:
    """Undo `compress`, to at most `bytes_max` bytes and without making more than one above it.

    Raises `TooLargeError`, and `UnreadableError` for what is damaged, cut off, followed by other
    bytes (a second gzip member or zstd frame too), or empty: no record is.
    """
    if coding not in codings():
        raise UnreadableError(f"The coding `{coding.token}` is not available here.")
    if coding is Coding.IDENTITY:
        found = data
    elif coding is Coding.ZSTD:
        found = _unzstd(data, bytes_max)
    else:
        found = _inflate(data, coding, bytes_max)
    if len(found) > bytes_max:
        raise TooLargeError(f"It is larger than {bytes_max:,} bytes.")
    if not found:
        raise UnreadableError("It is empty.")
    return found


def _inflate(data: bytes, coding: Coding, bytes_max: int) -> bytes:
    inflater = zlib.decompressobj(_ZLIB_WBITS[coding])
    try:
        found = inflater.decompress(data, bytes_max + 1)
    except zlib.error as error:
        raise _damaged(coding) from error
    if len(found) <= bytes_max and (not inflater.eof or inflater.unused_data):
        raise _damaged(coding)
    return found


def _unzstd(data: bytes, bytes_max: int) -> bytes:
    zstd = _zstd()
    try:
        size: int = zstd.get_frame_parameters(data).content_size
        if size != zstd.CONTENTSIZE_UNKNOWN and size > bytes_max:
            raise TooLargeError(f"It is larger than {bytes_max:,} bytes.")
        unpacker = zstd.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
        try:
            found: bytes = unpacker.decompress(
                data, max_output_size=bytes_max, allow_extra_data=False
            )
        except zstd.ZstdError:
            # A frame that does not fit and one that is cut off look alike to it.
            with unpacker.stream_reader(data) as reader:
                found = reader.read(bytes_max + 1)
            if len(found) <= bytes_max:
                raise
    except zstd.ZstdError as error:
        raise _damaged(Coding.ZSTD) from error
    return found


def _damaged(coding: Coding) -> UnreadableError:
    return UnreadableError(
        f"It is not `{coding.token}`: damaged, cut off, or followed by other bytes."
    )


@cache
def _zstandard() -> ModuleType | None:
    try:
        # Takes longer to import than a device takes to show its list.
        import zstandard
    except ImportError:
        return None
    return zstandard


def _zstd() -> Any:
    found = _zstandard()
    assert found is not None, "a coding is chosen from `codings()`"
    return found


# Binary frames.


def pack(value: Any, coding: Coding) -> bytes:
    """Write a binary frame; `coding`, which the other side must know, is used when it pays."""
    payload, used = shrink(encode(value, Format.MSGPACK), coding)
    return bytes((PROTOCOL_VERSION, used)) + payload


def unpack(data: bytes, kind: type[T], bytes_max: int) -> T:
    """Read a binary frame, of at most `bytes_max` bytes unpacked.

    Raises `UnsupportedVersionError`, `TooLargeError` and `UnreadableError`.
    """
    if len(data) < _HEADER_BYTES:
        raise UnreadableError("A binary frame begins with two bytes: version and coding.")
    _check(data[0])
    try:
        coding = Coding(data[1])
    except ValueError as error:
        raise UnreadableError(f"No coding has the number {data[1]}.") from error
    return decode(decompress(data[_HEADER_BYTES:], coding, bytes_max), kind, Format.MSGPACK)
