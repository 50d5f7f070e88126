"""A message trace as the write events of an IM backend: real messages, seeded acts around them.

The trace says who wrote where and when; everything else (joins, reads, settings, clears, deletes,
leaves) is drawn from a generator seeded by the caller, so that the same rows and seed give the same
events, on any machine. Streams: what is kept is one number per conversation and the rosters.

What holds of the events: they are in time order; sequences of a conversation run 1, 2, 3, ...; who
writes to a group is a member of it; who reads, pins, clears or deletes knows the conversation.
Reads and clears may be older than what the same user did before, or repeated, as late devices send
them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from diffusion.trace import GroupRow, PrivateRow, Row
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    DiffusionOverride,
    LeaveReason,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    ModuleOp,
    Read,
    UserConversationSettings,
    WriteEvent,
)
from schemas.ids import NOTIFICATION_PREFIX, group, one_to_one

PRIVATE_USERS_FROM: Final = 1_000_000_000
"""User n of a one-to-one trace is this plus n: ten digits, as ids in the field often are."""

GROUP_USERS_FROM: Final = 2_000_000_000
"""The same for group traces; the people of the two traces are not the same."""

READ_RATE: Final = 0.5
"""Of those who might: clients mark as read when a conversation is opened, not per message."""

READ_OLDER_RATE: Final = 0.1
READ_OLDER_MAX: Final = 20
READ_REPEAT_RATE: Final = 0.05
"""A second device reports an older place, or the same place again."""

SETTINGS_RATE: Final = 0.004
CLEAR_RATE: Final = 0.002
CLEAR_OLDER_RATE: Final = 0.2
DELETE_RATE: Final = 0.004
MODULE_RATE: Final = 0.01
SWITCHED_ON_RATE: Final = 0.7
"""Rare acts: once in some hundred messages, so that each occurs many times in a small run.
More settings are switched on than off again."""

NOTICE_RATE: Final = 0.02
"""Messages followed by a notification (a withdrawal, say) in the pair's `n_` conversation."""

OVERRIDE_RATE: Final = 0.02
GROUP_OVERRIDE_RATE: Final = 0.002
"""How often an operator says how to diffuse: a new one-to-one chat; a group, at any message."""

GROUP_READERS_MAX: Final = 2
"""Members who look at a group at a message: zero to this many."""

LEAVE_RATE: Final = 0.01
KICK_RATE: Final = 0.4
KICKED_MAX: Final = 3
"""Of group messages, one in a hundred makes somebody leave; four in ten of those are removals."""

DELETE_AFTER_LEAVING_RATE: Final = 0.3
HISTORY_RATE: Final = 0.85
"""Joins that see what was written before."""

_OVERRIDES: Final[tuple[DiffusionOverride, ...]] = ("auto", "always_write", "always_read")
_MODULES: Final = ("friends", "blacklist", "groups", "conversation_groups", "profile")
_OPS: Final[tuple[ModuleOp, ...]] = ("insert", "update", "delete")


class TimedEvent(NamedTuple):
    """An event and when it happened, in milliseconds since 1970."""

    at_ms: int
    event: WriteEvent


def workload(rows: Iterable[Row], seed: int, groups: int | None = None) -> Iterator[TimedEvent]:
    """Make write events of trace rows in time order, of one kind or merged.

    `groups` takes only the first so many groups that appear; None takes all.
    """
    rng = random.Random(seed)  # noqa: S311 -- a reproducible run, not a secret
    behaviour = _Behaviour(rng)
    private = _PrivateChats(rng, behaviour)
    rooms = _Groups(rng, behaviour, groups)
    for row in rows:
        at_ms = row.sent_at_s * 1000
        if isinstance(row, PrivateRow):
            events = private.write(row, at_ms)
        else:
            events = rooms.write(row, at_ms)
        for event in events:
            yield TimedEvent(at_ms, event)


class _Behaviour:
    """What people do besides writing."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._module_versions: dict[str, int] = {}

    def acts(self, user: str, conversation: str, last: int, at_ms: int) -> Iterator[WriteEvent]:
        """Draw what a user does in a conversation whose last sequence is `last`."""
        draw = self._rng.random
        if draw() < READ_RATE:
            yield from self._reads(user, conversation, last)
        if draw() < SETTINGS_RATE:
            yield self._settings(user, conversation)
        if draw() < CLEAR_RATE:
            older = draw() < CLEAR_OLDER_RATE
            min_seq = self._rng.randint(1, last + 1) if older else last + 1
            yield ConversationCleared(user, conversation, min_seq)
        if draw() < DELETE_RATE:
            yield ConversationDeleted(user, conversation, last, at_ms)
        if draw() < MODULE_RATE:
            yield self._module(user, conversation)

    def override(self, conversation: str, rate: float) -> Iterator[WriteEvent]:
        """Draw what an operator does to a conversation."""
        if self._rng.random() < rate:
            yield ConversationSettings(conversation, self._rng.choice(_OVERRIDES))

    def _reads(self, user: str, conversation: str, last: int) -> Iterator[WriteEvent]:
        seq = last
        if self._rng.random() < READ_OLDER_RATE:
            seq = max(0, last - self._rng.randint(1, READ_OLDER_MAX))
        read = Read(user, conversation, seq)
        yield read
        if self._rng.random() < READ_REPEAT_RATE:
            yield read

    def _settings(self, user: str, conversation: str) -> WriteEvent:
        on = self._rng.random() < SWITCHED_ON_RATE
        which = self._rng.randrange(3)
        if which == 0:
            return UserConversationSettings(user, conversation, pinned=on)
        if which == 1:
            return UserConversationSettings(user, conversation, muted=on)
        return UserConversationSettings(user, conversation, pinned=on, muted=not on)

    def _module(self, user: str, conversation: str) -> WriteEvent:
        version = self._module_versions.get(user, 0) + 1
        self._module_versions[user] = version
        module, op = self._rng.choice(_MODULES), self._rng.choice(_OPS)
        return ModuleChanged(user, module, f"item_{conversation}", op, version)


class _PrivateChats:
    """One-to-one conversations: the messages themselves name the members."""

    def __init__(self, rng: random.Random, behaviour: _Behaviour) -> None:
        self._rng = rng
        self._behaviour = behaviour
        self._last: dict[str, int] = {}

    def write(self, row: PrivateRow, at_ms: int) -> Iterator[WriteEvent]:
        sender = str(PRIVATE_USERS_FROM + row.sender)
        recipient = str(PRIVATE_USERS_FROM + row.recipient)
        conversation = one_to_one(sender, recipient)
        members = (sender,) if sender == recipient else (sender, recipient)
        seq = self._next(conversation)
        yield Message(conversation, seq, sender, at_ms, members)
        if seq == 1:
            yield from self._behaviour.override(conversation, OVERRIDE_RATE)
        if self._rng.random() < NOTICE_RATE:
            notices = NOTIFICATION_PREFIX + conversation.removeprefix("si_")
            yield Message(notices, self._next(notices), sender, at_ms, members)
        yield from self._behaviour.acts(recipient, conversation, seq, at_ms)

    def _next(self, conversation: str) -> int:
        seq = self._last.get(conversation, 0) + 1
        self._last[conversation] = seq
        return seq


class _Room:
    """A group: its last sequence, and its members in an order that can be drawn from."""

    __slots__ = ("conversation", "last", "members", "places")

    def __init__(self, number: int) -> None:
        self.conversation = group(str(number))
        self.last = 0
        self.members: list[str] = []
        self.places: dict[str, int] = {}

    def enter(self, user: str) -> None:
        self.places[user] = len(self.members)
        self.members.append(user)

    def leave(self, user: str) -> None:
        place, mover = self.places.pop(user), self.members.pop()
        if mover != user:
            self.members[place] = mover
            self.places[mover] = place


class _Groups:
    """Groups: who speaks for the first time, or again after leaving, joins before he speaks."""

    def __init__(self, rng: random.Random, behaviour: _Behaviour, groups_max: int | None) -> None:
        self._rng = rng
        self._behaviour = behaviour
        self._groups_max = groups_max
        self._rooms: dict[int, _Room] = {}

    def write(self, row: GroupRow, at_ms: int) -> Iterator[WriteEvent]:
        room = self._room(row.group)
        if room is None:
            return
        sender = str(GROUP_USERS_FROM + row.sender)
        if sender not in room.places:
            history = self._rng.random() < HISTORY_RATE
            yield MembersJoined(room.conversation, (sender,), room.last, at_ms, history)
            room.enter(sender)
        room.last += 1
        yield Message(room.conversation, room.last, sender, at_ms)
        yield from self._behaviour.override(room.conversation, GROUP_OVERRIDE_RATE)
        for _ in range(self._rng.randint(0, GROUP_READERS_MAX)):
            reader = self._rng.choice(room.members)
            yield from self._behaviour.acts(reader, room.conversation, room.last, at_ms)
        if self._rng.random() < LEAVE_RATE:
            yield from self._leaving(room, at_ms)

    def _room(self, number: int) -> _Room | None:
        room = self._rooms.get(number)
        if room is None and (self._groups_max is None or len(self._rooms) < self._groups_max):
            room = self._rooms[number] = _Room(number)
        return room

    def _leaving(self, room: _Room, at_ms: int) -> Iterator[WriteEvent]:
        reason: LeaveReason = "kick" if self._rng.random() < KICK_RATE else "quit"
        count = self._rng.randint(1, KICKED_MAX) if reason == "kick" else 1
        leavers = tuple(self._rng.sample(room.members, min(count, len(room.members))))
        for user in leavers:
            room.leave(user)
        yield MembersLeft(room.conversation, leavers, room.last, at_ms, reason)
        for user in leavers:
            if self._rng.random() < DELETE_AFTER_LEAVING_RATE:
                yield ConversationDeleted(user, room.conversation, room.last, at_ms)
