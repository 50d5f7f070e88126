"""Rates of counters that begin anew, come late and go, and quantiles as Prometheus has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.figures.counting import (
    FRESH,
    LOOKS_MAX,
    START,
    WINDOW_S,
    Memory,
    Pair,
    Seen,
    Spread,
    Window,
)

NAME = "diffusion_stream_events_total"


def seen(at_s: float, value: float, started_s: float = 1.0) -> Seen:
    return Seen(at_s, {NAME: [({"type": "message"}, value)], START: [({}, started_s)]})


def buckets(at_s: float, **counts: float) -> Seen:
    values = [
        ({"le": bound.replace("le_", "").replace("inf", "+Inf")}, count)
        for bound, count in counts.items()
    ]
    return Seen(at_s, {"h_bucket": values})


def test_a_rate_is_what_came_over_the_time_between() -> None:
    window = Window([Pair(seen(14, 150), seen(10, 110))])
    assert window.rate(NAME) == 10
    assert window.rates(NAME, "type") == {"message": 10}
    assert window.rate(NAME, type="read") == 0
    assert window.seconds == 4


def test_processes_are_added_up_each_over_its_own_time() -> None:
    window = Window([Pair(seen(14, 150), seen(10, 110)), Pair(seen(15, 9), seen(13, 7))])
    assert window.rate(NAME) == 11
    assert window.sum(NAME) == 159


def test_of_a_process_started_anew_all_it_counted_came_since() -> None:
    # It has counted more than the one before it, so only the start tells.
    assert Window([Pair(seen(14, 150, started_s=11), seen(10, 110))]).rate(NAME) == 37.5


def test_a_counter_that_is_smaller_than_it_was_has_begun_anew() -> None:
    assert Window([Pair(seen(14, 20), seen(10, 110))]).rate(NAME) == 5


@given(st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e9)), min_size=2, max_size=20))
def test_no_rate_is_ever_negative(told: list[tuple[float, float]]) -> None:
    memory = Memory()
    for at_s, (value, started_s) in enumerate(told):
        rate = Window(memory.take({"here": seen(at_s, value, started_s)})).rate(NAME)
        assert (rate is None) == (at_s == 0)
        assert rate is None or rate >= 0


def test_before_the_second_look_a_rate_is_not_known_but_a_sum_is() -> None:
    window = Window([Pair(seen(10, 110), None)])
    assert window.rate(NAME) is None
    assert window.rates(NAME, "type") == {}
    assert window.seconds is None
    assert window.sum(NAME) == 110


def test_what_nobody_counts_is_not_zero() -> None:
    window = Window([Pair(seen(14, 150), seen(10, 110))])
    assert window.rate("diffusion_api_syncs_total") is None
    assert window.sum("diffusion_api_connections") is None
    assert window.max("diffusion_api_connections") is None


def test_a_process_that_comes_later_counts_from_its_second_look() -> None:
    memory = Memory()
    memory.take({"a": seen(0, 100)})
    pairs = memory.take({"a": seen(2, 120), "b": seen(2, 5_000)})
    assert Window(pairs).rate(NAME) == 10
    pairs = memory.take({"a": seen(4, 140), "b": seen(4, 5_002)})
    assert Window(pairs).rate(NAME) == 11


def test_one_that_was_away_is_not_compared_with_what_it_was() -> None:
    memory = Memory()
    memory.take({"a": seen(0, 100)})
    assert memory.take({}) == []
    (pair,) = memory.take({"a": seen(2, 150)})
    assert pair.before is None


def test_rates_look_back_one_window() -> None:
    memory = Memory()
    for at_s in range(20):
        (pair,) = memory.take({"a": seen(at_s, at_s * at_s)})
    assert pair.before is not None
    assert pair.now.at_s - pair.before.at_s == WINDOW_S


def test_after_a_long_pause_the_rates_begin_anew() -> None:
    memory = Memory()
    memory.take({"a": seen(0, 100)})
    (pair,) = memory.take({"a": seen(FRESH * WINDOW_S + 1, 200)})
    assert pair.before is None


def test_looks_kept_are_bounded() -> None:
    memory = Memory(window_s=1_000)
    for number in range(LOOKS_MAX * 3):
        (pair,) = memory.take({"a": seen(number / 10, number)})
    assert pair.before is not None
    assert pair.now.at_s - pair.before.at_s == pytest.approx(LOOKS_MAX / 10)


def test_quantiles_are_those_of_prometheus() -> None:
    # promql: histogram_quantile over le="1": 10, le="2": 30, le="+Inf": 40.
    pair = Pair(buckets(10, le_1=10, le_2=30, le_inf=40), buckets(0, le_1=0, le_2=0, le_inf=0))
    assert Window([pair]).spread("h") == Spread(1.5, 2)


def test_quantiles_are_of_what_came_lately() -> None:
    before = buckets(0, le_1=1_000, le_2=1_000, le_inf=1_000)
    pair = Pair(buckets(10, le_1=1_000, le_2=1_100, le_inf=1_100), before)
    found = Window([pair]).spread("h")
    assert found.half == 1.5
    assert found.most == pytest.approx(1.99)


def test_nothing_observed_has_no_quantile() -> None:
    same = buckets(0, le_1=5, le_inf=5)
    assert Window([Pair(buckets(9, le_1=5, le_inf=5), same)]).spread("h") == Spread(None, None)
    assert Window([]).spread("h") == Spread(None, None)
    assert Window([]).mean("h") is None


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6),
    st.lists(st.integers(0, 50), min_size=1, max_size=6),
)
def test_more_than_half_is_never_less_than_half(first: list[int], second: list[int]) -> None:
    """Of two processes, whatever their buckets."""
    pairs = []
    for counts in (first, second):
        below, told = 0.0, {}
        for bound, count in enumerate(counts, 1):
            below += count
            told[f"le_{bound}"] = below
        told["le_inf"] = below
        pairs.append(Pair(buckets(10, **told), buckets(0, **dict.fromkeys(told, 0.0))))
    found = Window(pairs).spread("h")
    if found.half is not None:
        assert found.most is not None
        assert 0 <= found.half <= found.most <= 6
