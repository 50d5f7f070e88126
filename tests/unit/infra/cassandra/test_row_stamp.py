"""Stamps of the change index: inside a window the greater sequence wins, and old windows sink."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.cassandra.changes_by_user import AGE_MS, AGE_ORIGIN_MS, row_stamp
from schemas.limits import EPOCH_MAX, OFFSET_MAX, SEQ_MAX, TIME_MS_MAX
from schemas.versions import version_of

ranks = st.integers(0, SEQ_MAX)
windows = st.integers(0, TIME_MS_MAX)


@given(windows, ranks, ranks)
def test_inside_a_window_the_greater_rank_wins(window_ms: int, one: int, other: int) -> None:
    assert (row_stamp(window_ms, one) < row_stamp(window_ms, other)) is (one < other)


@given(windows, windows, ranks, ranks)
def test_a_month_later_every_stamp_is_greater(
    first_ms: int, second_ms: int, one: int, other: int
) -> None:
    """So that an expired cell of an old conversation is not kept by a new one that is at 1."""
    early, late = sorted((first_ms, second_ms))
    if late >= AGE_ORIGIN_MS and late - max(early, AGE_ORIGIN_MS) >= AGE_MS:
        assert row_stamp(early, one) < row_stamp(late, other)


@given(windows, ranks)
def test_a_stamp_is_a_timestamp_of_cassandra(window_ms: int, rank: int) -> None:
    assert 0 <= row_stamp(window_ms, rank) < 2**63


def test_the_greatest_sequence_and_the_greatest_version_are_ranks() -> None:
    for rank in (SEQ_MAX, version_of(EPOCH_MAX, OFFSET_MAX)):
        assert row_stamp(TIME_MS_MAX, rank) < 2**63
        assert row_stamp(AGE_ORIGIN_MS, rank) < row_stamp(AGE_ORIGIN_MS + AGE_MS, 0)


def test_a_window_before_the_origin_is_as_old_as_the_origin() -> None:
    assert row_stamp(0, 7) == row_stamp(AGE_ORIGIN_MS, 7) == 7
