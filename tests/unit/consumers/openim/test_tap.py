"""The loop: what is delivered, what is committed, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from prometheus_client import REGISTRY

from consumers.openim import tap
from consumers.openim.mapping import Room
from infra.kafka.delivery import NotDelivered
from schemas import dead_letters, topics
from schemas.errors import PermanentError, RetryableError
from schemas.events import MembersJoined, MembersLeft, Message
from schemas.limits import SEQ_MAX
from tests.unit.consumers.openim.support import (
    T0,
    TOPIC,
    GuestConsumer,
    Refused,
    SmallEngine,
    SourceRecord,
    delivered,
    room,
    single,
    tap_on,
    tips,
    users,
)
from tests.unit.consumers.support import Log

KICKED = tips(kickedUserList=users("ann"))


def times(count: int) -> Callable[[], bool]:
    """Stop after so many rounds."""
    stops = chain(repeat(False, count), repeat(True))
    return lambda: next(stops)


def counted(content: str, outcome: str) -> float:
    labels = {"content": content, "outcome": outcome}
    return REGISTRY.get_sample_value("diffusion_openim_records_total", labels) or 0.0


def messages(*seqs: int) -> list[SourceRecord]:
    return [SourceRecord(room(seq=seq), offset=seq) for seq in seqs]


def test_batches_are_delivered_and_then_committed() -> None:
    log = Log()
    first, last = messages(1, 2), [SourceRecord(single(seq=1), offset=6, partition=1)]
    consumer = GuestConsumer([first, last])
    tap_on(consumer, log).run(times(2))
    assert consumer.subscribed == [TOPIC]
    assert delivered(log)[:2] == [Message("sg_G", 1, "ann", T0), Message("sg_G", 2, "ann", T0)]
    assert log.flushed == len(log.records)
    assert consumer.committed == {0: 3, 1: 7}
    assert consumer.closed


def test_the_group_protocol_is_one_that_openims_broker_speaks() -> None:
    consumer = GuestConsumer()
    tap_on(consumer, Log())
    options = consumer.options
    assert (options["group.protocol"], options["auto.offset.reset"]) == ("classic", "earliest")
    assert options["enable.auto.commit"] is False


def test_what_is_not_delivered_is_not_committed() -> None:
    class Away(Log):
        def flush(self) -> None:
            raise NotDelivered("away")

    consumer = GuestConsumer([messages(1)])
    with pytest.raises(NotDelivered):
        tap_on(consumer, Away()).run(times(5))
    assert consumer.committed == {}
    assert consumer.closed


def test_a_record_that_cannot_be_used_is_a_dead_letter_and_costs_itself() -> None:
    log, before = Log(), counted("unknown", "dead")
    bad = SourceRecord(b"\xff\xff", offset=4, partition=1)
    consumer = GuestConsumer([[*messages(1), bad, *messages(2)]])
    tap_on(consumer, log).run(times(1))
    assert [event.seq for event in delivered(log) if isinstance(event, Message)] == [1, 2]
    (letter,) = [
        dead_letters.decode(value)
        for topic, _, value in log.records
        if topic == topics.dead_letters(topics.OPENIM_RECORDS)
    ]
    assert (letter.topic, letter.partition, letter.offset) == (TOPIC, 1, 4)
    assert letter.value == b"\xff\xff"
    assert counted("unknown", "dead") == before + 1
    assert consumer.committed == {0: 3, 1: 5}


def test_an_event_that_does_not_fit_is_a_dead_letter_and_the_others_are_told() -> None:
    log = Log()
    content = tips(markAsReadUserID="ann", conversationID="si_ann_bob", hasReadSeq=SEQ_MAX + 1)
    consumer = GuestConsumer([[SourceRecord(single(2200, content, seq=3))]])
    tap_on(consumer, log).run(times(1))
    assert delivered(log) == [Message("si_ann_bob", 3, "ann", T0, ("ann", "bob"))]
    assert len(log.records) == 2


def test_types_that_openim_does_not_define_are_counted_and_passed_by() -> None:
    log = Log()
    before = counted("unknown", "passed"), counted("unknown", "told"), counted("chat", "passed")
    consumer = GuestConsumer(
        [
            [
                SourceRecord(single(7777), offset=0),
                SourceRecord(single(7777, seq=1), offset=1),
                SourceRecord(single(113), offset=2),
            ]
        ]
    )
    tap_on(consumer, log).run(times(1))
    after = counted("unknown", "passed"), counted("unknown", "told"), counted("chat", "passed")
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert len(delivered(log)) == 1


def test_a_notice_without_a_copy_has_the_place_that_the_tap_saw() -> None:
    log = Log()
    notice = SourceRecord(room(1508, KICKED), offset=8)
    consumer = GuestConsumer([messages(4, 5), [notice]])
    tap_on(consumer, log).run(times(2))
    assert delivered(log)[-1] == MembersLeft("sg_G", ("ann",), 5, T0, "kick")


def test_a_tap_that_saw_nothing_delivers_and_asks_the_engine() -> None:
    log, asked = Log(), 0.0
    engine = SmallEngine(log)
    joined = SourceRecord(room(1509, tips(invitedUserList=users("ann")), seq=1), offset=1)
    consumer = GuestConsumer([[joined, *messages(2)], [SourceRecord(room(1508, KICKED), offset=3)]])
    running = tap_on(consumer, log, engine)
    asked = REGISTRY.get_sample_value("diffusion_openim_questions_total") or 0.0
    running.run(times(1))
    assert engine.room("sg_G") == Room(2, {"ann"})
    # Partitions were given out anew: what it saw is not all that there was.
    consumer.on_assign(None, [])
    running.run(times(1))
    assert delivered(log)[-1] == MembersLeft("sg_G", ("ann",), 2, T0, "kick")
    assert REGISTRY.get_sample_value("diffusion_openim_questions_total") == asked + 1


def test_a_tap_that_was_killed_repeats_and_ends_the_same() -> None:
    log = Log()
    engine = SmallEngine(log)
    told = [
        SourceRecord(room(1509, tips(invitedUserList=users("ann", "bob")), seq=1), offset=1),
        *messages(2),
        SourceRecord(room(1508, KICKED), offset=3),
        SourceRecord(room(seq=3, sender_id="bob"), offset=4),
    ]
    tap_on(GuestConsumer([told]), log, engine).run(times(1))
    repeated = len(delivered(log))
    # Killed before its commit, and it begins behind the messages that said where the notice is.
    tap_on(GuestConsumer([told[2:]]), log, engine).run(times(1))
    again = [event for event in delivered(log)[repeated:] if isinstance(event, MembersLeft)]
    assert [event.conversation_id for event in again] == ["n_G"], "nobody leaves sg_G once more"


@pytest.mark.parametrize("code", [KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION])
def test_a_commit_that_a_rebalance_refuses_is_made_again(code: int) -> None:
    consumer = GuestConsumer([messages(1)])
    consumer.refusals = [KafkaException(KafkaError(code))]
    tap_on(consumer, Log()).run(times(2))
    assert consumer.committed == {0: 2}


def test_a_commit_refused_for_one_partition_is_made_again_for_that() -> None:
    consumer = GuestConsumer([[*messages(1), SourceRecord(single(seq=1), 4, partition=1)]])
    consumer.refusals = [lambda _: [Refused(1, KafkaError.REBALANCE_IN_PROGRESS)]]
    tap_on(consumer, Log()).run(times(2))
    assert consumer.committed == {1: 5}, "partition 0 was taken by the first"


def test_what_is_owed_of_a_partition_that_went_is_let_go() -> None:
    consumer = GuestConsumer([messages(1)])
    consumer.refusals = [KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))]
    running = tap_on(consumer, Log())
    running.run(times(1))
    consumer.on_revoke(None, [TopicPartition(TOPIC, 0)])
    running.run(times(1))
    assert consumer.committed == {}


def test_a_record_whose_partition_goes_while_the_others_come_is_left_to_who_has_it_now() -> None:
    log = Log()

    class Moving(GuestConsumer):
        def consume(self, number: int, timeout: float) -> list[SourceRecord]:
            if timeout == tap.GATHER_S:
                self.on_revoke(None, [TopicPartition(TOPIC, 0)])
            return super().consume(number, timeout)

    consumer = Moving([[*messages(1), SourceRecord(single(seq=1), 4, partition=1)]])
    tap_on(consumer, log).run(times(1))
    assert delivered(log) == [Message("si_ann_bob", 1, "ann", T0, ("ann", "bob"))]
    assert consumer.committed == {1: 5}


def test_a_commit_that_is_refused_otherwise_ends_the_program() -> None:
    consumer = GuestConsumer([messages(1)])
    consumer.refusals = [KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))]
    with pytest.raises(RetryableError, match="does not take commits"):
        tap_on(consumer, Log()).run(times(2))
    assert consumer.closed


def test_news_of_the_connection_is_no_record_and_a_refusal_is_for_a_person() -> None:
    news = SourceRecord(None, error=KafkaError(KafkaError._ALL_BROKERS_DOWN))
    consumer = GuestConsumer([[news], messages(1)])
    tap_on(consumer, Log()).run(times(2))
    assert consumer.committed == {0: 2}
    refused = SourceRecord(None, error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(PermanentError, match="refuses the tap"):
        tap_on(GuestConsumer([[refused]]), Log()).run(times(1))


def test_lag_and_age_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "LAG_INTERVAL_S", 0.0)
    consumer = GuestConsumer([messages(1, 2, 3)])
    ages: list[Any] = []

    class Looking(Log):
        def flush(self) -> None:
            ages.append(REGISTRY.get_sample_value("diffusion_openim_oldest_untold_seconds"))

    tap_on(consumer, Looking()).run(times(1))
    assert REGISTRY.get_sample_value("diffusion_openim_lag_records") == 10 - 4
    assert ages == [5.0], "while a batch waits its age shows"


def test_batches_are_no_larger_than_asked_for() -> None:
    log = Log()
    consumer = GuestConsumer([messages(1, 2, 3)])
    tap_on(consumer, log, batch_records=2).run(times(1))
    assert consumer.committed == {0: 3}
    assert [type(event) for event in delivered(log)] == [Message, Message]


def test_joins_hide_history_if_openim_does() -> None:
    log = Log()
    joined = SourceRecord(room(1509, tips(invitedUserList=users("ann")), seq=9), offset=1)
    tap_on(GuestConsumer([[joined]]), log, history=False).run(times(1))
    assert MembersJoined("sg_G", ("ann",), 8, T0, history=False) in delivered(log)
