"""Versions order as the places they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import EPOCH_MAX, EPOCH_MIN, EVENTS_PER_RECORD_MAX, OFFSET_MAX, SEQ_MAX
from schemas.versions import (
    BEFORE_ALL,
    epoch_of,
    offset_of,
    stamp_of,
    version_of,
    window_start,
)

epochs = st.integers(EPOCH_MIN, EPOCH_MAX)
offsets = st.integers(0, OFFSET_MAX)
places = st.tuples(epochs, offsets)


@given(epochs, offsets)
def test_a_version_gives_back_its_place(epoch: int, offset: int) -> None:
    version = version_of(epoch, offset)
    assert (epoch_of(version), offset_of(version)) == (epoch, offset)
    assert BEFORE_ALL < version <= SEQ_MAX


@given(places, places)
def test_versions_order_as_epochs_and_then_offsets(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    assert (version_of(*one) < version_of(*other)) == (one < other)


def test_every_version_of_an_epoch_is_below_the_next() -> None:
    assert version_of(1, OFFSET_MAX) + 1 == version_of(2, 0)
    assert version_of(EPOCH_MAX, OFFSET_MAX) == SEQ_MAX == 2**53 - 1


def test_before_all_has_no_epoch() -> None:
    assert (epoch_of(BEFORE_ALL), BEFORE_ALL) == (0, 0)


@pytest.mark.parametrize(
    ("epoch", "offset"),
    [(EPOCH_MIN - 1, 0), (EPOCH_MAX + 1, 0), (1, -1), (1, OFFSET_MAX + 1)],
)
def test_a_place_that_is_none_is_a_programmers_error(epoch: int, offset: int) -> None:
    with pytest.raises(AssertionError):
        version_of(epoch, offset)


positions = st.tuples(places, st.integers(0, EVENTS_PER_RECORD_MAX - 1))


@given(positions, positions)
def test_stamps_order_as_records_and_then_events(
    one: tuple[tuple[int, int], int], other: tuple[tuple[int, int], int]
) -> None:
    first, second = (stamp_of(version_of(*place), index) for place, index in (one, other))
    assert (first < second) == (one < other)
    assert max(first, second) < 2**62, "a Cassandra timestamp"


@pytest.mark.parametrize("index", [-1, 512])
def test_an_event_outside_of_a_record_has_no_stamp(index: int) -> None:
    with pytest.raises(AssertionError):
        stamp_of(version_of(1, 0), index)


@given(st.integers(0, 10**14), st.integers(1, 10**9))
def test_a_window_holds_its_start_and_not_its_end(time_ms: int, window_ms: int) -> None:
    start = window_start(time_ms, window_ms)
    assert start <= time_ms < start + window_ms
    assert start % window_ms == 0
    assert window_start(start, window_ms) == start
    assert window_start(start + window_ms, window_ms) == start + window_ms
