"""Cursors and page tokens: what a client stores without looking inside.

A token is `base64url(msgpack(payload) + tag)`, the tag being the first 16 bytes of
HMAC-SHA256(key, msgpack(payload)). The payload carries a digest of the user id, so that a cursor of
another user is told from a damaged one. Nothing in a token is secret; it only cannot be made up.
Tokens travel both ways with nearly every sync, so they are short: numbers that lie close together
are written as differences (`_packed`).

A cursor says: every conversation change up to `version` inclusive, and every module change up to
`modules_version` inclusive, is with the client. They are two, because they are read from two
tables, and two reads are no snapshot. `window_ms` and `modules_window_ms` are the starts of the
windows from which later ones must be looked for; `heads_digest` sums up the read-side heads as the
client has them, `pinned_digest` its list of pinned conversations; `issued_at_ms` is the server's
clock when it began the answer, which decides expiry and what counts as news on the read side;
`crowded` says that its window holds many older changes, so that they are worth filtering out, and
`modules_to`, if it is not 0, up to where module changes were left to the delta that follows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Annotated, Any, Final, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from schemas.errors import TokenError
from schemas.limits import (
    CONVERSATION_ID_CHARS_MAX,
    CURSOR_CHARS_MAX,
    EPOCH_MAX,
    MODULE_ITEMS_PER_ANSWER_MAX,
    OFFSET_BITS,
    SEQ_MAX,
    TIME_MS_MAX,
)

TAG_BYTES: Final = 16
"""128 bits of HMAC: guessing one is out of reach, and a cursor stays under 80 characters."""

USER_DIGEST_BYTES: Final = 8

_Version = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
_Time = Annotated[int, Meta(ge=0, le=TIME_MS_MAX)]
_Epoch = Annotated[int, Meta(ge=0, le=EPOCH_MAX)]


class Rest(Struct, frozen=True, array_like=True):
    """What is still missing under a cursor, because a page of a delta told the newest first.

    The delta leads to `version` and `modules_version`. Of the changes up to there, those of
    conversations below `below`, of modules below `modules_below`, and of read-side heads below the
    place (`heads_below_ms`, `heads_below_id`) were not told, all exclusive; 0 means that all were.
    Modules with more than `modules_max` changed items were reset.
    The other fields are those of the cursor when the delta is complete.
    """

    version: _Version
    window_ms: _Time
    below: _Version
    modules_version: _Version
    modules_window_ms: _Time
    modules_below: _Version
    modules_max: Annotated[int, Meta(ge=0, le=MODULE_ITEMS_PER_ANSWER_MAX)]
    heads_below_ms: _Time
    heads_below_id: Annotated[str, Meta(max_length=CONVERSATION_ID_CHARS_MAX)]
    issued_at_ms: _Time
    heads_digest: bytes


class Cursor(Struct, frozen=True, array_like=True):
    """Where a device stands in its user's line of changes. `rest`: in the middle of a delta."""

    user_digest: bytes
    epoch: _Epoch
    version: _Version
    modules_version: _Version
    window_ms: _Time
    modules_window_ms: _Time
    issued_at_ms: _Time
    heads_digest: bytes = b""
    pinned_digest: bytes = b""
    crowded: bool = False
    modules_to: _Version = 0
    rest: Rest | None = None


class PageToken(Struct, frozen=True):
    """Where a full correction stands: the cursor fixed before page one, and the last id of the
    page.

    The next page starts after `after`, exclusive, in byte order of conversation ids.
    """

    cursor: Cursor
    after: str


T = TypeVar("T", Cursor, PageToken)


class _Packed(Struct, frozen=True, array_like=True, tag="c3"):
    """A cursor as it is written: `offset` counts from the epoch's first version, `*_back` is how
    far a number lies before the one of the same kind before it; negative, if it lies after it.
    """

    user_digest: bytes
    epoch: int
    offset: int
    modules_back: int
    issued_at_ms: int
    window_back_ms: int
    modules_window_back_ms: int
    heads_digest: bytes = b""
    pinned_digest: bytes = b""
    crowded: bool = False
    modules_to: int = 0
    rest: Rest | None = None


class _PackedPage(Struct, frozen=True, array_like=True, tag="p3"):
    cursor: _Packed
    after: Annotated[str, Meta(max_length=CONVERSATION_ID_CHARS_MAX)]


def user_digest(user_id: str) -> bytes:
    """Digest that binds a token to its user."""
    return hashlib.blake2b(user_id.encode(), digest_size=USER_DIGEST_BYTES).digest()


def seal(token: Cursor | PageToken, key: bytes) -> str:
    """Encode and authenticate a token."""
    if isinstance(token, Cursor):
        payload = msgspec.msgpack.encode(_packed(token))
    else:
        payload = msgspec.msgpack.encode(_PackedPage(_packed(token.cursor), token.after))
    return base64.urlsafe_b64encode(payload + _tag(payload, key)).rstrip(b"=").decode()


def unseal(text: str, kind: type[T], key: bytes) -> T:
    """Decode a token made by `seal` with the same key; raises `TokenError` for anything else."""
    if len(text) > CURSOR_CHARS_MAX:
        raise TokenError(f"the token is longer than {CURSOR_CHARS_MAX} characters")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("the token is not base64url") from error
    payload, tag = raw[:-TAG_BYTES], raw[-TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(payload, key)):
        raise TokenError("the token was not issued by this service, or is damaged")
    try:
        found: Any
        if kind is Cursor:
            found = _unpacked(msgspec.msgpack.decode(payload, type=_Packed))
        else:
            page = msgspec.msgpack.decode(payload, type=_PackedPage)
            found = PageToken(_unpacked(page.cursor), page.after)
    except msgspec.MsgspecError as error:
        raise TokenError("the token is of another kind or another version") from error
    return cast("T", found)


def _packed(cursor: Cursor) -> _Packed:
    return _Packed(
        cursor.user_digest,
        cursor.epoch,
        cursor.version - (cursor.epoch << OFFSET_BITS),
        cursor.version - cursor.modules_version,
        cursor.issued_at_ms,
        cursor.issued_at_ms - cursor.window_ms,
        cursor.window_ms - cursor.modules_window_ms,
        cursor.heads_digest,
        cursor.pinned_digest,
        cursor.crowded,
        cursor.modules_to,
        cursor.rest,
    )


def _unpacked(packed: _Packed) -> Cursor:
    """Raises `msgspec.ValidationError` for numbers out of their ranges."""
    version = (packed.epoch << OFFSET_BITS) + packed.offset
    window_ms = packed.issued_at_ms - packed.window_back_ms
    values = (
        packed.user_digest,
        packed.epoch,
        version,
        version - packed.modules_back,
        window_ms,
        window_ms - packed.modules_window_back_ms,
        packed.issued_at_ms,
        packed.heads_digest,
        packed.pinned_digest,
        packed.crowded,
        packed.modules_to,
        packed.rest,
    )
    return msgspec.convert(values, Cursor, builtin_types=(bytes,))


def _tag(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")[:TAG_BYTES]
