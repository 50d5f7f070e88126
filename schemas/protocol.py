"""The sync request and answer, as typed records, and how a client merges an answer.

`schemas/PROTOCOL.md` is the text of it. The same records travel over HTTP and, later, over the
persistent connection.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from schemas import limits
from schemas.conversations import ConversationState, OwnState
from schemas.events import ModuleOp
from schemas.ids import DeviceId

PROTOCOL_VERSION: Final = 1

Token = Annotated[str, Meta(min_length=1, max_length=limits.CURSOR_CHARS_MAX)]


class ResetReason(Enum):
    """Why an answer is not the delta that the client asked for."""

    FRESH = "fresh"
    EXPIRED = "expired"
    EPOCH_CHANGED = "epoch_changed"
    AHEAD = "ahead"
    OTHER_USER = "other_user"
    UNREADABLE = "unreadable"
    TOO_MANY = "too_many"


class SyncRequest(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Ask what changed. `cursor` continues a delta, `page` a full correction; neither starts fresh.

    A client that continues a full correction sends `page` alone; `cursor` is then ignored.
    """

    device_id: DeviceId
    v: Literal[1] = 1
    cursor: Token | None = None
    page: Token | None = None
    changes_max: Annotated[int, Meta(ge=1, le=limits.CHANGES_PER_ANSWER_MAX)] = (
        limits.CHANGES_PER_ANSWER_DEFAULT
    )
    page_max: Annotated[int, Meta(ge=1, le=limits.CONVERSATIONS_PER_PAGE_MAX)] = (
        limits.CONVERSATIONS_PER_PAGE_DEFAULT
    )


class ConversationEntry(Struct, frozen=True, omit_defaults=True):
    """What a client needs to know of one conversation. Absent parts are unchanged.

    `version` is the newest change the entry tells of; a client acknowledges up to it.
    """

    conversation_id: str
    version: int
    max_seq: int | None = None
    active_at_ms: int | None = None
    read_seq: int | None = None
    own: OwnState | None = None


class ModuleEntry(Struct, frozen=True, omit_defaults=True):
    """An item of a user module changed."""

    module: str
    item_id: str
    op: ModuleOp
    item_version: int
    version: int


class SyncResponse(Struct, frozen=True, omit_defaults=True):
    """The answer. `path` `delta`: merge the entries. `full`: a page of the whole state.

    A full answer with `reset` set is the *first* page: what the client holds and no page names is
    gone when the last page is applied. `page` asks for the next one; `cursor` is to be stored with
    the entries, in one transaction, and is absent until the last page.
    """

    path: Literal["delta", "full"]
    conversations: tuple[ConversationEntry, ...] = ()
    modules: tuple[ModuleEntry, ...] = ()
    reset: ResetReason | None = None
    cursor: str | None = None
    page: str | None = None
    server_time_ms: int = 0
    v: Literal[1] = 1


def merge(state: ConversationState | None, entry: ConversationEntry) -> ConversationState:
    """Merge an entry into what a client holds of that conversation (None: nothing yet).

    Pure, idempotent, and monotone in `max_seq`, `read_seq` and `min_seq`.
    """
    held = state or ConversationState(entry.conversation_id)
    newer = entry.max_seq is not None and entry.max_seq > held.max_seq
    own = held.own
    if entry.own is not None:
        own = entry.own
        if held.own.min_seq > own.min_seq:
            own = replace(own, min_seq=held.own.min_seq)
    return ConversationState(
        conversation_id=held.conversation_id,
        max_seq=entry.max_seq if newer and entry.max_seq is not None else held.max_seq,
        active_at_ms=(
            entry.active_at_ms if newer and entry.active_at_ms is not None else held.active_at_ms
        ),
        read_seq=max(held.read_seq, entry.read_seq or 0),
        own=own,
    )
