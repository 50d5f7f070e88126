"""What the benchmark of abnormal cases makes of what it measured."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.bench.abnormal import TROUBLES
from diffusion.bench.bad_line import Reconnect, summed_up
from diffusion.bench.recovery import CUT_RATIO_MAX, CUTS, Case, Outcome, _ratios, places
from sdk.client import Reason

WHOLE = Case("a new device", "full", "fresh", 1, 35, 5_000, 240_000, 265_000)
LINE = summed_up([Reconnect(True, 1, 0, 2.0, 1_400), Reconnect(True, 3, 2, 9.0, 2_400)])
GOOD = Outcome(10_000, (WHOLE,), (1.2, 1.25), (1.2, 1.28), (1.3,), (1.31,), LINE, (), ())


@given(st.integers(CUTS + 1, 500_000), st.integers(0, 5))
def test_places_are_so_many_and_before_the_end(whole: int, seed: int) -> None:
    found = places(whole, CUTS, random.Random(seed))
    assert len(found) == CUTS
    assert min(found) >= 1
    assert sum(found) < whole


def test_a_bad_line_is_summed_up_with_those_that_did_not_come_back() -> None:
    assert (LINE.reconnects, LINE.completed, LINE.resets, LINE.attempts_max) == (2, 2, 2, 3)
    assert (LINE.seconds_p50, LINE.seconds_max) == (2.0, 9.0)
    lost = summed_up([Reconnect(False, 1, 0, 300.0, 0)])
    assert (lost.reconnects, lost.completed) == (1, 0)


def test_ratios_are_in_order_and_of_what_is_named() -> None:
    cut = [replace(WHOLE, bytes_up=7_000, bytes_down=n) for n in (300_000, 290_000)]
    assert _ratios(cut, WHOLE, lambda case: case.bytes_down) == (1.208, 1.25)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("paths", replace(GOOD, wrong_paths=("x",))),
        ("bytes_of_a_full_correction_that_is_cut", replace(GOOD, cut_ratios=(1, 1.31))),
        ("bytes_if_the_app_is_killed", replace(GOOD, killed_ratios=(1, 1.31))),
        ("bad_line_completes", replace(GOOD, bad_line=replace(LINE, completed=1))),
        ("correct", replace(GOOD, differences=("x",))),
    ],
)
def test_each_bound_is_judged_by_itself(name: str, broken: Outcome) -> None:
    assert CUT_RATIO_MAX == 1.3
    assert all(GOOD.held.values())
    assert [one for one, holds in broken.held.items() if not holds] == [name]
    assert broken.as_json()["held"][name] is False


def test_troubles_are_named_once_and_have_reasons_of_the_protocol() -> None:
    names = [trouble.name for trouble in TROUBLES]
    assert len(set(names)) == len(names)
    assert {trouble.reason for trouble in TROUBLES} <= {reason.value for reason in Reason}
