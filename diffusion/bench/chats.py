"""People with very many one-to-one conversations, and what is written to them. Pure.

Ids have ten random digits, so that they compress no better than real ones; a conversation's has 24
characters. Times are fixed: then the digests of all states, and so the course of a correction, are
the same in every run with the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from schemas.events import Message, Read, WriteEvent
from schemas.ids import one_to_one

FIRST_USER: Final = 1_000_000_001
"""The measured users are this and the numbers after it."""

PEERS: Final = range(2_000_000_000, 10_000_000_000)
"""Whom they write with: above them, and of ten digits."""

IMPORTED_MS: Final = 1_750_000_000_000
"""When the newest of the imported messages was sent."""

HISTORY_MS: Final = 90 * 86_400_000
"""How far back the imported messages reach."""

SEQ_MAX: Final = 2_000
"""Most messages of an imported conversation; two bytes in a varint, as most are."""

OWN_RATE: Final = 0.3
"""Conversations whose last message the user wrote himself; he has read those."""

READ_RATE: Final = 0.7
"""Of the others, those in which he has read something, on some device."""

READ_ALL_RATE: Final = 0.8
"""Of these, those in which he has read everything."""

CHANGE_READ_RATE: Final = 0.25
"""Changed conversations that he has already read on another device."""

STEP_MS_MAX: Final = 60_000
"""Longest pause between two changes."""


class Account:
    """One user and his conversations, as the IM backend knows them."""

    def __init__(self, number: int, conversations: int, seed: int) -> None:
        self._rng = random.Random(f"{seed}/{number}")  # noqa: S311 -- a reproducible run
        self.user_id = str(FIRST_USER + number)
        self._peers = {
            one_to_one(self.user_id, str(peer)): str(peer)
            for peer in self._rng.sample(PEERS, conversations)
        }
        self._last: dict[str, int] = {}
        self._at_ms = IMPORTED_MS

    @property
    def conversations(self) -> int:
        """How many he has."""
        return len(self._peers)

    def imported(self) -> Iterator[WriteEvent]:
        """All conversations for the first time: one message each, and some read markers."""
        rng = self._rng
        for conversation_id, peer in self._peers.items():
            seq = self._last[conversation_id] = rng.randint(1, SEQ_MAX)
            own = rng.random() < OWN_RATE
            sent_at_ms = IMPORTED_MS - rng.randrange(HISTORY_MS)
            sender = self.user_id if own else peer
            yield Message(conversation_id, seq, sender, sent_at_ms, (self.user_id, peer))
            if not own and rng.random() < READ_RATE:
                read_seq = seq if rng.random() < READ_ALL_RATE else rng.randint(1, seq)
                yield Read(self.user_id, conversation_id, read_seq)

    def changed(self, count: int) -> Iterator[WriteEvent]:
        """So many conversations change: a message of the other side each, and some read markers."""
        rng = self._rng
        for conversation_id in rng.sample(sorted(self._peers), count):
            peer = self._peers[conversation_id]
            seq = self._last[conversation_id] = self._last[conversation_id] + 1
            self._at_ms += rng.randint(1, STEP_MS_MAX)
            yield Message(conversation_id, seq, peer, self._at_ms, (self.user_id, peer))
            if rng.random() < CHANGE_READ_RATE:
                yield Read(self.user_id, conversation_id, seq)
