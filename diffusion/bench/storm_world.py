"""The users of a storm, their conversations, and what is written to them. Pure and seeded.

Everybody is in as many groups and one-to-one chats: in each round all users are shuffled and cut
into groups, or into pairs, so that the groups of one round hold everybody once. A few groups are
larger than is ever diffused, most of their members being people who never sync. Some users have
very many one-to-one chats besides (`diffusion.bench.chats`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from diffusion.bench.chats import FIRST_USER, Account
from schemas import ids
from schemas.batched import batched
from schemas.events import MembersJoined, Message, Read, WriteEvent
from schemas.limits import MEMBERS_PER_EVENT_MAX

GROUP_ROUNDS: Final = 30
CHAT_ROUNDS: Final = 18
"""Groups, and one-to-one chats, of each user; with the large groups some 50 conversations."""

GROUP_MEMBERS: Final = (100, 200)
"""Least and most members of a group: about the median of the group trace, and on both sides."""

LARGE_GROUPS: Final = 4
LARGE_SHARE: Final = 0.5
"""Share of the users in each large group; the others in it never sync."""

LARGE_BEYOND: Final = 500
"""Members of a large group above the bound up to which one may be diffused."""

HEAVY_USERS: Final = 5
"""Users with very many conversations, who come back in the storm like everybody."""

GROUP_CHANGED: Final = 0.2
"""Share of the groups to which something is written while everybody is away: 6 of a user's 30."""

CHATS_CHANGED_MAX: Final = 10
"""Most of his chats to which a user writes meanwhile; his partners write to him, too."""

READ_RATE: Final = 0.25
"""Of these, the chats that the other side has already read, on another device."""

HEAVY_CHANGED_MAX: Final = 10
"""Most of the very many chats that change meanwhile, beside the others of that user."""

TO_GROUPS: Final = 0.2
TO_LARGE: Final = 0.05
"""Shares of the messages under the storm that go to groups and to large groups; the rest is
one-to-one."""

FIRST_GROUP: Final = 4_000_000_000
FIRST_OUTSIDER: Final = 20_000_000_000
"""Ids of as many digits as real ones have; nobody else has them."""


class World:
    """Users, conversations, and the last sequence of each conversation.

    `members_max` is the most members that a conversation may have and be diffused. Heavy users have
    `heavy` conversations each, those that everybody has included.
    """

    def __init__(self, users: int, heavy: int, members_max: int, seed: int) -> None:
        rng = self._rng = random.Random(f"{seed}/storm")  # noqa: S311 -- a reproducible run
        self.users = [str(FIRST_USER + number) for number in range(users)]
        self.last: dict[str, int] = {}
        self.groups: dict[str, tuple[str, ...]] = {}
        for number in range(GROUP_ROUNDS):
            for members in slices(rng.sample(self.users, users), GROUP_MEMBERS, rng):
                self.groups[ids.group(str(FIRST_GROUP + len(self.groups)))] = members
            if number == 0:
                self._of_everybody = tuple(self.groups)
        self.chats: dict[str, tuple[str, ...]] = {}
        for _ in range(CHAT_ROUNDS):
            for pair in pairs(rng.sample(self.users, users)):
                self.chats[ids.one_to_one(*pair)] = pair
        size = members_max + LARGE_BEYOND
        outsiders = [str(FIRST_OUTSIDER + number) for number in range(size)]
        self.large: dict[str, tuple[str, ...]] = {}
        for number in range(LARGE_GROUPS):
            inside = rng.sample(self.users, min(size, int(users * LARGE_SHARE)))
            members = (*inside, *outsiders[len(inside) :])
            self.large[ids.group(str(FIRST_GROUP - 1 - number))] = members
        has = self.conversations()
        self.accounts = [
            Account(number, heavy - has[self.users[number]], seed)
            for number in range(min(HEAVY_USERS, users))
        ]
        self._group_ids, self._chat_ids = list(self.groups), list(self.chats)
        self._large_ids = list(self.large)

    def conversations(self) -> Counter[str]:
        """How many everybody has, without the very many of heavy users."""
        every = (*self.groups.values(), *self.chats.values(), *self.large.values())
        return Counter(user for members in every for user in members)

    def imported(self, at_ms: int) -> Iterator[WriteEvent]:
        """All conversations for the first time: who is a member, and a message each."""
        for groups in (self.large, self.groups):
            for conversation_id, members in groups.items():
                for some in batched(members, MEMBERS_PER_EVENT_MAX):
                    yield MembersJoined(conversation_id, some, 0, at_ms)
                yield self._message(conversation_id, members, at_ms)
        for conversation_id, pair in self.chats.items():
            yield self._message(conversation_id, pair, at_ms)
        for account in self.accounts:
            yield from account.imported()

    def touched(self, at_ms: int) -> Iterator[WriteEvent]:
        """A message in one group of everybody, which moves every cursor."""
        for conversation_id in self._of_everybody:
            yield self._message(conversation_id, self.groups[conversation_id], at_ms)

    def changed(self, at_ms: int) -> Iterator[WriteEvent]:
        """What happens while everybody is away."""
        rng = self._rng
        for conversation_id, members in self.groups.items():
            if rng.random() < GROUP_CHANGED:
                yield self._message(conversation_id, members, at_ms)
        for conversation_id, members in self.large.items():
            yield self._message(conversation_id, members, at_ms)
        left = {user: rng.randint(0, CHATS_CHANGED_MAX) for user in self.users}
        for conversation_id in rng.sample(self._chat_ids, len(self._chat_ids)):
            pair = self.chats[conversation_id]
            sender = max(pair, key=lambda user: left[user])
            if left[sender] == 0:
                continue
            left[sender] -= 1
            yield self._from(conversation_id, sender, at_ms)
            if rng.random() < READ_RATE:
                (other,) = set(pair) - {sender}
                yield Read(other, conversation_id, self.last[conversation_id])
        for account in self.accounts:
            yield from account.changed(
                min(account.conversations, rng.randint(1, HEAVY_CHANGED_MAX))
            )

    def next_message(self, at_ms: int) -> Message:
        """Draw one of the messages that are written while the storm goes on."""
        rng = self._rng
        drawn = rng.random()
        if drawn < TO_GROUPS:
            conversation_id = rng.choice(self._group_ids)
            return self._message(conversation_id, self.groups[conversation_id], at_ms)
        if drawn < TO_GROUPS + TO_LARGE:
            conversation_id = rng.choice(self._large_ids)
            return self._message(conversation_id, self.large[conversation_id], at_ms)
        conversation_id = rng.choice(self._chat_ids)
        return self._message(conversation_id, self.chats[conversation_id], at_ms)

    def marks(self, messages: Sequence[Message]) -> int:
        """Members to whom these messages are news, those of large groups included."""
        return sum(len(self._members(message.conversation_id)) for message in messages)

    def _members(self, conversation_id: str) -> tuple[str, ...]:
        for some in (self.groups, self.chats, self.large):
            if conversation_id in some:
                return some[conversation_id]
        raise KeyError(conversation_id)

    def _message(self, conversation_id: str, members: Sequence[str], at_ms: int) -> Message:
        return self._from(conversation_id, self._rng.choice(members), at_ms)

    def _from(self, conversation_id: str, sender: str, at_ms: int) -> Message:
        seq = self.last[conversation_id] = self.last.get(conversation_id, 0) + 1
        return Message(conversation_id, seq, sender, at_ms, self.chats.get(conversation_id))


def slices(
    users: Sequence[str], sizes: tuple[int, int], rng: random.Random
) -> Iterator[tuple[str, ...]]:
    """Cut into groups of sizes drawn between two, inclusive; what is left over is with the last,
    which may so be larger.
    """
    least, most = sizes
    begin = 0
    while begin < len(users):
        end = begin + rng.randint(least, most)
        if len(users) - end < least:
            end = len(users)
        yield tuple(users[begin:end])
        begin = end


def pairs(users: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Two and two; of an odd number one stays alone."""
    return zip(users[::2], users[1::2], strict=False)
