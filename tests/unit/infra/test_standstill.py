"""When a worker is to be ended, and when not."""

from __future__ import annotations

import pytest

from infra.standstill import MARKERS_MAX, PASSED_BATCHES, Done, Judge, Place

TOPIC = "writes"
PATIENCE_S = 100.0
FULL = {(TOPIC, 0): Place(5, 50)}


def looks(judge: Judge, until_s: int, places: dict[tuple[str, int], Place], done: Done) -> str:
    """The first reason to end, looking every ten seconds."""
    for now_s in range(0, until_s + 1, 10):
        if why := judge.look(now_s, places, done):
            return why
    return ""


def test_a_worker_that_does_nothing_while_there_is_work_ends() -> None:
    judge = Judge(PATIENCE_S)
    assert looks(judge, 90, FULL, Done(3, 7)) == ""
    why = judge.look(100, FULL, Done(3, 7))
    assert why == "partition 0 of writes stands at 5 for 100s, and nothing was written meanwhile"


@pytest.mark.parametrize("end", [5, 5 + MARKERS_MAX])
def test_no_work_or_a_marker_is_no_standstill(end: int) -> None:
    assert looks(Judge(PATIENCE_S), 1_000, {(TOPIC, 0): Place(5, end)}, Done(0, 0)) == ""


def test_a_long_batch_is_no_standstill() -> None:
    judge = Judge(PATIENCE_S)
    for now_s in range(0, 2_000, 10):
        assert judge.look(now_s, FULL, Done(3, now_s)) is None


def test_a_partition_that_is_passed_by_ends_the_worker() -> None:
    judge = Judge(PATIENCE_S)
    reasons = []
    for step in range(30):
        places = FULL | {(TOPIC, 1): Place(step, step + 9)}
        reasons.append(judge.look(step * 10.0, places, Done(step, step)))
    first = next(step for step, why in enumerate(reasons) if why)
    assert first == PASSED_BATCHES
    assert (
        reasons[first]
        == "partition 0 of writes stands at 5 for 200s, while 20 batches went past it"
    )


def test_progress_begins_the_wait_anew() -> None:
    judge = Judge(PATIENCE_S)
    for now_s in range(0, 1_000, 10):
        assert judge.look(now_s, {(TOPIC, 0): Place(now_s // 90, 50)}, Done(0, 0)) is None


def test_what_was_seen_before_kafka_was_away_does_not_count() -> None:
    judge = Judge(PATIENCE_S)
    assert looks(judge, 90, FULL, Done(0, 0)) == ""
    judge.forget()
    for now_s in range(500, 600, 10):
        assert judge.look(now_s, FULL, Done(0, 0)) is None
    assert judge.look(600, FULL, Done(0, 0))


def test_a_partition_that_was_given_away_is_forgotten() -> None:
    judge = Judge(PATIENCE_S)
    judge.look(0, FULL, Done(0, 0))
    judge.look(50, {}, Done(0, 0))
    assert judge.look(110, FULL, Done(0, 0)) is None
