"""The load of `diffusion bench latency`: who writes to whom, drawn so that it can be drawn again.

Pure. One-to-one chats and groups, all write-diffused, that one too that would be cheaper to read:
what is asked is how soon members are told. The process that writes draws the messages, and the one
that judges draws as many again for the oracle, so that no message has to travel between them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from schemas import ids
from schemas.events import ConversationSettings, MembersJoined, Message, WriteEvent

SENT_AT_MS: Final = 1_750_000_000_000
"""Of the first message; each further one a millisecond later."""

USER_ID_FIRST: Final = 6_000_000_000


@dataclass(frozen=True, slots=True)
class Mix:
    """How many conversations of each kind, and how often a message is a group's.

    So many conversations that one gets a message every few seconds: with few of them the maximum
    would be one of folding, since a backlog has many messages of each.
    """

    chats: int = 8_000
    groups: int = 400
    group_members: tuple[int, int] = (8, 200)
    group_share: float = 0.1
    """Most messages are of one-to-one chats; most members are told by those of groups."""
    probes: int = 100
    """Chats that are measured, each with one message under way at most: at five probes a second,
    each may take twenty seconds before one has to wait for another."""

    def in_words(self) -> str:
        """What is written, in a sentence."""
        low, high = self.group_members
        return (
            f"{self.chats:,} one-to-one chats and {self.groups:,} groups of {low} to {high} "
            f"members, {self.group_share:.0%} of the messages to groups, all write-diffused; "
            f"probes in {self.probes} one-to-one chats beside them"
        )


class Load:
    """The conversations of a mix, and an endless row of messages in them."""

    def __init__(self, mix: Mix, seed: int) -> None:
        rng = random.Random(f"latency/{seed}")  # noqa: S311 -- a reproducible run
        self._rng = rng
        self._share = mix.group_share
        users = [str(USER_ID_FIRST + number) for number in range(2 * mix.chats)]
        self._chats = [
            (ids.one_to_one(*pair), pair) for pair in zip(users[::2], users[1::2], strict=True)
        ]
        low, high = mix.group_members
        self._groups = [
            # Sizes are drawn evenly by their logarithm: most groups are small.
            (
                ids.group(f"latency_{seed}_{number}"),
                tuple(sorted(rng.sample(users, min(len(users), _size(rng, low, high))))),
            )
            for number in range(mix.groups)
        ]
        self._last: dict[str, int] = {}
        self.messages = 0
        self.marks = 0

    def beginning(self) -> Iterator[WriteEvent]:
        """What is told before the first message: members of groups, and that each is diffused."""
        for conversation_id, members in self._groups:
            yield MembersJoined(conversation_id, members, 0, SENT_AT_MS)
            yield ConversationSettings(conversation_id, "always_write")

    def firsts(self) -> Iterator[Message]:
        """A message to each conversation, so that everybody is a member before anything counts."""
        for conversation_id, members in (*self._chats, *self._groups):
            yield self._message(conversation_id, members, members[0])

    def message(self) -> Message:
        """The next message."""
        rng = self._rng
        some = self._groups if rng.random() < self._share else self._chats
        conversation_id, members = some[int(rng.random() * len(some))]
        return self._message(conversation_id, members, members[int(rng.random() * len(members))])

    def _message(self, conversation_id: str, members: tuple[str, ...], sender: str) -> Message:
        seq = self._last[conversation_id] = self._last.get(conversation_id, 0) + 1
        self.messages += 1
        self.marks += len(members)
        named = members if len(members) == 2 else None
        return Message(conversation_id, seq, sender, SENT_AT_MS + self.messages, named)


@dataclass(frozen=True, slots=True)
class Probe:
    """A chat that is measured: its messages go from `sender` to `user`."""

    user: str
    sender: str

    @property
    def conversation_id(self) -> str:
        """The chat."""
        return ids.one_to_one(self.user, self.sender)

    def message(self, seq: int) -> Message:
        """Its message of a sequence."""
        return Message(
            self.conversation_id, seq, self.sender, SENT_AT_MS + seq, (self.user, self.sender)
        )


def probes(mix: Mix) -> list[Probe]:
    """The chats that are measured: nobody of them is in any other conversation."""
    return [Probe(f"probe{number:04}", f"prober{number:04}") for number in range(mix.probes)]


def everything(mix: Mix, seed: int, messages: int, probed: dict[str, int]) -> Iterator[WriteEvent]:
    """All that was written, drawn again: so many messages of the load in all, and of each probe
    (by its user) those up to a sequence.
    """
    load = Load(mix, seed)
    yield from load.beginning()
    yield from load.firsts()
    while load.messages < messages:
        yield load.message()
    for probe in probes(mix):
        for seq in range(1, probed[probe.user] + 1):
            yield probe.message(seq)


def _size(rng: random.Random, low: int, high: int) -> int:
    exact: float = low * (high / low) ** rng.random()
    return round(exact)
