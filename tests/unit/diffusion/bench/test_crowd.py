"""The crowd: everybody has as many groups, and as many of them change."""

from __future__ import annotations

from collections import Counter

from diffusion.bench.crowd import GROUP_MEMBERS, Crowd
from schemas.events import MembersJoined, Message

USERS, LAYERS = 48, 7


def members_of(crowd: Crowd) -> dict[str, tuple[str, ...]]:
    return {
        event.conversation_id: event.user_ids
        for event in crowd.imported()
        if isinstance(event, MembersJoined)
    }


def test_everybody_is_in_one_group_of_each_layer() -> None:
    groups = members_of(Crowd(USERS, LAYERS, 1))
    assert len(groups) == LAYERS * USERS // GROUP_MEMBERS
    assert {len(set(members)) for members in groups.values()} == {GROUP_MEMBERS}
    counts = Counter(user for members in groups.values() for user in members)
    assert len(counts) == USERS
    assert set(counts.values()) == {LAYERS}


def test_so_many_conversations_of_everybody_change_and_are_told() -> None:
    crowd = Crowd(USERS, LAYERS, 1)
    groups = members_of(crowd)
    events, told = crowd.changed(3)
    assert set(told) == set(crowd.user_ids)
    assert {len(found) for found in told.values()} == {3}
    changed = [event for event in events if isinstance(event, Message)]
    assert len(changed) == len(events) == 3 * USERS // GROUP_MEMBERS
    for event in changed:
        assert event.sender_id in groups[event.conversation_id]
        assert all(event.conversation_id in told[user] for user in groups[event.conversation_id])


def test_sequences_and_times_rise_and_nothing_changes_when_nothing_is_asked() -> None:
    crowd = Crowd(USERS, LAYERS, 1)
    imported = [event for event in crowd.imported() if isinstance(event, Message)]
    assert {event.seq for event in imported} == {1}
    events, _ = crowd.changed(LAYERS)
    later = [event for event in events if isinstance(event, Message)]
    assert {event.seq for event in later} == {2}
    assert min(event.sent_at_ms for event in later) > max(event.sent_at_ms for event in imported)
    assert crowd.changed(0) == ([], dict.fromkeys(crowd.user_ids, frozenset()))


def test_the_same_seed_draws_the_same_groups() -> None:
    assert members_of(Crowd(USERS, LAYERS, 1)) == members_of(Crowd(USERS, LAYERS, 1))
    assert members_of(Crowd(USERS, LAYERS, 1)) != members_of(Crowd(USERS, LAYERS, 2))
