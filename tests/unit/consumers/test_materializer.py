"""The materializer: positions and state, then the index, then the commit; nothing out of turn."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaError, KafkaException, TopicPartition
from prometheus_client import REGISTRY

from consumers import materializer
from infra.kafka.dead_share import EVENTS_MIN, TooManyDead
from infra.kafka.delivery import NotDelivered
from infra.settings import MaterializerSettings, Settings
from schemas import dead_letters, topics
from schemas.changes import MessageChange, ReadChange, StateChange
from schemas.errors import PermanentError, RetryableError
from schemas.trace_context import Origin, TraceContext, headers_of_change
from schemas.versions import version_of
from tests.unit.consumers.support import (
    T0,
    WINDOW_MS,
    Log,
    Record,
    ScriptedConsumer,
    materializer_on,
)
from tests.unit.infra.cassandra.support import Cells, Killed, written

GROUP = "sg_1"


def records() -> list[Record]:
    return [
        Record(MessageChange(GROUP, ("ann", "bob"), 1, T0, "ann"), offset=4),
        Record(StateChange(GROUP, ("bob",), 9, pinned=True), offset=5),
        Record(ReadChange(GROUP, ("cid",), 1), offset=8, partition=1),
    ]


def tables(cells: Cells) -> list[str]:
    return [written(statement)[0] for statement in cells.writes]


def test_positions_and_state_before_the_index_before_the_commit() -> None:
    cells, consumer = Cells(), ScriptedConsumer()
    materializer_on(cells, consumer).apply(records())
    assert tables(cells) == [
        *["log_positions"] * 2,
        *["inbox"] * 2,
        "pinned_by_user",
        "inbox",
        *["changes_by_user"] * 4,
    ]
    assert len(cells.rounds) == 2, "the index waits for the state"
    assert consumer.committed == {0: 6, 1: 9}


@pytest.mark.parametrize("crash_in", range(7))
def test_nothing_is_committed_before_everything_is_written(crash_in: int) -> None:
    cells, consumer = Cells(), ScriptedConsumer()
    cells.crash_in = crash_in
    engine = materializer_on(cells, consumer)
    with pytest.raises(Killed):
        engine.apply(records())
    assert consumer.committed == {}
    cells.crash_in = None
    engine.apply(records())
    whole = Cells()
    materializer_on(whole, ScriptedConsumer()).apply(records())
    assert cells.rows == whole.rows, "the replay ends where an unbroken run does"


def test_positions_are_those_of_the_greatest_offsets() -> None:
    cells = Cells()
    materializer_on(cells, ScriptedConsumer()).apply(records())
    positions = cells.table("log_positions")
    assert {key: row["reached_offset"] for key, row in positions.items()} == {(1, 0): 5, (1, 1): 8}


def test_a_partition_that_begins_again_within_a_batch_takes_nothing_back() -> None:
    cells, consumer = Cells(), ScriptedConsumer()
    once = records()
    materializer_on(cells, consumer).apply([*once, once[0]])
    assert consumer.committed[0] == 6
    assert cells.table("log_positions")[1, 0]["reached_offset"] == 5


def test_versions_and_windows_come_from_the_log() -> None:
    cells = Cells()
    record = Record(MessageChange(GROUP, ("ann",), 1, T0), offset=7, at_ms=T0 + WINDOW_MS + 1)
    materializer_on(cells, ScriptedConsumer(), epoch=3).apply([record])
    row = cells.table("changes_by_user")["ann", T0 + WINDOW_MS, GROUP]
    assert row["message_version"] == version_of(3, 7)


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_does_not_stop_the_rest() -> None:
    cells, consumer, log = Cells(), ScriptedConsumer(), Log()
    good = Record(ReadChange(GROUP, ("ann",), 1), offset=1)
    materializer_on(cells, consumer, log).apply([Record(b"{}", offset=0), good, Record(None, 2)])
    assert consumer.committed == {0: 3}
    assert {topic for topic, _, _ in log.records} == {topics.dead_letters(topics.CHANGES.name)}
    assert [dead_letters.decode(value).offset for _, _, value in log.records] == [0, 2]
    assert log.flushed == 2
    assert ("ann", T0, GROUP) in cells.table("changes_by_user")


def test_a_log_that_cannot_be_read_stops_it_before_anything_is_written() -> None:
    cells, consumer, log = Cells(), ScriptedConsumer(), Log()
    flood = [Record(b"?", offset=offset) for offset in range(EVENTS_MIN)]
    with pytest.raises(TooManyDead):
        materializer_on(cells, consumer, log).apply([*records(), *flood])
    assert (cells.writes, consumer.committed, log.records) == ([], {}, [])


@pytest.mark.parametrize("newer", [{"v": "2.0"}, {"v": "1.1", "type": "reaction"}], ids=str)
def test_a_change_of_a_newer_program_stops_the_materializer_and_loses_nothing(
    newer: dict[str, str],
) -> None:
    cells, consumer, log = Cells(), ScriptedConsumer(), Log()
    change = ReadChange(GROUP, ("ann",), 1)
    theirs = msgspec.json.encode(msgspec.to_builtins(change) | newer)
    batch = [Record(change, offset=0), Record(theirs, offset=1), Record(change, offset=2)]
    with pytest.raises(
        PermanentError, match=r"Record 1 of partition 0 .* upgrade the materializers"
    ):
        materializer_on(cells, consumer, log).apply(batch)
    assert (cells.writes, consumer.committed, log.records) == ([], {}, [])


def test_a_change_of_a_newer_minor_version_is_applied() -> None:
    cells, consumer, log = Cells(), ScriptedConsumer(), Log()
    change = msgspec.to_builtins(ReadChange(GROUP, ("ann",), 1, v="1.1")) | {"hint": 5}
    materializer_on(cells, consumer, log).apply([Record(msgspec.json.encode(change))])
    assert ("ann", T0, GROUP) in cells.table("changes_by_user")
    assert (consumer.committed, log.records) == ({0: 1}, [])


def test_a_dead_letter_that_is_not_delivered_is_not_committed() -> None:
    class Away(Log):
        def flush(self) -> None:
            raise NotDelivered("away")

    consumer = ScriptedConsumer()
    with pytest.raises(NotDelivered):
        materializer_on(Cells(), consumer, Away()).apply([Record(b"{}")])
    assert consumer.committed == {}


def test_records_that_no_broker_stamped_are_refused() -> None:
    engine = materializer_on(Cells(), ScriptedConsumer())
    record = Record(ReadChange(GROUP, ("ann",), 1), stamped_by=TIMESTAMP_CREATE_TIME)
    with pytest.raises(PermanentError, match="LogAppendTime"):
        engine.apply([record])


@pytest.mark.parametrize(
    "code", [KafkaError._PARTITION_EOF, KafkaError._MAX_POLL_EXCEEDED, KafkaError._ALL_BROKERS_DOWN]
)
def test_news_of_the_connection_is_no_record(code: int) -> None:
    cells, consumer = Cells(), ScriptedConsumer()
    materializer_on(cells, consumer).apply([Record(None, error=KafkaError(code))])
    assert cells.writes == []
    assert consumer.committed == {}


def test_what_kafka_refuses_is_for_a_person() -> None:
    error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(PermanentError):
        materializer_on(Cells(), ScriptedConsumer()).apply([Record(None, error=error)])


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
    ],
)
def test_a_commit_for_a_partition_that_is_anothers_by_now_is_let_go(code: int) -> None:
    cells, consumer = Cells(), ScriptedConsumer()
    consumer.commit_error = KafkaError(code)
    materializer_on(cells, consumer).apply(records())
    assert "changes_by_user" in tables(cells)


def test_a_commit_that_is_refused_otherwise_ends_the_program() -> None:
    consumer = ScriptedConsumer([records()])
    consumer.commit_error = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(RetryableError):
        materializer_on(Cells(), consumer).run(lambda: False)
    assert consumer.closed


def test_the_loop_applies_batch_after_batch_and_closes() -> None:
    first, *others = records()
    consumer = ScriptedConsumer([[first], [], others])
    stops = iter([False, False, False, True])
    materializer_on(Cells(), consumer).run(lambda: next(stops))
    assert consumer.subscribed == [topics.CHANGES.name]
    assert consumer.committed == {0: 6, 1: 9}
    assert consumer.closed


def test_what_is_behind_is_counted_from_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materializer, "LAG_INTERVAL_S", 0.0)
    first, *others = records()
    stops = iter([False, True])
    materializer_on(Cells(), ScriptedConsumer([[first, *others]])).run(lambda: next(stops))
    # Of partition 0 six records of ten are done, of partition 1 nine.
    assert REGISTRY.get_sample_value("diffusion_materializer_lag_records") == 4 + 1


def test_a_commit_that_a_rebalance_refused_is_made_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(materializer, "LAG_INTERVAL_S", 0.0)

    class Rebalancing(ScriptedConsumer):
        """Refuses the first commit; reading goes on where it was. Partition 1 is another's now."""

        def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
            return [TopicPartition(place.topic, place.partition, 6) for place in places]

        def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
            if not self.refused:
                self.refused = True
                raise KafkaException(KafkaError(KafkaError.STALE_MEMBER_EPOCH))
            super().commit(offsets, asynchronous=asynchronous)

        refused = False

    consumer = Rebalancing([records()])
    stops = iter([False, False, True])
    materializer_on(Cells(), consumer).run(lambda: next(stops))
    assert consumer.committed == {0: 6}


@pytest.mark.parametrize(
    ("code", "ends"),
    [(KafkaError.REBALANCE_IN_PROGRESS, False), (KafkaError.TOPIC_AUTHORIZATION_FAILED, True)],
)
def test_a_commit_refused_for_one_partition_only_is_seen(
    monkeypatch: pytest.MonkeyPatch, code: int, ends: bool
) -> None:
    monkeypatch.setattr(materializer, "LAG_INTERVAL_S", 0.0)

    class Partly(ScriptedConsumer):
        """Refuses partition 1 once, in the answer; reading goes on where it was."""

        def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
            return [TopicPartition(p.topic, p.partition, (6, 9)[p.partition]) for p in places]

        def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
            taken = [place for place in offsets if self.told or place.partition == 0]
            super().commit(taken, asynchronous=asynchronous)
            if not self.told:
                self.told = True
                refused = SimpleNamespace(partition=1, offset=9, error=KafkaError(code))
                self.on_commit(None, [refused])

        told = False

    consumer = Partly([records()])
    stops = iter([False, False, True])
    with pytest.raises(RetryableError) if ends else nullcontext():
        materializer_on(Cells(), consumer).run(lambda: next(stops))
    assert consumer.committed == ({0: 6} if ends else {0: 6, 1: 9})


def test_a_batch_is_what_has_come_and_no_more_than_asked_for() -> None:
    cells = Cells()
    log = [Record(ReadChange(GROUP, ("ann",), seq), offset=seq) for seq in range(1, 6)]
    batches: list[int] = []

    class Counting(ScriptedConsumer):
        def commit(self, offsets: Any, *, asynchronous: bool) -> None:
            super().commit(offsets, asynchronous=asynchronous)
            batches.append(self.committed[0])

    consumer = Counting([log[:4], log[4:]])
    settings = Settings(materializer=MaterializerSettings(batch_records=3))
    stops = iter([False, False, False, False, True])
    materializer_on(cells, consumer, settings=settings).run(lambda: next(stops))
    assert batches == [4, 5, 6], "three, what was left of the first four, and the last"


def test_batches_of_one_record_are_not_waited_for() -> None:
    log = [Record(ReadChange(GROUP, ("ann",), seq), offset=seq) for seq in range(1, 3)]
    consumer = ScriptedConsumer([log])
    settings = Settings(materializer=MaterializerSettings(batch_records=1))
    stops = iter([False, True])
    materializer_on(Cells(), consumer, settings=settings).run(lambda: next(stops))
    assert consumer.committed == {0: 2}


def test_a_batch_that_fails_closes_the_consumer() -> None:
    class Broken(Cells):
        def write(self, statements: Any, *, in_flight: int) -> None:
            raise RetryableError("away")

    consumer = ScriptedConsumer([records()])
    with pytest.raises(RetryableError):
        materializer_on(Broken(), consumer).run(lambda: False)
    assert consumer.closed
    assert consumer.committed == {}


def test_a_batch_with_ids_is_told_at_info_and_one_without_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    change, context = ReadChange(GROUP, ("ann",), 1), TraceContext("a" * 32, "b" * 16, 1)
    headers = headers_of_change([Origin(context, "t/0/7")])
    traced = [Record(change, offset=3, headers=headers), Record(change, offset=4, headers=headers)]
    engine = materializer_on(Cells(), ScriptedConsumer())
    with caplog.at_level("INFO", "diffusion.materializer"):
        engine.apply([Record(change, offset=2)])
        assert caplog.records == []
        engine.apply(traced)
    (told,) = (vars(one) for one in caplog.records)
    assert told["trace_ids"] == [context.trace_id]
    assert (told["records"], told["offset"], told["topic"]) == (2, 4, topics.CHANGES.name)
    with caplog.at_level("DEBUG", "diffusion.materializer"):
        engine.apply([Record(change, offset=5)])
    assert vars(caplog.records[-1])["trace_ids"] == []
