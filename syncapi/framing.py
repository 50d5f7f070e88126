"""Bytes of the frames of a persistent connection: text is JSON, binary is MessagePack.

What cannot be read becomes an `Unread`: the error, and the id of the request if that much could be
read, so that the client knows which of its requests it was.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, TypeVar

from msgspec import Struct

from schemas.encoding import (
    Coding,
    Format,
    Versioned,
    check_version,
    decode,
    encode,
    pack,
    unpack,
)
from schemas.errors import InputError, TooLargeError, UnreadableError
from schemas.frames import ClientFrame, RequestId, ServerFrame
from schemas.limits import REQUEST_BYTES_MAX

Form: TypeAlias = Coding | None
"""How a frame is written: None is text, else binary in this coding."""

T = TypeVar("T", bound=Struct)


class Unread(NamedTuple):
    """A frame that is no `ClientFrame`: of which request, if that could be read, and why."""

    id: int | None
    error: InputError


class _Outline(Struct):
    """What can be read of a frame that does not fit: of another version, for instance."""

    id: RequestId
    sync: Versioned | None = None


def read_frame(data: str | bytes) -> ClientFrame | Unread:
    """Read a frame of a client."""
    try:
        frame = _decoded(data, ClientFrame)
        if frame.sync is not None:
            check_version(frame.sync)
    except UnreadableError as error:
        return _outlined(data, error)
    except InputError as error:
        return Unread(_id(data), error)
    return frame


def coding_of(data: str | bytes) -> Coding:
    """How a frame that could be read is compressed."""
    return Coding.IDENTITY if isinstance(data, str) else Coding(data[1])


def frame_bytes(frame: ServerFrame, form: Form) -> str | bytes:
    """Write a frame of the server."""
    return encode(frame, Format.JSON).decode() if form is None else pack(frame, form)


def frame_kind(frame: ServerFrame) -> str:
    """What a frame of the server is: answer, problem, drain, poke or pong."""
    if frame.answer is not None:
        return "answer"
    if frame.problem is not None:
        return "problem"
    if frame.drain_ms is not None:
        return "drain"
    return "poke" if frame.poke else "pong"


def frame_length(data: str | bytes) -> int:
    """Bytes of a frame on the wire: text is UTF-8 there."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _outlined(data: str | bytes, error: UnreadableError) -> Unread:
    """Another version may have other types: then that is what is wrong."""
    try:
        outline = _decoded(data, _Outline)
    except InputError:
        return Unread(None, error)
    if outline.sync is not None:
        try:
            check_version(outline.sync)
        except InputError as other:
            return Unread(outline.id, other)
    return Unread(outline.id, error)


def _id(data: str | bytes) -> int | None:
    try:
        return _decoded(data, _Outline).id
    except InputError:
        return None


def _decoded(data: str | bytes, kind: type[T]) -> T:
    if isinstance(data, bytes):
        return unpack(data, kind, REQUEST_BYTES_MAX)
    packed = data.encode()
    if len(packed) > REQUEST_BYTES_MAX:
        raise TooLargeError(f"It is larger than {REQUEST_BYTES_MAX:,} bytes.")
    return decode(packed, kind, Format.JSON)
