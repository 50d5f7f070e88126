"""What the sync benchmark calls held."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from diffusion.baseline import AnswerSizes
from diffusion.bench.measure import Rehearsed, Times
from diffusion.bench.ordinary import OrdinaryCost
from diffusion.bench.sync import Case, Fresh, Outcome, case_of, cpu_ms_max, held
from sdk.client import SyncReport

TIMES = Times(100, 1.5, 4.0, 1.25)
ORDINARY = OrdinaryCost(Times(5, 90.0, 99.0, 80.0), AnswerSizes(400, 100, 600, 200))
REPORT = SyncReport(
    path="delta",
    reason=None,
    total=None,
    round_trips=1,
    bytes_up=110,
    bytes_down=41,
    entries=20,
    modules=0,
    enqueued=0,
    removed=0,
    seconds=0.1,
)


def case(conversations: int, changed: int, bytes_down: int, cpu_ms: float = 1.0) -> Case:
    rehearsed = Rehearsed(replace(TIMES, cpu_ms=cpu_ms), 1, 110, bytes_down)
    return case_of(conversations, changed, rehearsed, REPORT, ORDINARY)


def fresh(conversations: int, bytes_down: int = 25_000, cpu_ms: float = 40.0) -> Fresh:
    return Fresh(conversations, 5, 3, 300, bytes_down, 0.2, cpu_ms, 26)


GOOD = (case(1_000, 0, 41), case(1_000, 20, 700), case(50_000, 0, 41), case(50_000, 20, 720))


def test_a_line_has_the_more_expensive_of_rehearsal_and_sync_and_the_yardstick_beside_it() -> None:
    found = case_of(
        1_000, 150, Rehearsed(TIMES, 1, 100, 40), structs.replace(REPORT, round_trips=2), ORDINARY
    )
    assert (found.round_trips, found.bytes_up, found.bytes_down) == (2, 110, 41)
    assert (found.p50_ms, found.p99_ms, found.cpu_ms) == (1.5, 4.0, 1.25)
    assert (found.baseline_bytes, found.baseline_bytes_raw) == (300, 1_000)
    assert found.baseline_round_trips == 8 + 2
    assert (found.baseline_p50_ms, found.baseline_cpu_ms) == (90.0, 80.0)


def test_what_is_within_all_bounds_is_held() -> None:
    found = held(GOOD, [fresh(1_000), fresh(50_000, 1_300_000, 2_000.0)])
    assert set(found) == {
        "one_round_trip", "bytes_nothing_changed", "bytes_20_changed", "bytes_do_not_grow",
        "cpu_nothing", "cpu_small", "bytes_fresh", "cpu_fresh",
    }  # fmt: skip
    assert all(found.values())


@pytest.mark.parametrize(
    ("name", "cases", "first"),
    [
        ("one_round_trip", (*GOOD[:3], replace(GOOD[3], round_trips=2)), fresh(1_000)),
        ("bytes_nothing_changed", (case(1_000, 0, 65), *GOOD[1:]), fresh(1_000)),
        ("bytes_20_changed", (*GOOD[:3], case(50_000, 20, 1_001)), fresh(1_000)),
        ("bytes_do_not_grow", (*GOOD[:3], case(50_000, 20, 736)), fresh(1_000)),
        ("cpu_nothing", (case(1_000, 0, 41, 1.41), *GOOD[1:]), fresh(1_000)),
        ("cpu_small", (GOOD[0], case(1_000, 20, 700, 3.21), *GOOD[2:]), fresh(1_000)),
        ("bytes_fresh", GOOD, fresh(1_000, bytes_down=60_001)),
        ("cpu_fresh", GOOD, fresh(1_000, cpu_ms=108.1)),
    ],
)
def test_each_bound_is_missed_by_a_little_more(
    name: str, cases: tuple[Case, ...], first: Fresh
) -> None:
    found = held(cases, [first])
    assert not found[name]


def test_bounds_of_sizes_that_were_left_out_are_not_judged() -> None:
    found = held([case(10_000, 0, 41)], [fresh(10_000)])
    assert found == {"one_round_trip": True, "bytes_nothing_changed": True}


def test_without_reconnects_none_is_judged() -> None:
    assert held([], []) == {}


def test_bounds_on_cpu_are_shares_of_the_yardstick() -> None:
    bounds = [cpu_ms_max(name) for name in ("nothing", "small", "fresh")]
    assert bounds == pytest.approx([1.4, 3.2, 108.0])


def test_a_device_that_holds_something_else_is_a_missed_bound() -> None:
    outcome = Outcome(
        cases=GOOD,
        crowded=None,
        fresh=(fresh(1_000),),
        throughput=(),
        import_seconds={1_000: 5.0},
        peak_memory_mb={"api": 90.0},
        load=0.1,
        machine="two cores",
        differences=("a difference",),
    )
    assert outcome.held["correct"] is False
    assert outcome.as_json()["differences"] == ["a difference"]
    assert replace(outcome, differences=()).held["correct"]
