"""An IM backend: writes events, in an order that makes sense, and tells the oracle of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    Reconsider,
    UserConversationSettings,
    WriteEvent,
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who there is, and how many join or leave at once."""

    users: tuple[str, ...] = ("ann", "bob", "cid", "dee", "eve")
    groups: tuple[str, ...] = ("sg_1", "sg_2", "n_3")
    pairs: tuple[tuple[str, str], ...] = (("ann", "bob"), ("bob", "cid"))
    joins_max: int = 4
    leaves_max: int = 5


FEW: Final = Cast()
AGAIN_SHARE: Final = 0.05
"""Messages that are written again, or arrive after the next one."""


class _Late(NamedTuple):
    """A message that is still to be written: for the first time, or once more."""

    message: Message
    is_again: bool


class Backend:
    """Draws events. `write` is given each, in the order in which they reach the log."""

    def __init__(
        self,
        rng: random.Random,
        clock: Callable[[], int],
        write: Callable[[WriteEvent], None],
        cast: Cast = FEW,
    ) -> None:
        self._cast = cast
        self._rng = rng
        self._clock = clock
        self._write = write
        self._seqs: dict[str, int] = {}
        self._members: dict[str, set[str]] = {group: set() for group in cast.groups}
        self._late: list[_Late] = []
        self._items = 0

    def begin(self) -> None:
        """Give each group some members."""
        for group in self._cast.groups:
            self._join(group)

    def act(self) -> None:
        """Write one event, or a few."""
        kinds = (self._messages, self._whisper, self._membership, self._own, self._policy)
        (kind,) = self._rng.choices(kinds, weights=(10, 4, 3, 6, 2))
        kind()
        if self._late and self._rng.random() < 0.5:
            self._write_late(self._late[-1])

    def finish(self) -> None:
        """Write what was held back."""
        while self._late:
            self._write_late(self._late[-1])

    def _write_late(self, late: _Late) -> None:
        self._late.remove(late)
        self._write(late.message)

    def _next(self, conversation_id: str) -> int:
        self._seqs[conversation_id] = self._seqs.get(conversation_id, 0) + 1
        return self._seqs[conversation_id]

    def _say(self, message: Message) -> None:
        if self._rng.random() < AGAIN_SHARE:
            late = _Late(message, is_again=self._rng.random() >= 0.5)
            self._late.append(late)
            if not late.is_again:
                return
        self._write(message)

    def _messages(self) -> None:
        groups = [group for group in self._cast.groups if self._members[group]]
        if not groups:
            self._join(self._rng.choice(self._cast.groups))
            return
        group = self._rng.choice(groups)
        for _ in range(self._rng.randint(1, 3)):
            sender = self._rng.choice(sorted(self._members[group]))
            self._say(Message(group, self._next(group), sender, self._clock()))

    def _whisper(self) -> None:
        pair = self._rng.choice(self._cast.pairs)
        name = f"si_{pair[0]}_{pair[1]}"
        self._say(Message(name, self._next(name), self._rng.choice(pair), self._clock(), pair))

    def _membership(self) -> None:
        group = self._rng.choice(self._cast.groups)
        if self._members[group] and self._rng.random() < 0.5:
            self._leave(group)
        else:
            self._join(group)

    def _join(self, group: str) -> None:
        count = self._rng.randint(1, self._cast.joins_max)
        who = tuple(sorted(self._rng.sample(self._cast.users, count)))
        self._members[group].update(who)
        history = self._rng.random() < 0.5
        self._write(MembersJoined(group, who, self._seqs.get(group, 0), self._clock(), history))

    def _leave(self, group: str) -> None:
        there = sorted(self._members[group])
        count = self._rng.randint(1, min(len(there), self._cast.leaves_max))
        who = tuple(sorted(self._rng.sample(there, count)))
        self._members[group].difference_update(who)
        # What they may see comes before their leave, as the contract asks; what is written once
        # more may come behind it.
        for late in list(self._late):
            if late.message.conversation_id == group and not late.is_again:
                self._write_late(late)
        self._write(MembersLeft(group, who, self._seqs.get(group, 0), self._clock(), "quit"))

    def _own(self) -> None:
        user = self._rng.choice(self._cast.users)
        pairs = (f"si_{a}_{b}" for a, b in self._cast.pairs)
        name = self._rng.choice([*self._cast.groups, *pairs])
        last, now_ms, number = self._seqs.get(name, 0), self._clock(), self._items
        self._items += 1
        events: list[WriteEvent] = [
            Read(user, name, last),
            UserConversationSettings(user, name, pinned=bool(number % 2)),
            UserConversationSettings(user, name, muted=bool(number % 3)),
            ConversationCleared(user, name, last + 1),
            ConversationDeleted(user, name, last, now_ms),
            ModuleChanged(user, "friends", name, "update", self._items),
        ]
        self._write(self._rng.choice(events))

    def _policy(self) -> None:
        group = self._rng.choice(self._cast.groups)
        if self._rng.random() < 0.5:
            self._write(Reconsider(group))
        else:
            how: list[str] = ["auto", "always_write", "always_read"]
            self._write(ConversationSettings(group, self._rng.choice(how)))  # type: ignore[arg-type]
