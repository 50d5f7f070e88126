"""Table `module_changes_by_user`: changed items of the other user modules, in the same windows."""

from __future__ import annotations

from typing import Final

from infra.cassandra.changes_by_user import row_stamp
from infra.cassandra.session import Session, Statement
from schemas.changes import ModuleChange
from schemas.rows import ModuleRow

SELECT_NEWER: Final = (
    "SELECT window_ms, module, item_id, version, op, item_version FROM ks.module_changes_by_user "
    "WHERE user_id = ? AND window_ms >= ? AND version > ? LIMIT ? ALLOW FILTERING"
)
UPDATE_ITEM: Final = (
    "UPDATE ks.module_changes_by_user USING TTL ? AND TIMESTAMP ? "
    "SET version = ?, op = ?, item_version = ? "
    "WHERE user_id = ? AND window_ms = ? AND module = ? AND item_id = ?"
)


async def read_newer(
    session: Session, user_id: str, window_ms: int, version: int, limit: int
) -> list[ModuleRow]:
    """Items changed above `version` in the windows from `window_ms` inclusive on, newest window
    first, at most `limit`.
    """
    rows = await session.aread(SELECT_NEWER, (user_id, window_ms, version, limit))
    return [ModuleRow(*row) for row in rows]


def item(
    session: Session,
    user_id: str,
    window_ms: int,
    ttl_s: int,
    *,
    change: ModuleChange,
    version: int,
) -> Statement:
    """Index a changed item; the greatest item version wins inside a window."""
    stamp = row_stamp(window_ms, change.item_version)
    values = (
        ttl_s,
        stamp,
        version,
        change.op,
        change.item_version,
        user_id,
        window_ms,
        change.module,
        change.item_id,
    )
    return session.bind(UPDATE_ITEM, values)
