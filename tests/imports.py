"""Lines of imports for tests, and what every user must see of them: from the lines, not from the
events that they become.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from schemas.conversations import ConversationState, OwnState
from schemas.imports import ConversationLine, Deleted, ImportLine, LastMessage, UserLine

T = 1_700_000_000_000

States = dict[str, dict[str, ConversationState]]
"""By user and conversation."""


def encode(lines: Iterable[ImportLine]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def expected(lines: Iterable[ImportLine]) -> States:
    """Of a file in which no two lines of a user name the same conversation."""
    lines = list(lines)
    rooms = [line for line in lines if isinstance(line, ConversationLine)]
    told = {
        (line.user_id, line.conversation_id): line for line in lines if isinstance(line, UserLine)
    }
    last = {room.conversation_id: room.last for room in rooms if room.last is not None}
    found: States = defaultdict(dict)
    for room in rooms:
        for user in room.members:
            head, own = last.get(room.conversation_id), told.get((user, room.conversation_id))
            found[user][room.conversation_id] = _state(room, user, head, own)
    return found


def _state(
    room: ConversationLine, user: str, head: LastMessage | None, own: UserLine | None
) -> ConversationState:
    sent = head.seq if head is not None and head.sender_id == user else 0
    state = ConversationState(
        room.conversation_id,
        0 if head is None else head.seq,
        0 if head is None else head.sent_at_ms,
        read_seq=sent,
        own=OwnState(membership_at_ms=room.joined_at_ms),
    )
    if own is None:
        return state
    mine = replace(
        state.own, min_seq=own.min_seq, pinned=own.pinned is True, muted=own.muted is True
    )
    if own.deleted is not None:
        mine = replace(mine, deleted_seq=own.deleted.seq, deleted_at_ms=own.deleted.at_ms)
    return replace(state, read_seq=max(sent, own.read_seq), own=mine)


def world(groups: int, members: int, users: list[str], prefix: str) -> list[ImportLine]:
    """Groups of so many of the users each, with all that can be said of them somewhere."""
    lines: list[ImportLine] = []
    for number in range(groups):
        room, seq = f"sg_{prefix}{number}", number % 50
        who = tuple(users[(number * 7 + place) % len(users)] for place in range(members))
        half = (members + 1) // 2
        last = LastMessage(seq, who[number % half], T + number) if seq else None
        lines.append(ConversationLine(room, who[:half], T - number, last))
        lines.append(ConversationLine(room, who[half:], T - number))
        lines += [_own(user, room, seq, place) for place, user in enumerate(who) if place % 3]
    return lines


def _own(user: str, room: str, seq: int, place: int) -> UserLine:
    line = UserLine(user, room, read_seq=seq // (place % 5 + 1))
    match place % 4:
        case 0:
            return replace(line, pinned=True, muted=False)
        case 1:
            return replace(line, muted=True, min_seq=seq // 2)
        case 2 if place % 7 == 0:
            return replace(line, deleted=Deleted(seq, T))
    return line
