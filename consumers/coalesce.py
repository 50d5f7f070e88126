"""Fold a batch of change records into the rows it leaves behind.

PURE. Within a batch, changes of one (user, window, conversation) become one row: fields merge, by
the same rules as in Cassandra, and nothing is just dropped. A message dominated by a greater
sequence, or a read marker by a greater one, is represented by the greater: its version is too,
because whoever is behind the dominated version is also behind the greater one, or holds it already.
A batch may even hold a record twice: a partition that was lost and given back within it begins
again at what was committed. So versions never go back here either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.rows import MODULES_MARK

T = TypeVar("T")


@dataclass(slots=True)
class RowFold:
    """One row of the change index. Version 0: no such change in the batch."""

    max_seq: int = 0
    active_at_ms: int = 0
    message_version: int = 0
    read_seq: int = -1
    read_version: int = 0
    state_version: int = 0


@dataclass(slots=True)
class InboxFold:
    """One row of an inbox. Stamped parts keep the newest stamp, sequences the greatest; the side is
    ordered by mode epoch.
    """

    read_seq: int = -1
    min_seq: int = 0
    deletion: Deletion | None = None
    membership: tuple[int, Membership] | None = None
    pinned: tuple[int, bool] | None = None
    muted: tuple[int, bool] | None = None
    read_side: tuple[int, bool] | None = None


@dataclass(slots=True)
class Fold:
    """What a batch leaves behind."""

    rows: dict[tuple[str, int, str], RowFold] = field(default_factory=dict)
    """(user, window, conversation)."""
    inbox: dict[tuple[str, str], InboxFold] = field(default_factory=dict)
    """(user, conversation)."""
    modules: dict[tuple[str, int, str, str], tuple[int, ModuleChange]] = field(default_factory=dict)
    """(user, window, module, item) -> (version, change)."""
    marks: int = 0

    def add(self, change: Change, version: int, window_ms: int) -> None:
        """Take the change at `version`, whose record was appended in the window of `window_ms`."""
        self.marks += len(change.users)
        match change:
            case MessageChange():
                self._message(change, version, window_ms)
            case ReadChange():
                for user in change.users:
                    self._read(user, change.conversation_id, change.read_seq, version, window_ms)
            case StateChange():
                for user in change.users:
                    row = self._row(user, window_ms, change.conversation_id)
                    row.state_version = max(row.state_version, version)
                    _merge_state(self._inbox(user, change.conversation_id), change)
            case ModuleChange():
                for user in change.users:
                    key = (user, window_ms, change.module, change.item_id)
                    mark = self._row(user, window_ms, MODULES_MARK)
                    mark.state_version = max(mark.state_version, version)
                    held = self.modules.get(key)
                    if held is None or change.item_version >= held[1].item_version:
                        self.modules[key] = (version, change)

    def _message(self, change: MessageChange, version: int, window_ms: int) -> None:
        rows, conversation_id, max_seq = self.rows, change.conversation_id, change.max_seq
        for user in change.users:
            key = (user, window_ms, conversation_id)
            row = rows.get(key)
            if row is None:
                row = rows[key] = RowFold()
            if (max_seq, version) > (row.max_seq, row.message_version):
                row.max_seq = max_seq
                row.active_at_ms = change.active_at_ms
                row.message_version = version
        if change.sender_id is not None:
            self._read(change.sender_id, conversation_id, max_seq, version, window_ms)

    def _read(
        self, user: str, conversation_id: str, read_seq: int, version: int, window_ms: int
    ) -> None:
        row = self._row(user, window_ms, conversation_id)
        if (read_seq, version) > (row.read_seq, row.read_version):
            row.read_seq = read_seq
            row.read_version = version
        inbox = self._inbox(user, conversation_id)
        inbox.read_seq = max(inbox.read_seq, read_seq)

    def _row(self, user: str, window_ms: int, conversation_id: str) -> RowFold:
        return self.rows.setdefault((user, window_ms, conversation_id), RowFold())

    def _inbox(self, user: str, conversation_id: str) -> InboxFold:
        return self.inbox.setdefault((user, conversation_id), InboxFold())


def _merge_state(inbox: InboxFold, change: StateChange) -> None:
    stamp = change.stamp
    if change.min_seq is not None:
        inbox.min_seq = max(inbox.min_seq, change.min_seq)
    if change.deletion is not None:
        held = inbox.deletion
        if held is None or (change.deletion.seq, change.deletion.at_ms) > (held.seq, held.at_ms):
            inbox.deletion = change.deletion
    if change.membership is not None:
        inbox.membership = _newest(inbox.membership, (stamp, change.membership))
    if change.pinned is not None:
        inbox.pinned = _newest(inbox.pinned, (stamp, change.pinned))
    if change.muted is not None:
        inbox.muted = _newest(inbox.muted, (stamp, change.muted))
    if change.read_side is not None:
        side = (change.mode_epoch, change.read_side)
        # Of the same mode epoch, being in the set wins, as with cells of equal timestamps.
        inbox.read_side = side if inbox.read_side is None else max(inbox.read_side, side)


def _newest(held: tuple[int, T] | None, new: tuple[int, T]) -> tuple[int, T]:
    return new if held is None or new[0] >= held[0] else held
