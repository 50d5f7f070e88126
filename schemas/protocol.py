"""The sync request and answer, as typed records, and how a client merges an answer.

`schemas/PROTOCOL.md` is the text of it. The same records travel over HTTP and over the persistent
connection.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import replace

from schemas import limits
from schemas.conversations import ConversationState, OwnState
from schemas.events import ModuleOp
from schemas.ids import DeviceId

PROTOCOL_VERSION: Final = 1
SUPPORTED_VERSIONS: Final = (PROTOCOL_VERSION,)

ALL_MODULES: Final = "*"
"""Stands for every user module in `module_resets`; no module has this name."""

AnswerPath: TypeAlias = Literal["delta", "full", "correction"]

Token = Annotated[str, Meta(min_length=1, max_length=limits.CURSOR_CHARS_MAX)]


class Reason(Enum):
    """Why an answer is not a whole delta. The names are on the wire, and label metrics."""

    FRESH = "fresh"
    EXPIRED = "expired"
    EPOCH_CHANGED = "epoch_changed"
    AHEAD = "ahead"
    TOO_MANY = "too_many"
    DIGEST_MISMATCH = "digest_mismatch"
    PAGING = "paging"
    OTHER_USER = "other_user"
    UNREADABLE = "unreadable"


RESETS: Final = frozenset(
    {Reason.FRESH, Reason.EXPIRED, Reason.EPOCH_CHANGED, Reason.AHEAD, Reason.TOO_MANY}
)
"""Reasons with which a full correction begins: they stand on its first page."""

REFUSALS: Final = frozenset({Reason.OTHER_USER, Reason.UNREADABLE})
"""Reasons for which a token is refused, with a problem document: there is no answer."""


class KeyRange(Struct, frozen=True, array_like=True):
    """Conversations whose key (`schemas.digests.key_of`) begins with the `bits` bits `prefix`."""

    bits: Annotated[int, Meta(ge=0, le=limits.RANGE_BITS_MAX)]
    prefix: Annotated[int, Meta(ge=0, lt=2**limits.RANGE_BITS_MAX)]


class RangeDigests(Struct, frozen=True, array_like=True):
    """A range in equal parts: the digest of each, `RANGE_DIGEST_BYTES` long, in order of keys.

    There are a power of two of them.
    """

    range: KeyRange
    digests: bytes


class RangeRows(Struct, frozen=True, array_like=True):
    """A range listed: the row hashes of what the client has in it, in any order."""

    range: KeyRange
    rows: bytes


class Correction(Struct, frozen=True, omit_defaults=True):
    """What a client sends to find out where its state differs.

    `sketch` sums up the whole state (`schemas.sketch`); `listed` ranges are compared row by row;
    `split` ones are answered with the digests of their parts. Empty: split the whole.
    """

    sketch: Annotated[bytes, Meta(max_length=limits.SKETCH_BYTES_MAX)] | None = None
    listed: Annotated[tuple[RangeRows, ...], Meta(max_length=limits.RANGES_MAX)] = ()
    split: Annotated[tuple[KeyRange, ...], Meta(max_length=limits.RANGES_MAX)] = ()


Root = Annotated[bytes, Meta(min_length=limits.ROOT_BYTES, max_length=limits.ROOT_BYTES)]


class SyncRequest(Struct, frozen=True, omit_defaults=True):
    """Ask what changed. `cursor` continues a delta, `page` a full correction; neither starts fresh.

    A client that continues a full correction sends `page` alone; `cursor` is then ignored. `root`
    is the digest of the whole state that it holds; `correct` asks where that differs, and goes with
    a `cursor`. Unknown fields are ignored.
    """

    device_id: DeviceId
    v: int = PROTOCOL_VERSION
    cursor: Token | None = None
    page: Token | None = None
    changes_max: Annotated[int, Meta(ge=1, le=limits.CHANGES_PER_ANSWER_MAX)] = (
        limits.CHANGES_PER_ANSWER_DEFAULT
    )
    page_max: Annotated[int, Meta(ge=1, le=limits.CONVERSATIONS_PER_PAGE_MAX)] = (
        limits.CONVERSATIONS_PER_PAGE_DEFAULT
    )
    modules_max: Annotated[int, Meta(ge=1, le=limits.MODULE_ITEMS_PER_ANSWER_MAX)] = (
        limits.MODULE_ITEMS_PER_ANSWER_DEFAULT
    )
    bytes_max: Annotated[int, Meta(ge=limits.ANSWER_BYTES_MIN, le=limits.ANSWER_BYTES_MAX)] = (
        limits.ANSWER_BYTES_DEFAULT
    )
    root: Root | None = None
    correct: Correction | None = None


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
    """The answer.

    `path` `delta`: merge the entries, newest first. `full`: a page of the whole state.
    `correction`: rows that differ. Entries of these two replace what the client holds. `reason`
    says why it is not a whole delta. On the first page of a full correction it is one of `RESETS`:
    what the client holds and no page names is gone when the last page is applied.

    `cursor` is to be stored with the entries, in one transaction; absent on a full correction's
    pages but the last, and where the one that the client sent stays good. `page` asks for the next
    page, `has_more` for the rest of a delta, at once. `pinned` is the whole list of pinned
    conversations; `module_resets` names modules to be fetched anew (`ALL_MODULES`: all). `total` is
    the number of conversations. `root` is the digest of the state that this answer leads to, for a
    client that sent its own. Of a correction: `parts` are the digests of ranges, `gone` the hashes
    (of a sketch: the ids) of rows that the server has no counterpart of, and `undecoded` says that
    the sketch was too small.
    """

    path: AnswerPath
    conversations: tuple[ConversationEntry, ...] = ()
    modules: tuple[ModuleEntry, ...] = ()
    reason: Reason | None = None
    cursor: str | None = None
    page: str | None = None
    has_more: bool = False
    pinned: tuple[str, ...] | None = None
    module_resets: tuple[str, ...] = ()
    total: int | None = None
    root: bytes | None = None
    parts: tuple[RangeDigests, ...] = ()
    gone: bytes = b""
    undecoded: bool = False
    server_time_ms: int = 0
    v: int = PROTOCOL_VERSION


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
