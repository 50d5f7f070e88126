"""From a line of an import to write events. PURE.

An import writes what a backend writes, and the engine does the rest: whom to tell, modes, versions.
So an imported conversation is like any other, and imports and live writes may be mixed as far as
their events merge.

The message goes before the joins. It then finds no members, so that it costs the head and nobody is
told of it; who joins behind it is told of the conversation once, and the answer of a sync takes the
last sequence from the head. What is the user's own goes to another topic and may be applied before
the join: it is a row without membership until then, and shows nothing.

Every event may come twice, in any prefix of the file that is written again: sequences merge by the
greatest, and a join or a setting written again says the same. The sender's `Read` is written for
that: a message that comes again finds him a member and marks it read, and the first time must end
the same. A sender who is no member (a system's account) gets none, or he would have a row for each
conversation there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import UNSET

from schemas.batched import batched
from schemas.errors import InputError
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    MembersJoined,
    Message,
    Read,
    UserConversationSettings,
    WriteEvent,
)
from schemas.imports import ConversationLine, ImportLine, UserLine
from schemas.limits import MEMBERS_PER_EVENT_MAX

_decoder: Final[msgspec.json.Decoder[ImportLine]] = msgspec.json.Decoder(ImportLine)


def decode(text: bytes) -> ImportLine:
    """Read a line; raises `InputError` that says what is wrong and where."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(str(error)) from error


def events(line: ImportLine) -> Iterator[WriteEvent]:
    """Write events of a line, in the order in which they must be written."""
    match line:
        case ConversationLine():
            yield from _conversation(line)
        case UserLine():
            yield from _user(line)


def _conversation(line: ConversationLine) -> Iterator[WriteEvent]:
    last = line.last
    if last is not None:
        yield Message(line.conversation_id, last.seq, last.sender_id, last.sent_at_ms)
    seq = 0 if last is None else last.seq
    for some in batched(line.members, MEMBERS_PER_EVENT_MAX):
        yield MembersJoined(line.conversation_id, some, seq, line.joined_at_ms)
    if last is not None and last.sender_id in line.members:
        yield Read(last.sender_id, line.conversation_id, last.seq)


def _user(line: UserLine) -> Iterator[WriteEvent]:
    user, conversation = line.user_id, line.conversation_id
    if line.read_seq:
        yield Read(user, conversation, line.read_seq)
    if line.min_seq:
        yield ConversationCleared(user, conversation, line.min_seq)
    if line.deleted is not None:
        yield ConversationDeleted(user, conversation, line.deleted.seq, line.deleted.at_ms)
    if line.pinned is not UNSET or line.muted is not UNSET:
        yield UserConversationSettings(user, conversation, line.pinned, line.muted)
