"""Cursors and page tokens: what a client stores without looking inside.

A token is `base64url(msgpack(payload) + tag)`, the tag being the first 16 bytes of
HMAC-SHA256(key, msgpack(payload)). The payload carries a digest of the user id, so that a cursor of
another user is told from a damaged one. Nothing in a token is secret; it only cannot be made up.

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
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas.errors import TokenError
from schemas.limits import (
    CONVERSATION_ID_CHARS_MAX,
    CURSOR_CHARS_MAX,
    EPOCH_MAX,
    MODULE_ITEMS_PER_ANSWER_MAX,
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


class Cursor(Struct, frozen=True, array_like=True, tag="c2"):
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


class PageToken(Struct, frozen=True, array_like=True, tag="p2"):
    """Where a full correction stands: the cursor fixed before page one, and the last id of the
    page.

    The next page starts after `after`, exclusive, in byte order of conversation ids.
    """

    cursor: Cursor
    after: Annotated[str, Meta(max_length=CONVERSATION_ID_CHARS_MAX)]


T = TypeVar("T", Cursor, PageToken)


def user_digest(user_id: str) -> bytes:
    """Digest that binds a token to its user."""
    return hashlib.blake2b(user_id.encode(), digest_size=USER_DIGEST_BYTES).digest()


def seal(token: Cursor | PageToken, key: bytes) -> str:
    """Encode and authenticate a token."""
    payload = msgspec.msgpack.encode(token)
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
        return msgspec.msgpack.decode(payload, type=kind)
    except msgspec.MsgspecError as error:
        raise TokenError("the token is of another kind or another version") from error


def _tag(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")[:TAG_BYTES]
