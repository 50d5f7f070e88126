"""The group trace as messages to groups whose members are all there from the beginning, and the
consumer that people write by hand for it: one insert for each message and member.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from diffusion.trace import GroupRow, read_trace
from diffusion.workload import GROUP_USERS_FROM
from infra.cassandra import yardstick
from infra.cassandra.schema import open_session
from infra.clock import monotonic_s
from infra.settings import Settings
from schemas import ids
from schemas.events import MembersJoined, Message

PARTS: Final = 200
"""Messages written at a time, between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Who is in which group, in the order of the ids, and the messages in the order of time."""

    members: dict[str, tuple[str, ...]]
    messages: list[Message]

    @property
    def marks(self) -> int:
        """Messages times members."""
        return sum(len(self.members[one.conversation_id]) for one in self.messages)

    def joins(self) -> Iterator[MembersJoined]:
        """Everybody joins before the first message."""
        for conversation_id, users in self.members.items():
            yield MembersJoined(conversation_id, users, 0, self.messages[0].sent_at_ms)


def read(trace: Path, messages_max: int) -> Groups:
    """The first so many messages of a group trace; who ever writes in a group is a member of it."""
    members: dict[str, set[str]] = {}
    messages: list[Message] = []
    last: dict[str, int] = {}
    for row in islice(read_trace(trace), messages_max):
        assert isinstance(row, GroupRow)
        conversation_id, sender = ids.group(str(row.group)), str(GROUP_USERS_FROM + row.sender)
        members.setdefault(conversation_id, set()).add(sender)
        seq = last[conversation_id] = last.get(conversation_id, 0) + 1
        messages.append(Message(conversation_id, seq, sender, row.sent_at_s * 1_000))
    return Groups({name: tuple(sorted(users)) for name, users in members.items()}, messages)


def write(settings: Settings, trace: Path, messages_max: int, seconds: float) -> float:
    """Write messages for so long; marks a second. Reading them from Kafka is left out."""
    found = read(trace, messages_max)
    session = open_session(settings.cassandra)
    yardstick.make_naive(session)
    ttl_s = settings.log.retention_ms // 1_000
    marks, version, began_s = 0, 0, monotonic_s()
    messages = iter(found.messages)
    while monotonic_s() - began_s < seconds and (part := list(islice(messages, PARTS))):
        rows = []
        for one in part:
            version += 1
            rows += [
                (user, version, one.conversation_id, one.seq, one.sent_at_ms, ttl_s)
                for user in found.members[one.conversation_id]
            ]
        yardstick.write_naive(session, rows)
        marks += len(rows)
    spent_s = monotonic_s() - began_s
    session.close()
    return marks / spent_s
