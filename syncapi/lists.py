"""Reads of the lists beside the index: what is pinned, and changed items of user modules."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from infra.cassandra import module_changes_by_user, pinned_by_user
from infra.cassandra.session import Session
from schemas.cursor import Cursor
from schemas.limits import PINNED_MAX
from schemas.rows import ModuleRow
from syncapi import delta, modules
from syncapi.planner import Ground

PINNED_DIGEST_BYTES: Final = 4
"""2^32: the list is also told by the entries of the conversations in it."""


async def read_pinned(session: Session, user_id: str) -> tuple[str, ...] | None:
    """The list of pinned conversations; None if it is too long to be told."""
    pinned = await pinned_by_user.read(session, user_id)
    return tuple(pinned) if len(pinned) <= PINNED_MAX else None


def pinned_digest(pinned: Sequence[str]) -> bytes:
    """Sum up a list of pinned conversations; nothing for an empty one."""
    if not pinned:
        return b""
    return hashlib.blake2b(msgspec.json.encode(pinned), digest_size=PINNED_DIGEST_BYTES).digest()


async def read_items(session: Session, cursor: Cursor, ground: Ground) -> list[ModuleRow]:
    """Module items changed since a cursor, and one more than are told if there are too many.

    To be read after the index, whose marks point at them.
    """
    return await module_changes_by_user.read_newer(
        session,
        ground.user_id,
        delta.scan_from_ms(cursor.modules_window_ms, ground),
        cursor.modules_version,
        modules.MODULE_ROWS_MAX + 1,
    )
