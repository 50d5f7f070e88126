"""Lines of an import: what a backend has already, told once (`diffusion import`, docs/import.md).

A line is a conversation with members of it, or what a conversation is to one user. Unlike in
events, an unknown field is refused: in a file of millions of lines a misspelt one would be found
too late.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.ids import ConversationId, Seq, SeqOrZero, TimeMs, UserId

IMPORT_SCHEMA: Final = "import.v1"
"""Name of the format, and of the file of its JSON Schema."""

MEMBERS_PER_LINE_MAX: Final = 10_000
"""A conversation with more takes several lines."""

LINE_BYTES_MAX: Final = 2 * 1024 * 1024
"""200 bytes for each of so many members; with longer ids there is room for fewer."""

LineMembers = Annotated[tuple[UserId, ...], Meta(max_length=MEMBERS_PER_LINE_MAX)]


class LastMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """The last message of a conversation. Who sent it has read it, if he is a member: he is then
    named among the members of the same line.
    """

    seq: Seq
    sender_id: UserId
    sent_at_ms: TimeMs


class Deleted(Struct, frozen=True, forbid_unknown_fields=True):
    """A user deleted the conversation when `seq` was its last sequence. It stays away until a
    message with a greater one.
    """

    seq: SeqOrZero
    at_ms: TimeMs


class ConversationLine(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="conversation"
):
    """A conversation: its last message, if it has one, and those who are its members now.

    More members of it may follow in further lines, which leave out `last`. `joined_at_ms` orders a
    conversation without messages in its members' lists; the time when it was made will do.
    """

    conversation_id: ConversationId
    members: LineMembers
    joined_at_ms: TimeMs
    last: LastMessage | None = None


class UserLine(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="user"):
    """What a conversation is to one user; what is left out is not said.

    `min_seq`: he sees only messages from this one on.
    """

    user_id: UserId
    conversation_id: ConversationId
    read_seq: SeqOrZero = 0
    min_seq: SeqOrZero = 0
    pinned: bool | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
    deleted: Deleted | None = None


ImportLine: TypeAlias = ConversationLine | UserLine
