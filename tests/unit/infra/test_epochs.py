"""Epochs: one for each incarnation of a topic, taken once, whoever asks first."""

from __future__ import annotations

from typing import Any

import pytest

from infra import epochs
from infra.cassandra import log_positions, topic_epochs
from infra.cassandra.topic_epochs import INSERT_NEXT, Epoch
from infra.kafka.admin import TopicMissing
from infra.settings import Settings, load
from schemas.errors import PermanentError
from schemas.limits import EPOCH_MAX, EPOCH_MIN
from schemas.topics import CHANGES, TOPICS
from tests.unit.infra.cassandra.support import Cells

SETTINGS = Settings()


class Topics:
    """What Kafka has: incarnation, partitions and ends of every topic."""

    def __init__(self, topic_id: str = "first", partitions: int = 2) -> None:
        self.topic_id = topic_id
        self.partitions = partitions
        self.ends: dict[int, int] = {}

    def describe(self, topic: str) -> tuple[str, int]:
        return f"{self.topic_id}:{topic}", self.partitions

    def end_offsets(self, topic: str) -> dict[int, int]:
        return self.ends


def change_log(cells: Cells, topics: Any, settings: Settings = SETTINGS) -> Epoch:
    return epochs.ensure_change_log(settings, cells, topics)


def reach(cells: Cells, epoch: int, partition: int, offset: int) -> None:
    cells.apply(log_positions.reached(cells, epoch, partition, offset, 0))


def test_the_first_epoch_of_every_topic_is_the_first() -> None:
    found = epochs.ensure_all(SETTINGS, Cells(), Topics())
    assert set(found) == {spec.name for spec in TOPICS}
    assert {one.epoch for one in found.values()} == {EPOCH_MIN}
    assert found[CHANGES.name].window_ms == SETTINGS.log.window_ms


def test_an_incarnation_keeps_its_epoch() -> None:
    cells = Cells()
    assert epochs.ensure_all(SETTINGS, cells, Topics()) == epochs.ensure_all(
        SETTINGS, cells, Topics()
    )


@pytest.mark.parametrize("after", [Topics("second"), Topics(partitions=3)])
def test_a_topic_made_anew_or_repartitioned_takes_a_new_one(after: Topics) -> None:
    cells = Cells()
    assert change_log(cells, Topics()).epoch == 1
    assert change_log(cells, after).epoch == 2


def test_an_old_incarnation_that_comes_back_is_a_new_one() -> None:
    """Its offsets may have been given a second time meanwhile."""
    cells = Cells()
    for name, epoch in (("a", 1), ("b", 2), ("a", 3)):
        assert change_log(cells, Topics(name)).epoch == epoch


def test_the_window_of_an_epoch_is_fixed() -> None:
    cells = Cells()
    before = change_log(cells, Topics())
    other = load(log={"window_minutes": 1})
    assert change_log(cells, Topics(), other).window_ms == before.window_ms
    assert change_log(cells, Topics("second"), other).window_ms == other.log.window_ms


@pytest.mark.parametrize(
    ("ends", "epoch"),
    [({0: 6, 1: 9}, 1), ({0: 5, 1: 9}, 2), ({0: 6}, 2), ({}, 2), ({0: 100, 1: 100}, 1)],
)
def test_a_log_that_ends_before_what_was_applied_lost_records(
    ends: dict[int, int], epoch: int
) -> None:
    cells, topics = Cells(), Topics()
    change_log(cells, topics)
    reach(cells, 1, 0, 5)
    reach(cells, 1, 1, 8)
    topics.ends = ends
    assert change_log(cells, topics).epoch == epoch


def test_a_lost_log_takes_one_epoch_and_not_one_a_start() -> None:
    cells, topics = Cells(), Topics()
    change_log(cells, topics)
    reach(cells, 1, 0, 5)
    assert [change_log(cells, topics).epoch for _ in range(3)] == [2, 2, 2]


def test_who_comes_second_takes_what_the_first_took() -> None:
    """Between the look and the light-weight transaction another program took the next epoch."""

    class Raced(Cells):
        raced = False

        def read(self, cql: str, values: Any = ()) -> Any:
            if cql == INSERT_NEXT and not self.raced:
                self.raced = True
                super().read(cql, (*values[:2], "first:" + CHANGES.name, *values[3:]))
            return super().read(cql, values)

    assert change_log(Raced(), Topics()).epoch == 1


def test_who_loses_to_another_incarnation_takes_the_next() -> None:
    class Raced(Cells):
        raced = False

        def read(self, cql: str, values: Any = ()) -> Any:
            if cql == INSERT_NEXT and not self.raced:
                self.raced = True
                super().read(cql, (*values[:2], "another", *values[3:]))
            return super().read(cql, values)

    assert change_log(Raced(), Topics()).epoch == 2


def test_when_all_epochs_are_used_a_person_is_needed() -> None:
    cells = Cells()
    cells.read(INSERT_NEXT, (CHANGES.name, EPOCH_MAX, "old", 1, 1, 0))
    with pytest.raises(PermanentError, match="new keyspace"):
        change_log(cells, Topics())


def test_the_newest_epoch_is_the_latest() -> None:
    cells = Cells()
    assert topic_epochs.latest(cells, CHANGES.name) is None
    for name in ("a", "b"):
        change_log(cells, Topics(name))
    latest = topic_epochs.latest(cells, CHANGES.name)
    assert latest is not None
    assert (latest.epoch, latest.topic_id) == (2, f"b:{CHANGES.name}")


def test_a_topic_that_is_missing_is_said_so() -> None:
    class Missing(Topics):
        def describe(self, topic: str) -> tuple[str, int]:
            raise TopicMissing(topic)

    with pytest.raises(TopicMissing):
        epochs.ensure_all(SETTINGS, Cells(), Missing())
