"""The people of the benchmarks: what they write, and that it is the same in every run."""

from __future__ import annotations

from diffusion.bench.chats import IMPORTED_MS, Account
from diffusion.oracle import Oracle
from schemas.events import Message, Read


def test_everybody_has_as_many_conversations_as_asked_for_with_ids_of_24_characters() -> None:
    account, oracle = Account(3, 200, seed=1), Oracle()
    oracle.replay(account.imported())
    states = oracle.states(account.user_id)
    assert len(states) == account.conversations == 200
    assert {len(conversation_id) for conversation_id in states} == {24}
    assert any(state.read_seq for state in states.values())
    assert not all(state.read_seq for state in states.values())


def test_the_same_seed_writes_the_same() -> None:
    first, again = Account(0, 50, seed=7), Account(0, 50, seed=7)
    assert list(first.imported()) == list(again.imported())
    assert list(first.changed(5)) == list(again.changed(5))
    assert list(Account(0, 50, seed=8).imported()) != list(Account(0, 50, seed=7).imported())


def test_a_change_is_a_newer_message_of_the_other_side() -> None:
    account, oracle = Account(0, 100, seed=1), Oracle()
    oracle.replay(account.imported())
    before = oracle.states(account.user_id)
    events = list(account.changed(40))
    messages = [event for event in events if isinstance(event, Message)]
    assert len({message.conversation_id for message in messages}) == 40
    for message in messages:
        assert message.sender_id != account.user_id
        assert message.seq == before[message.conversation_id].max_seq + 1
        assert message.sent_at_ms > IMPORTED_MS
    assert any(isinstance(event, Read) for event in events)
    oracle.replay(events)
    after = oracle.states(account.user_id)
    assert sum(after[cid] != state for cid, state in before.items()) == 40
