"""Rows of the tables as values: what the store reads and the planner decides on.

They are here, below both, because the store may not know the planner and the planner does no I/O.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from schemas.conversations import OwnState
from schemas.events import ModuleOp

MODULES_MARK: Final = ""
"""In place of a conversation id in the change index: some item of a user module changed. No
conversation has the empty id."""


class ChangeRow(Struct, frozen=True, gc=False):
    """A row of the change index. A kind of change that did not happen in its window has version
    0.
    """

    window_ms: int
    conversation_id: str
    message_version: int = 0
    max_seq: int = 0
    active_at_ms: int = 0
    read_version: int = 0
    read_seq: int = 0
    state_version: int = 0

    @property
    def version(self) -> int:
        """The newest change of the row."""
        return max(self.message_version, self.read_version, self.state_version)


class ModuleRow(Struct, frozen=True, gc=False):
    """A row of the module change index."""

    window_ms: int
    module: str
    item_id: str
    version: int
    op: ModuleOp
    item_version: int


class InboxRow(Struct, frozen=True):
    """One conversation of a user's inbox. `own` None: he never belonged to it."""

    conversation_id: str
    read_seq: int
    own: OwnState | None
