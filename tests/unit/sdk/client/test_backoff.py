"""Pauses after failures: bounded, drawn, and never shorter than the server asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdk.client.backoff import pause_ms
from sdk.client.limits import RECONNECT_MAX_MS, RETRY_BASE_MS, RETRY_MAX_MS
from sdk.client.pauses import Pauses


def pause(failures: int, jitter: float) -> int:
    return pause_ms(failures, jitter, base_ms=RETRY_BASE_MS, max_ms=RETRY_MAX_MS)


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_bounded_and_its_bound_doubles(failures: int, jitter: float) -> None:
    assert 0 <= pause(failures, jitter) <= pause(failures, 1.0) <= RETRY_MAX_MS
    bound, following = pause(failures, 1.0), pause(failures + 1, 1.0)
    assert following == min(2 * bound, RETRY_MAX_MS)
    assert pause(failures, 0.0) == 0


def test_the_first_pause_is_the_base() -> None:
    assert pause(1, 1.0) == RETRY_BASE_MS


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 10**7)), min_size=1, max_size=12),
    st.floats(0, 1, exclude_max=True),
)
def test_what_the_server_asks_for_is_kept_and_no_more_than_a_minute_comes_on_top(
    asked: list[int | None], jitter: float
) -> None:
    pauses = Pauses(lambda: jitter)
    for one in asked:
        pauses.failed(5_000, one)
        assert pauses.held_ms(5_000) == (one or 0)
        assert (one or 0) <= pauses.left_ms(5_000) <= (one or 0) + RECONNECT_MAX_MS
        assert pauses.left_ms(5_000 + pauses.left_ms(5_000)) == 0
    pauses.succeeded()
    assert pauses.left_ms(0) == pauses.held_ms(0) == 0
