"""From a fold to statements, and statements of one replica set into UNLOGGED batches.

A batch to one replica set is one request and one acknowledgement for many users, which is what
makes the materializer fast. All rows of a user stay in one statement batch of the index, so that
they become readable together: a reader never sees a newer change of his without the older one
beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from consumers.coalesce import Fold, InboxFold, RowFold
from infra.cassandra import (
    changes_by_user,
    inbox,
    module_changes_by_user,
    pinned_by_user,
    read_side_by_user,
)
from infra.cassandra.changes_by_user import RowKey
from infra.cassandra.grouping import batches
from infra.cassandra.session import Session, Statement

USER_ROWS_MAX: Final = 500
"""Most rows of one user in one statement batch: about 40 KB, under Cassandra's 50 KB refusal. A
user with more in one batch gets his rows in several, one after the other, oldest versions first."""


def state(session: Session, fold: Fold, ttl_s: int) -> dict[str, list[Statement]]:
    """Statements of the inbox, the pinned list, the read-side set and the module items, by user:
    what the index points at.
    """
    statements: dict[str, list[Statement]] = {}
    for (user, conversation_id), cells in fold.inbox.items():
        statements.setdefault(user, []).extend(_inbox(session, user, conversation_id, cells))
    for (user, window_ms, _, _), (version, change) in fold.modules.items():
        item = module_changes_by_user.item(
            session, user, window_ms, ttl_s, change=change, version=version
        )
        statements.setdefault(user, []).append(item)
    return statements


def index(session: Session, fold: Fold, ttl_s: int) -> dict[str, list[Statement]]:
    """Statements of the change index, by user, each user's in the order of their versions."""
    ordered: dict[str, list[tuple[int, Statement]]] = {}
    for (user, window_ms, conversation_id), row in fold.rows.items():
        key = RowKey(user, window_ms, conversation_id)
        ordered.setdefault(user, []).extend(_row(session, key, row, ttl_s))
    return {
        user: [statement for _, statement in sorted(found, key=_version)]
        for user, found in ordered.items()
    }


def grouped(
    session: Session, by_user: dict[str, list[Statement]], rows_max: int
) -> Iterator[list[Statement]]:
    """Yield rounds of statement batches. Rounds are written one after the other, and the batches of
    a round at once; a second round exists only for users with more than `USER_ROWS_MAX` rows.
    """
    todo = by_user
    while todo:
        now = {user: found[:USER_ROWS_MAX] for user, found in todo.items()}
        yield list(batches(session, now.items(), rows_max))
        todo = {
            user: found[USER_ROWS_MAX:]
            for user, found in todo.items()
            if len(found) > USER_ROWS_MAX
        }


def _version(pair: tuple[int, Statement]) -> int:
    return pair[0]


def _row(
    session: Session, key: RowKey, row: RowFold, ttl_s: int
) -> Iterator[tuple[int, Statement]]:
    own = row.message_version and (row.message_version, row.max_seq) == (
        row.read_version,
        row.read_seq,
    )
    if row.message_version:
        write: Callable[..., Statement] = (
            changes_by_user.own_message if own else changes_by_user.message
        )
        yield (
            row.message_version,
            write(
                session,
                key,
                ttl_s,
                version=row.message_version,
                max_seq=row.max_seq,
                active_at_ms=row.active_at_ms,
            ),
        )
    if row.read_version and not own:
        yield (
            row.read_version,
            changes_by_user.read_marker(
                session, key, ttl_s, version=row.read_version, read_seq=row.read_seq
            ),
        )
    if row.state_version:
        yield (
            row.state_version,
            changes_by_user.state(session, key, ttl_s, version=row.state_version),
        )


def _inbox(
    session: Session, user: str, conversation_id: str, cells: InboxFold
) -> Iterable[Statement]:
    if cells.read_seq >= 0:
        yield inbox.read_marker(session, user, conversation_id, cells.read_seq)
    if cells.min_seq:
        yield inbox.min_seq(session, user, conversation_id, cells.min_seq)
    if cells.deletion is not None:
        yield inbox.deletion(session, user, conversation_id, cells.deletion)
    if cells.membership is not None:
        stamp, membership = cells.membership
        yield inbox.membership(session, user, conversation_id, membership, stamp)
    if cells.pinned is not None:
        stamp, value = cells.pinned
        yield inbox.pinned(session, user, conversation_id, value=value, stamp=stamp)
        # The same cell again, in the list that is read whole.
        yield pinned_by_user.pinned(session, user, conversation_id, value=value, stamp=stamp)
    if cells.muted is not None:
        stamp, value = cells.muted
        yield inbox.muted(session, user, conversation_id, value=value, stamp=stamp)
    if cells.read_side is not None:
        mode_epoch, value = cells.read_side
        yield read_side_by_user.side(
            session, user, conversation_id, on=value, mode_epoch=mode_epoch
        )
