"""Which answer a request gets. PURE: no I/O, clock or randomness.

`start` decides from the request and the ground it stands on; what the plan then needs of the store,
and what the answer says, is in `syncapi.delta`, `syncapi.snapshot` and `syncapi.correction`, pure
as well. `syncapi.service` carries it out. A reset always names its reason, and its answer is
already the first page of the recovery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from schemas.cursor import Cursor, PageToken, T, unseal, user_digest
from schemas.errors import RefusedTokenError, TokenError
from schemas.protocol import Correction, Reason, SyncRequest

EXPIRY_MARGIN_MS: Final = 3_600_000
"""A cursor expires this much before its changes do, so that none expires while it is being read."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Answer what changed since `cursor`; `root`: and compare the whole state."""

    cursor: Cursor
    root: bytes | None = None


@dataclass(frozen=True, slots=True)
class Full:
    """Answer with the whole state, from the first page on, saying why.

    `modules`: a cursor whose place in the line of module changes is still good.
    """

    reason: Reason
    modules: Cursor | None = None


@dataclass(frozen=True, slots=True)
class NextPage:
    """Go on with a full correction."""

    token: PageToken


@dataclass(frozen=True, slots=True)
class Correct:
    """Say where the state of the client at `cursor` differs."""

    cursor: Cursor
    correction: Correction


Plan: TypeAlias = Delta | Full | NextPage | Correct


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a decision stands on: who asks, which epoch the log is in and how long its windows are,
    what time it is.
    """

    user_id: str
    key: bytes
    epoch: int
    window_ms: int
    now_ms: int
    retention_ms: int


def start(request: SyncRequest, ground: Ground) -> Plan:
    """Decide how to answer.

    A token that is too old, or of another log, is a reset. One that was not issued to this user is
    refused with `RefusedTokenError`, which says so in one word.
    """
    if request.page is not None:
        token = _open(request.page, PageToken, ground)
        reason = _reset(token.cursor, ground)
        return NextPage(token) if reason is None else Full(reason)
    if request.cursor is None:
        return Full(Reason.FRESH)
    cursor = _open(request.cursor, Cursor, ground)
    reason = _reset(cursor, ground)
    if reason is not None:
        return Full(reason)
    if request.correct is not None:
        return Correct(cursor, request.correct)
    return Delta(cursor, request.root)


def _open(text: str, kind: type[T], ground: Ground) -> T:
    try:
        token = unseal(text, kind, ground.key)
    except TokenError as error:
        raise RefusedTokenError(f"{error}; sync without it", Reason.UNREADABLE.value) from error
    if _cursor_of(token).user_digest != user_digest(ground.user_id):
        raise RefusedTokenError(
            "the token was issued to another user; forget what came with it, and sync without it",
            Reason.OTHER_USER.value,
        )
    return token


def _cursor_of(token: Cursor | PageToken) -> Cursor:
    return token.cursor if isinstance(token, PageToken) else token


def _reset(cursor: Cursor, ground: Ground) -> Reason | None:
    if cursor.epoch != ground.epoch:
        return Reason.EPOCH_CHANGED
    if cursor.issued_at_ms < oldest_valid_ms(ground):
        return Reason.EXPIRED
    return None


def oldest_valid_ms(ground: Ground) -> int:
    """Cursors issued before this are expired: changes after them may be gone."""
    margin_ms = min(EXPIRY_MARGIN_MS, ground.retention_ms // 10)
    return ground.now_ms - (ground.retention_ms - margin_ms)
