"""From a record of OpenIM's push topic to write events. The rules of the tap, and all of them.

PURE. What a record does not say comes in as `Known`.

| record | events |
|---|---|
| with a sequence, of whatever content type | `Message` |
| 2200, a read receipt, single or group | `Read` of who read |
| 1501, 1509, 1510 of a group | `MembersJoined`: the group's conversation, and its `n_` companion |
| 1504, 1508, 1511 of a group | `MembersLeft`: likewise |
| anything else without a sequence | nothing |

*Sides.* A message in `si_`, and in the `n_` of two users, names both, one in `sn_` its receiver;
members of groups come by notices.

*Unread.* OpenIM's servers count `max_seq - read_seq`, and so does the engine: every stored record
of a conversation counts, whatever its options `unreadCount` and `conversationUpdate` say to the
clients that are online. Who sends has read so far, in both.

*Twice told.* A membership notice with the option `isSendMsg` (as OpenIM is shipped) is in the topic
twice: without a sequence in `n_`, and as a stored copy with one in the group's conversation. The
copy says at which sequence it happened, so it is the one that counts. Only where there is no copy
must the place be found: it is after what the tap last saw of the conversation, because OpenIM
writes both to one partition in this order.

*Again.* Records repeat, after a crash of the tap or of OpenIM. Messages and read markers merge by
the greatest. Membership ends as the last notice says, because what followed is repeated, too, and
in its order. A place that was asked of the engine may lie behind what it was the first time, so
then only those are named whose membership still has to change.

*The companion.* Who joins may see all notices of the group. Who leaves is frozen at none: OpenIM
itself keeps no place for it, notices are in no list, and what he has fetched he has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from consumers.openim import notices
from consumers.openim.content_types import GROUPS, IS_SEND_MSG, ContentType, Session
from consumers.openim.notices import MEMBERSHIP, Membership
from consumers.openim.records import Record
from schemas import ids
from schemas.batched import batched
from schemas.errors import DecodeError
from schemas.events import MembersJoined, MembersLeft, Message, Read, WriteEvent
from schemas.limits import MEMBERS_PER_EVENT_MAX

NOTHING_SEEN: Final = 0
"""Place of who leaves a group's notices."""


class Room(NamedTuple):
    """A conversation as the engine has it: its last sequence, and its members."""

    max_seq: int
    members: AbstractSet[str]


class Known(Protocol):
    """What the records so far and the engine know of a conversation."""

    def last_seq(self, conversation_id: str) -> int | None:
        """The greatest sequence that the tap saw of it, if it saw any."""

    def ask(self, conversation_id: str) -> Room:
        """The conversation as the engine has it once it has processed everything that the tap told
        before this record.
        """


@dataclass(slots=True)
class Told:
    """What a record says: the events, in the order in which they must happen, and why a part of it
    could not be understood. A notice that cannot be read is a message still.
    """

    events: list[WriteEvent] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def translate(record: Record, known: Known, *, history: bool) -> Told:
    """Say what a record tells.

    `history`: whether who joins a group may see what was written before (OpenIM's setting
    `enableHistoryForNewMembers`).
    """
    told = Told()
    # Who joins is a member when the message comes, and who leaves is until it has come: OpenIM
    # tells both of it.
    for part in (_read, _joined, _message, _left):
        try:
            told.events.extend(part(record, _Scene(known, history)))
        except DecodeError as error:
            told.problems.append(str(error))
    return told


class _Scene(NamedTuple):
    """What the parts of a translation may look at, beside the record."""

    known: Known
    history: bool


def _message(record: Record, _scene: _Scene) -> Iterator[Message]:
    if record.seq > 0:
        yield Message(
            record.conversation_id,
            record.seq,
            record.sender_id,
            record.sent_at_ms,
            _sides(record),
        )


def _sides(record: Record) -> tuple[str, ...] | None:
    """The users of a conversation that is no group's."""
    if record.session_type in GROUPS:
        return None
    if record.session_type == Session.SINGLE or ids.is_notification(record.conversation_id):
        return tuple(dict.fromkeys((record.sender_id, record.receiver_id)))
    if record.session_type == Session.SYSTEM:
        # OpenIM gives the conversation to the receiver alone.
        return (record.receiver_id,)
    raise DecodeError(f"session type {record.session_type} is not known: whose message is it?")


def _read(record: Record, _scene: _Scene) -> Iterator[Read]:
    if record.content_type != ContentType.HAS_READ_RECEIPT:
        return
    tips = notices.read_tips(record.content)
    # As OpenIM's own consumer takes it: without a conversation, or with a negative sequence, it
    # says nothing.
    if tips.conversation_id and tips.has_read_seq >= 0:
        read_seq = max(tips.has_read_seq, *(tips.seqs or ()), 0)
        yield Read(tips.user_id, tips.conversation_id, read_seq)


def _membership(record: Record) -> Membership | None:
    """What the record says of the members of its group; None if it says nothing, or its copy
    does.
    """
    membership = MEMBERSHIP.get(record.content_type)
    if membership is None or record.session_type != Session.GROUP:
        return None
    if not _is_copy(record) and record.options.get(IS_SEND_MSG, True):
        return None
    if not record.group_id:
        raise DecodeError("the membership notice names no group")
    return membership


def _is_copy(record: Record) -> bool:
    return record.seq > 0 and not ids.is_notification(record.conversation_id)


def _rooms(record: Record) -> tuple[str, str]:
    """The group's conversation, and the one of its notices."""
    return ids.group(record.group_id), ids.NOTIFICATION_PREFIX + record.group_id


def _joined(record: Record, scene: _Scene) -> Iterator[MembersJoined]:
    membership = _membership(record)
    if membership is None or membership.leaves is not None:
        return
    users: Sequence[str] = notices.users_named(record.content, membership)
    if not users:
        return
    (room, companion), at_ms = _rooms(record), record.sent_at_ms
    for some in batched(users, MEMBERS_PER_EVENT_MAX):
        yield MembersJoined(companion, some, 0, at_ms)
    shown = scene.history or membership.founding
    seq = record.seq - 1 if _is_copy(record) else scene.known.last_seq(room)
    if seq is None and shown:
        seq = 0  # hides nothing
    if seq is None:
        there = scene.known.ask(room)
        seq, users = there.max_seq, [user for user in users if user not in there.members]
    for some in batched(users, MEMBERS_PER_EVENT_MAX):
        yield MembersJoined(room, some, seq, at_ms, shown)


def _left(record: Record, scene: _Scene) -> Iterator[MembersLeft]:
    membership = _membership(record)
    if membership is None or membership.leaves is None:
        return
    users: Sequence[str] = notices.users_named(record.content, membership)
    if not users and not membership.everybody:
        return
    (room, companion), known = _rooms(record), scene.known
    at_ms, reason = record.sent_at_ms, membership.leaves
    # Each of its own members: a crash may have told one of them that it is over, and not the other.
    gone = sorted(known.ask(companion).members) if membership.everybody else users
    for some in batched(gone, MEMBERS_PER_EVENT_MAX):
        yield MembersLeft(companion, some, NOTHING_SEEN, at_ms, reason)
    seq = record.seq if _is_copy(record) else known.last_seq(room)
    if seq is None or membership.everybody:
        there = known.ask(room)
        seq = there.max_seq if seq is None else seq
        named = there.members if membership.everybody else users
        users = [user for user in sorted(named) if user in there.members]
    for some in batched(users, MEMBERS_PER_EVENT_MAX):
        yield MembersLeft(room, some, seq, at_ms, reason)
