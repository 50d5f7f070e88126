"""Many users with a few hundred conversations each, all of them groups. Pure.

Conversations come in layers: one layer is all users, drawn anew into groups. So a user is in one
group of each layer, and a message in every group of so many layers changes exactly as many
conversations of every user, of other ones than his neighbour's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from schemas import ids
from schemas.events import MembersJoined, Message, WriteEvent

FIRST_USER: Final = 4_000_000_001
"""The users are this and the numbers after it."""

GROUP_MEMBERS: Final = 8
"""Groups of so many are always diffused, whatever they cost (`policy.small_members`)."""

JOINED_MS: Final = 1_750_000_000_000
STEP_MS: Final = 1_000
"""Between two messages."""


class Crowd:
    """Users and their groups, as the IM backend knows them. `users` is a multiple of
    `GROUP_MEMBERS`.
    """

    def __init__(self, users: int, layers: int, seed: int) -> None:
        assert users % GROUP_MEMBERS == 0, "every layer is cut into whole groups"
        self._rng = random.Random(f"{seed}/crowd")  # noqa: S311 -- a reproducible run
        self.user_ids = [str(FIRST_USER + number) for number in range(users)]
        self._layers = [self._drawn(layer, seed) for layer in range(layers)]
        self._last = {group: 0 for layer in self._layers for group in layer}
        self._at_ms = JOINED_MS

    def _drawn(self, layer: int, seed: int) -> dict[str, tuple[str, ...]]:
        users = self._rng.sample(self.user_ids, len(self.user_ids))
        return {
            ids.group(f"{seed}{layer:04}{start:06}"): tuple(users[start : start + GROUP_MEMBERS])
            for start in range(0, len(users), GROUP_MEMBERS)
        }

    def imported(self) -> Iterator[WriteEvent]:
        """All groups for the first time: who is in them, and one message each."""
        for layer in self._layers:
            for group, members in layer.items():
                yield MembersJoined(group, members, 0, JOINED_MS)
                yield self._message(group, members)

    def changed(self, count: int) -> tuple[list[WriteEvent], dict[str, frozenset[str]]]:
        """A message in every group of so many layers; and the conversations that it changes, by
        user.
        """
        events: list[WriteEvent] = []
        told: dict[str, set[str]] = {user_id: set() for user_id in self.user_ids}
        for layer in self._rng.sample(self._layers, count):
            for group, members in layer.items():
                events.append(self._message(group, members))
                for user_id in members:
                    told[user_id].add(group)
        return events, {user_id: frozenset(groups) for user_id, groups in told.items()}

    def _message(self, group: str, members: tuple[str, ...]) -> Message:
        self._last[group] += 1
        self._at_ms += STEP_MS
        return Message(group, self._last[group], self._rng.choice(members), self._at_ms)
