"""The benchmark of storms: its world, its devices, how it judges."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from diffusion.bench import storm_load
from diffusion.bench.storm import Outcome, Plan, run
from diffusion.bench.storm_check import applied, dropped_connections, is_newer, told
from diffusion.bench.storm_load import Device, Visit
from diffusion.bench.storm_world import (
    CHAT_ROUNDS,
    GROUP_MEMBERS,
    GROUP_ROUNDS,
    LARGE_GROUPS,
    World,
    pairs,
    slices,
)
from diffusion.console import Console
from diffusion.oracle import Difference, Oracle, compare
from infra.clock import monotonic_s
from infra.settings import Settings
from schemas.conversations import ConversationState, OwnState
from schemas.errors import PermanentError, RetryableError
from schemas.events import MembersJoined, Message
from schemas.protocol import ConversationEntry, Reason, SyncResponse
from tests.unit.syncapi.test_sockets import Running, running

NOW_MS = 1_760_000_000_000
MEMBERS_MAX = 1_000


def world(users: int = 600, heavy: int = 80, seed: int = 1) -> World:
    return World(users, heavy, MEMBERS_MAX, seed)


def test_groups_of_a_round_hold_everybody_once() -> None:
    users = [str(number) for number in range(1_050)]
    cut = list(slices(users, (100, 200), random.Random(1)))
    assert [user for members in cut for user in members] == users
    assert all(100 <= len(members) <= 200 for members in cut[:-1])
    assert 100 <= len(cut[-1]) < 300
    assert list(slices(users[:5], (100, 200), random.Random(1))) == [tuple(users[:5])]
    assert list(pairs(users[:5])) == [("0", "1"), ("2", "3")]


def test_everybody_has_some_fifty_conversations_and_heavy_users_as_many_as_asked_for() -> None:
    made, oracle = world(), Oracle()
    oracle.replay(made.imported(NOW_MS))
    heavy = {account.user_id for account in made.accounts}
    for user in made.users:
        count = len(oracle.states(user))
        if user in heavy:
            assert count == 80
        else:
            assert GROUP_ROUNDS <= count <= GROUP_ROUNDS + CHAT_ROUNDS + LARGE_GROUPS
            assert count == made.conversations()[user]
    assert all(len(members) > MEMBERS_MAX for members in made.large.values())
    assert all(len(members) < 2 * GROUP_MEMBERS[1] for members in made.groups.values())
    assert all(state.max_seq for state in oracle.states(made.users[-1]).values())


def test_a_join_names_no_more_users_than_it_may() -> None:
    joins = [event for event in world().imported(NOW_MS) if isinstance(event, MembersJoined)]
    assert max(len(join.user_ids) for join in joins) == 1_000


def test_while_away_everybody_has_something_that_changes_and_not_all_the_same() -> None:
    made, oracle = world(), Oracle()
    oracle.replay(made.imported(NOW_MS))
    before = {user: oracle.states(user) for user in made.users}
    touched = list(made.touched(NOW_MS))
    assert {user for one in touched for user in made.groups[one.conversation_id]} == set(made.users)
    oracle.replay(touched)
    oracle.replay(made.changed(NOW_MS + 1))
    counts = [
        len({one.conversation_id for one in compare(before[user], oracle.states(user))})
        for user in made.users
    ]
    assert min(counts) >= 1
    assert max(counts) > 2 * min(counts)


def test_messages_under_the_storm_are_numbered_on_and_of_all_kinds() -> None:
    made = world()
    list(made.imported(NOW_MS))
    written = [made.next_message(NOW_MS) for _ in range(500)]
    last = Counter(dict.fromkeys({message.conversation_id for message in written}, 1))
    for message in written:
        last[message.conversation_id] += 1
        assert message.seq == last[message.conversation_id]
    for some in (made.groups, made.chats, made.large):
        assert any(message.conversation_id in some for message in written)
    some_chat, some_group = next(iter(made.chats)), next(iter(made.groups))
    two = [Message(some_chat, 9, "x", NOW_MS), Message(some_group, 9, "x", NOW_MS)]
    assert made.marks(two) == 2 + len(made.groups[some_group])


def test_the_same_seed_makes_the_same_world() -> None:
    assert list(world().imported(NOW_MS)) == list(world().imported(NOW_MS))
    assert list(world(seed=2).imported(NOW_MS)) != list(world().imported(NOW_MS))


def test_what_was_told_is_merged_or_replaces() -> None:
    held = {"a": ConversationState("a", 5, 50, 3), "b": ConversationState("b", 1, 10)}
    delta = SyncResponse("delta", (ConversationEntry("a", 1, 7, 70),))
    assert applied(held, [delta]) == {**held, "a": ConversationState("a", 7, 70, 3)}
    own = OwnState(pinned=True)
    first = SyncResponse(
        "full", (ConversationEntry("a", 2, 4, 40, 0, own),), reason=Reason.TOO_MANY, page="p"
    )
    last = SyncResponse("full", (ConversationEntry("c", 2, 1, 10, 0, OwnState()),))
    assert applied(held, [first, last]) == {
        "a": ConversationState("a", 4, 40, 0, own),
        "c": ConversationState("c", 1, 10),
    }
    assert held["a"].max_seq == 5


@pytest.mark.parametrize(
    ("difference", "newer"),
    [
        (Difference("a", "last_seq", 5, 6), True),
        (Difference("a", "last_seq", 5, 8), False),
        (Difference("a", "last_seq", 5, 4), False),
        (Difference("a", "read_seq", 5, 7), True),
        (Difference("a", "activity_ms", 5, 6), True),
        (Difference("a", "activity_ms", 5, 4), False),
        (Difference("a", "unread", 5, 0), True),
        (Difference("a", "pinned", 0, 1), False),
        (Difference("a", "conversation", 1, None), False),
        (Difference("a", "conversation", None, 1), False),
        (Difference("b", "last_seq", 5, 6), False),
    ],
)
def test_only_what_was_written_meanwhile_may_be_newer(difference: Difference, newer: bool) -> None:
    assert is_newer(difference, {"a": 7}) is newer


GOOD = Outcome(
    users=100,
    seconds=10.0,
    errors=0,
    error_kinds={},
    paths={"delta": 100},
    p50_ms=10.0,
    p99_ms=100.0,
    max_ms=120.0,
    ended_s=10.1,
    round_trips_max=1,
    changed_min=1,
    changed_p50=10,
    changed_max=30,
    cpu_ms_per_sync=3.0,
    api_cpu_share=0.3,
    quiet_cpu_share=0.02,
    baseline_conversations=10_000,
    baseline_cpu_ms_per_sync=150.0,
    baseline_p50_ms=160.0,
    writes_per_second=200.0,
    marks_per_second=9_000.0,
    listen_overflows=0,
    devices_cpu_share=0.2,
    peak_memory_mb={"api": 90.0},
    machine="two cores",
    seconds_of={},
    users_checked=100,
    differences=(),
)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("errors", replace(GOOD, errors=1)),
        ("cpu", replace(GOOD, cpu_ms_per_sync=15.1)),
        ("correct", replace(GOOD, differences=("x",))),
    ],
)
def test_each_bound_is_judged_by_itself(name: str, broken: Outcome) -> None:
    assert all(GOOD.held.values())
    assert [one for one, holds in broken.held.items() if not holds] == [name]
    assert GOOD.as_json()["ratio"] == 50.0
    assert set(GOOD.as_json()) >= {"users", "errors", "p99_ms", "cpu_ms_per_sync", "held"}


def test_a_storm_of_nobody_is_refused() -> None:
    with pytest.raises(PermanentError):
        run(Settings(), Plan(1, 1, 1, 100, 1), Console())


def _devices(api: Running, count: int) -> list[Device]:
    return [Device("ann", api.token(), None, number / 100) for number in range(count)]


def test_devices_sync_over_connections_of_their_own_when_they_are_due() -> None:
    with running() as api:
        start_s = monotonic_s() + 0.1
        load = storm_load.storm("127.0.0.1", api.port, _devices(api, 20), start_s)
        assert len(load.visits) == 20
        assert not any(visit.error for visit in load.visits)
        assert all(visit.cursor for visit in load.visits)
        assert {told(visit) for visit in load.visits} == {2}
        assert load.seconds >= 0.19
        calm = storm_load.sync_together("127.0.0.1", api.port, _devices(api, 3), 2)
        assert [visit.error for visit in calm.visits] == [""] * 3
        refused = storm_load.sync_together(
            "127.0.0.1", api.port, [Device("ann", "nonsense", None)], 1
        )
        assert "AuthError" in refused.visits[0].error
    gone = storm_load.sync_together("127.0.0.1", api.port, _devices(api, 1), 1)
    assert gone.visits[0].error
    with pytest.raises(RetryableError):
        storm_load.storm("127.0.0.1", api.port, [], monotonic_s() - 1)


def test_dropped_connections_are_counted() -> None:
    assert dropped_connections() >= 0


def test_a_visit_without_an_answer_told_nothing() -> None:
    assert told(Visit("a", 1.0, None, (), "lost")) == 0
