"""Records behind, and the age of the oldest change that is not applied."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Gauge

from infra.backlog import Backlog


class Stage:
    """A backlog with its gauges, and a clock that is set."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now_ms = 1_000_000
        lag = Gauge("lag_records", "Records.", registry=self.registry)
        age = Gauge("age_seconds", "Age.", registry=self.registry)
        self.backlog = Backlog(lag, age, lambda: self.now_ms)

    def seen(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_nothing_is_behind_at_first(stage: Stage) -> None:
    assert stage.seen("age_seconds") == 0


def test_a_batch_that_waits_grows_old_while_it_is_looked_at(stage: Stage) -> None:
    stage.backlog.took(999_000)
    assert stage.seen("age_seconds") == 1
    stage.now_ms += 60_000
    assert stage.seen("age_seconds") == 61


def test_a_batch_that_is_done_leaves_nothing(stage: Stage) -> None:
    stage.backlog.took(999_000)
    stage.backlog.done(999_500)
    stage.backlog.left(0)
    assert (stage.seen("age_seconds"), stage.seen("lag_records")) == (0, 0)


def test_what_is_not_taken_is_younger_than_what_was_done(stage: Stage) -> None:
    stage.backlog.took(990_000)
    stage.backlog.done(995_000)
    stage.backlog.left(7)
    assert (stage.seen("age_seconds"), stage.seen("lag_records")) == (5, 7)


def test_a_clock_behind_the_brokers_makes_no_negative_age(stage: Stage) -> None:
    stage.backlog.took(1_000_500)
    assert stage.seen("age_seconds") == 0
