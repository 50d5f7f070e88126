"""What will be done to whom, and when."""

from __future__ import annotations

from collections import Counter

import pytest

from diffusion.chaos.plan import FIRST_S, LAST_S, SERVERS, Kind, draw

PROGRAMS = ("stream-worker-1", "materializer-1", "api")
FAULTS_MIN = 60
"""That a run of twenty minutes is to have."""


def test_a_seed_makes_the_same_plan_and_another_one_another() -> None:
    assert draw(1, 20, PROGRAMS) == draw(1, 20, PROGRAMS)
    assert draw(1, 20, PROGRAMS) != draw(2, 20, PROGRAMS)


@pytest.mark.parametrize("seed", range(20))
def test_twenty_minutes_have_enough_of_everything(seed: int) -> None:
    faults = draw(seed, 20, PROGRAMS)
    kinds = Counter(fault.kind for fault in faults)
    assert len(faults) >= FAULTS_MIN
    assert {Kind.KILL, Kind.RESTART, Kind.FREEZE, Kind.OUTAGE, Kind.DISK_FULL} <= set(kinds)
    assert {Kind.SLOW, Kind.FLAKY, Kind.SILENT} & set(kinds)
    assert {fault.target for fault in faults} == {*PROGRAMS, *SERVERS}
    for kind in (Kind.OUTAGE, Kind.DISK_FULL):
        assert sorted(fault.target for fault in faults if fault.kind is kind) == sorted(SERVERS)
    assert [f.lasts_s for f in faults if f.kind is Kind.OUTAGE] == [60.0, 60.0]
    times = [fault.at_s for fault in faults]
    assert times == sorted(times)
    assert times[0] >= FIRST_S
    assert times[-1] <= 20 * 60 - LAST_S


@pytest.mark.parametrize("seed", range(20))
def test_what_needs_a_server_is_not_done_to_a_program(seed: int) -> None:
    for fault in draw(seed, 20, PROGRAMS):
        if fault.target in PROGRAMS:
            assert fault.kind in {Kind.KILL, Kind.RESTART, Kind.FREEZE}
        assert (fault.lasts_s > 0) == (fault.kind not in {Kind.KILL, Kind.RESTART})


def test_a_short_run_has_no_outage() -> None:
    kinds = {fault.kind for seed in range(20) for fault in draw(seed, 1, PROGRAMS)}
    assert kinds <= {*Kind} - {Kind.OUTAGE, Kind.DISK_FULL}


def test_every_kind_comes_sooner_or_later() -> None:
    assert {fault.kind for seed in range(20) for fault in draw(seed, 20, PROGRAMS)} == {*Kind}
