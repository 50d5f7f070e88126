"""Very many conversations, touched one after the other, and what is written to them. Pure.

Most events open a one-to-one chat that was never seen before; the others are further messages and
read markers in chats that were, half of them lately and half at any time, and messages of a few
groups. No two chats have the same pair of users, by construction: nothing must be remembered of a
chat but its last sequence.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from typing import Final

from schemas import ids
from schemas.events import MembersJoined, Message, Read, WriteEvent

USERS_FROM: Final = 6_000_000_000
"""Ids of ten digits, as real ones."""

USERS_SHARE: Final = 0.3
"""Users for each conversation: each has about seven, and most open one every few minutes."""

USERS_MIN: Final = 1_000
GROUPS: Final = 1_000
GROUP_MEMBERS: Final = 20
GROUP_RATE: Final = 0.01
"""Share of events that are messages of groups."""

AGAIN_RATE: Final = 0.05
"""Share of events that are further messages of chats."""

READ_RATE: Final = 0.09
"""Share of events that are read markers. What is left opens chats: 85 of 100."""

LATELY: Final = 20_000
"""Chats opened last: those that a cache still holds, if it is any good."""

LATELY_RATE: Final = 0.5

SAMPLED: Final = 300
"""Users whose conversations are followed, to be compared in the end."""


class Load:
    """What is written, event by event."""

    def __init__(self, conversations: int, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 -- a reproducible run
        self._users = max(USERS_MIN, round(conversations * USERS_SHARE))
        self._order = array("L", self._rng.sample(range(self._users), self._users))
        self._last = array("L")
        self._group_last = [0] * GROUPS
        users = range(self._users)
        self._groups = [
            tuple(sorted(_user(one) for one in self._rng.sample(users, GROUP_MEMBERS)))
            for _ in range(GROUPS)
        ]
        self.sampled = frozenset(
            _user(one) for one in self._rng.sample(users, min(SAMPLED, self._users))
        )

    @property
    def users(self) -> int:
        """How many users there are."""
        return self._users

    @property
    def touched(self) -> int:
        """Distinct conversations that have been written to, groups included."""
        return len(self._last) + GROUPS

    def joins(self, at_ms: int) -> Iterator[tuple[WriteEvent, bool]]:
        """Members of the groups, before anything else."""
        for number, members in enumerate(self._groups):
            event = MembersJoined(ids.group(f"soak{number}"), members, 0, at_ms)
            yield event, not self.sampled.isdisjoint(members)

    def next(self, at_ms: int) -> tuple[WriteEvent, bool]:
        """The next event, sent now, and whether a sampled user is in its conversation."""
        rng = self._rng
        drawn = rng.random()
        if drawn < GROUP_RATE:
            return self._group(at_ms)
        drawn -= GROUP_RATE
        if not self._last or drawn >= AGAIN_RATE + READ_RATE:
            self._last.append(0)
            return self._message(len(self._last) - 1, at_ms)
        count = len(self._last)
        first = max(0, count - LATELY) if rng.random() < LATELY_RATE else 0
        chat = rng.randrange(first, count)
        if drawn < AGAIN_RATE:
            return self._message(chat, at_ms)
        members = self._members(chat)
        reader = members[rng.randrange(2)]
        event = Read(reader, ids.one_to_one(*members), self._last[chat])
        return event, not self.sampled.isdisjoint(members)

    def _message(self, chat: int, at_ms: int) -> tuple[WriteEvent, bool]:
        self._last[chat] += 1
        members = self._members(chat)
        sender = members[self._rng.randrange(2)]
        name = ids.one_to_one(*members)
        event = Message(name, self._last[chat], sender, at_ms, members)
        return event, not self.sampled.isdisjoint(members)

    def _group(self, at_ms: int) -> tuple[WriteEvent, bool]:
        number = self._rng.randrange(GROUPS)
        self._group_last[number] += 1
        members = self._groups[number]
        sender = members[self._rng.randrange(GROUP_MEMBERS)]
        event = Message(ids.group(f"soak{number}"), self._group_last[number], sender, at_ms)
        return event, not self.sampled.isdisjoint(members)

    def _members(self, chat: int) -> tuple[str, str]:
        """In one round every user meets the one a number of places further in the drawn order, and
        in the next round the one a place further still.
        """
        rounds, place = divmod(chat, self._users)
        other = (place + 1 + rounds) % self._users
        return _user(self._order[place]), _user(self._order[other])


def _user(number: int) -> str:
    return str(USERS_FROM + number)
