"""What the long run draws, how it fits its slope, and how it judges."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from diffusion.bench.drift import fit
from diffusion.bench.soak import (
    API,
    DRIFT_MAX,
    MATERIALIZER,
    MEMORY_MAX_MB,
    POINTS_MAX,
    STREAM_WORKER,
    Memory,
    Outcome,
    Plan,
    Sample,
    memory_of,
    thinned,
)
from diffusion.bench.soak_load import GROUPS, Load
from schemas.errors import PermanentError
from schemas.events import MembersJoined, Message, Read

AT_MS = 1_750_000_000_000


def test_a_line_is_found_and_has_no_noise() -> None:
    found = fit([(5.0 * n, 200 + n) for n in range(100)])
    assert found.per_hour == pytest.approx(720)
    assert found.level == pytest.approx(249.5)
    assert found.noise_per_hour == pytest.approx(0, abs=1e-6)
    assert fit([(0, 7.0), (1, 7.0), (2, 7.0)]).noise_per_hour == 0


def test_the_noise_says_how_far_the_slope_may_be_off() -> None:
    rng = random.Random(3)
    off = 0
    for _ in range(200):
        found = fit([(5.0 * n, 200 + rng.gauss(0, 2)) for n in range(120)])
        off += abs(found.per_hour) > 2 * found.noise_per_hour
    assert off < 200 * 0.12  # 5 % of independent ones, and a little for the estimate


def test_neighbours_that_hang_together_are_fewer_measurements() -> None:
    rng = random.Random(3)
    alone = [rng.gauss(0, 2) for _ in range(120)]
    held = [alone[n // 10] for n in range(120)]
    points = [fit([(5.0 * n, value) for n, value in enumerate(some)]) for some in (alone, held)]
    assert points[1].noise_per_hour > 2 * points[0].noise_per_hour


def test_no_pair_of_users_has_two_chats_and_sequences_go_on() -> None:
    load = Load(20_000, seed=1)
    last: dict[str, int] = {}
    kinds: dict[type, int] = {}
    pairs: set[tuple[str, ...]] = set()
    while load.touched < 20_000:
        event, _ = load.next(AT_MS)
        kinds[type(event)] = kinds.get(type(event), 0) + 1
        if isinstance(event, Message):
            assert event.seq == last.get(event.conversation_id, 0) + 1
            last[event.conversation_id] = event.seq
            if event.members:
                assert event.sender_id in event.members
                assert event.members[0] != event.members[1]
                pairs.add(tuple(sorted(event.members)))
        else:
            assert isinstance(event, Read)
            assert event.read_seq == last[event.conversation_id]
    chats = [name for name in last if name.startswith("si_")]
    assert len(chats) == len(pairs) == load.touched - GROUPS
    assert len(chats) / sum(kinds.values()) == pytest.approx(0.85, abs=0.02)
    assert kinds[Read] / sum(kinds.values()) == pytest.approx(0.09, abs=0.02)


def test_what_sampled_users_are_in_is_followed_and_nothing_else() -> None:
    load = Load(20_000, seed=1)
    for event, followed in load.joins(AT_MS):
        assert isinstance(event, MembersJoined)
        assert followed is not load.sampled.isdisjoint(event.user_ids)
    members: dict[str, tuple[str, ...]] = {}
    for _ in range(20_000):
        event, followed = load.next(AT_MS)
        if isinstance(event, Message) and event.members:
            members[event.conversation_id] = event.members
        if event.conversation_id in members:  # type: ignore[union-attr]
            named = members[event.conversation_id]  # type: ignore[union-attr]
            assert followed is not load.sampled.isdisjoint(named)
    assert [e for e, _ in Load(9, 1).joins(AT_MS)] == [e for e, _ in Load(9, 1).joins(AT_MS)]


def sample(at_s: float, resident_mb: float) -> Sample:
    memory = {STREAM_WORKER: resident_mb, MATERIALIZER: 100.0, API: 90.0}
    return Sample(at_s, memory, 0, 0, 0, 0, 0, 0)


def test_the_slope_is_that_of_the_second_half() -> None:
    rising = [sample(5.0 * n, 50.0 + min(n, 50)) for n in range(101)]
    found = memory_of(STREAM_WORKER, rising, 101.0)
    assert (found.start_mb, found.end_mb, found.slope_mb_per_hour) == (50, 100, 0)
    assert found.drift_max_mb_per_hour == pytest.approx(100 * DRIFT_MAX * 6)
    assert found.flat
    assert found.small
    leaking = [sample(5.0 * n, 100 + 0.01 * n) for n in range(101)]
    assert not memory_of(STREAM_WORKER, leaking, 101.0).flat


def test_few_points_are_printed_and_the_last_among_them() -> None:
    some = [sample(5.0 * n, 50.0) for n in range(361)]
    assert len(thinned(some)) <= POINTS_MAX
    assert thinned(some)[-1] is some[-1]
    assert thinned(some[:7]) == tuple(some[:7])


MEMORY = Memory(STREAM_WORKER, 90.0, 200.0, 220.0, 2.0, 1.0, 12.0)
GOOD = Outcome(
    plan=Plan(20, 1_000, 1),
    minutes=20.0,
    conversations=1_000,
    users=300,
    events=1_300,
    processes=(MEMORY, replace(MEMORY, name=MATERIALIZER), replace(MEMORY, name=API)),
    series=(sample(0, 90.0), sample(5, 91.0)),
    lag_max={"stream": 1},
    restarts=0,
    machine="two cores",
    users_checked=300,
    differences=(),
)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (
            "stream-worker-1 small",
            replace(GOOD, processes=(replace(MEMORY, peak_mb=MEMORY_MAX_MB + 1),)),
        ),
        (
            "materializer-1 flat",
            replace(GOOD, processes=(replace(MEMORY, name=MATERIALIZER, slope_mb_per_hour=12.5),)),
        ),
        ("conversations", replace(GOOD, conversations=999)),
        ("no restarts", replace(GOOD, restarts=1)),
        ("correct", replace(GOOD, differences=("x",))),
    ],
)
def test_each_bound_is_judged_by_itself(name: str, broken: Outcome) -> None:
    assert all(GOOD.held.values())
    assert [one for one, holds in broken.held.items() if not holds] == [name]
    told = broken.as_json()
    assert told["held"][name] is False
    assert told["processes"][0]["name"] in {STREAM_WORKER, MATERIALIZER}


def test_the_api_is_looked_at_and_not_judged() -> None:
    large = replace(MEMORY, name=API, peak_mb=999.0, slope_mb_per_hour=999.0)
    assert all(replace(GOOD, processes=(large,)).held.values())


def test_a_run_too_short_to_have_a_slope_is_refused() -> None:
    with pytest.raises(PermanentError):
        Plan(0.1, 1_000, 1)
    assert all(a < b for a, b in pairwise((0.5, Plan(0.5, 1, 1).seconds)))
