"""Change records: the values of `diffusion.changes.v1`. One record is one change for all its users
in that partition, at most `USERS_PER_CHANGE_MAX` of them.

A change is a light index entry. Its content is a function of the source event and the state at the
event's place, so that a replay, or a worker that does not yet know it was replaced, writes the same
again. Merge rules: sequences by the greatest, other cells by the `stamp` of the source write
(`schemas.versions`), the last writer winning.

Every field has its range here too, although only our own stream stage writes these: a number that
Cassandra has no room for would otherwise end every materializer that takes it, again and again.

Versions of records are those of `schemas.record_version`. In every version `users` is a list of
ids: the sync API reads nothing else, for its pokes.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from schemas.events import ModuleOp
from schemas.ids import ConversationId, ModuleItemId, ModuleName, SeqOrZero, UserId
from schemas.limits import SEQ_MAX, STAMP_MAX, TIME_MS_MAX, USERS_PER_CHANGE_MAX
from schemas.record_version import Versioned

Users = Annotated[tuple[UserId, ...], Meta(min_length=1, max_length=USERS_PER_CHANGE_MAX)]
Stamp = Annotated[int, Meta(ge=0, le=STAMP_MAX)]
Moment = Annotated[int, Meta(ge=0, le=TIME_MS_MAX)]
ModeEpoch = Annotated[int, Meta(ge=0, le=SEQ_MAX)]


class MessageChange(Versioned, frozen=True, gc=False, tag="message", omit_defaults=True):
    """A message for `users`. `sender_id`, when it is one of them, has thereby read up to
    `max_seq`.
    """

    conversation_id: ConversationId
    users: Users
    max_seq: SeqOrZero
    active_at_ms: Moment
    sender_id: UserId | None = None


class ReadChange(Versioned, frozen=True, gc=False, tag="read"):
    """The users read up to `read_seq` inclusive; goes to the reader's own devices only."""

    conversation_id: ConversationId
    users: Users
    read_seq: SeqOrZero


class Membership(Struct, frozen=True, gc=False):
    """Whether a user belongs to a conversation; `user_max_seq` caps what he sees (SEQ_MAX: no
    cap).
    """

    member: bool
    user_max_seq: SeqOrZero
    at_ms: Moment


class Deletion(Struct, frozen=True, gc=False):
    """The user took the conversation off his list when `seq` was its last."""

    seq: SeqOrZero
    at_ms: Moment


class StateChange(Versioned, frozen=True, gc=False, tag="state", omit_defaults=True):
    """A change of what is the users' own in a conversation. Absent parts stay as they were.

    `stamp` orders membership (stamps of the conversation topic) and the flags (stamps of the user
    topic); the two topics never share a cell. `min_seq` and `deletion` merge by the greatest.
    `read_side` puts the conversation into the users' read-side set or takes it out, as of
    `mode_epoch`; of the same epoch, in wins. Not by `stamp`: a replay may switch at another event
    than the first time, and its fence must stand above the older one whatever event it comes from.
    """

    conversation_id: ConversationId
    users: Users
    stamp: Stamp
    membership: Membership | None = None
    min_seq: SeqOrZero | None = None
    deletion: Deletion | None = None
    pinned: bool | None = None
    muted: bool | None = None
    read_side: bool | None = None
    mode_epoch: ModeEpoch = 0


class ModuleChange(Versioned, frozen=True, gc=False, tag="module"):
    """An item of a user module changed; of the same item the greatest `item_version` wins."""

    users: Users
    module: ModuleName
    item_id: ModuleItemId
    op: ModuleOp
    item_version: SeqOrZero


Change: TypeAlias = MessageChange | ReadChange | StateChange | ModuleChange
