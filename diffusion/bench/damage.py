"""Damage to what a device holds: rows that are old, missing, or of no conversation. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from msgspec.structs import replace

from diffusion.bench.chats import PEERS
from schemas.conversations import ConversationState
from schemas.ids import one_to_one

T = TypeVar("T")

KINDS: Final = ("older", "older", "missing", "older", "extra")
"""What happens to one row after the other: most are old, as after a lost write."""

BACK_MAX: Final = 50
"""Messages that an old row is behind by, at most."""

BACK_MS_MAX: Final = 30 * 86_400_000
"""Time that it is behind by, at most."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Rows to write over those that are right, ids to delete, rows to put beside them."""

    older: tuple[ConversationState, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[ConversationState, ...] = ()

    def done_to(
        self, rows: Mapping[str, T], row_of: Callable[[ConversationState], T]
    ) -> dict[str, T]:
        """What is left of rows after it, `row_of` being how a state is held."""
        missing = set(self.missing)
        left = {cid: row for cid, row in rows.items() if cid not in missing}
        return left | {one.conversation_id: row_of(one) for one in (*self.older, *self.extra)}


def damage(
    user_id: str, states: Sequence[ConversationState], count: int, rng: random.Random
) -> Damage:
    """Draw rows that then differ from the server's, exactly so many of them."""
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    chosen = dict(zip(rng.sample(states, count), kinds, strict=True))
    held = {state.conversation_id for state in states}
    extra: dict[str, ConversationState] = {}
    while len(extra) < kinds.count("extra"):
        stranger = one_to_one(user_id, str(rng.choice(PEERS)))
        if stranger not in held:
            extra[stranger] = replace(states[0], conversation_id=stranger)
    return Damage(
        older=tuple(_older(state, rng) for state, kind in chosen.items() if kind == "older"),
        missing=tuple(state.conversation_id for state, kind in chosen.items() if kind == "missing"),
        extra=tuple(extra.values()),
    )


def _older(state: ConversationState, rng: random.Random) -> ConversationState:
    """The row as it was some messages ago, or before a read marker came."""
    if state.read_seq and rng.random() < 0.5:
        return replace(state, read_seq=max(0, state.read_seq - rng.randint(1, BACK_MAX)))
    return replace(
        state,
        max_seq=max(0, state.max_seq - rng.randint(1, BACK_MAX)),
        active_at_ms=state.active_at_ms - rng.randint(1, BACK_MS_MAX),
    )
