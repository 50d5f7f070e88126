"""Damage: exactly as many rows differ as were asked for, of every kind, in the store too."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from diffusion.bench.chats import Account
from diffusion.bench.correction import write
from diffusion.bench.damage import damage
from diffusion.oracle import Oracle
from schemas.conversations import ConversationState
from schemas.digests import row_digest
from schemas.protocol import ConversationEntry
from sdk.client.ops import StoredState, StoreOps
from sdk.client.store import Store


def states() -> tuple[str, dict[str, ConversationState]]:
    account, oracle = Account(0, 300, seed=3), Oracle()
    oracle.replay(account.imported())
    return account.user_id, oracle.states(account.user_id)


@pytest.mark.parametrize("count", [0, 1, 3, 10, 150])
def test_so_many_rows_differ(count: int) -> None:
    user_id, right = states()
    drawn = damage(user_id, list(right.values()), count, random.Random(count))
    left = drawn.done_to(right, lambda state: state)
    changed = [
        cid for cid in right.keys() & left.keys() if row_digest(right[cid]) != row_digest(left[cid])
    ]
    assert len(changed) + len(right.keys() ^ left.keys()) == count
    assert len(drawn.older) == len(changed)
    if count >= 5:
        assert all((drawn.older, drawn.missing, drawn.extra))


def test_damage_is_done_to_the_store_behind_its_back(tmp_path: Path) -> None:
    user_id, right = states()
    store = Store(tmp_path / "im.db", user_id, "phone")
    entries = tuple(
        ConversationEntry(cid, 1, state.max_seq, state.active_at_ms, state.read_seq, state.own)
        for cid, state in right.items()
    )
    store.apply(
        StoreOps(
            revision=0, after=StoredState(cursor="c", revision=1), path="full", entries=entries
        ),
        now_ms=0,
    )
    assert {state.conversation_id: state for state in store.states()} == right
    drawn = damage(user_id, list(right.values()), 50, random.Random(1))
    write(tmp_path / "im.db", drawn)
    left = {state.conversation_id: state for state in store.states()}
    assert left == drawn.done_to(right, lambda state: state)
    store.close()
