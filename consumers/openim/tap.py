"""The tap's loop: take a batch of OpenIM's records, tell the events, deliver them, then commit.

Crash points:
* before the events are delivered: nothing happened, the batch is taken again.
* after that, before the commit: the batch is told again, and after it what followed. The engine
  takes every event any number of times; why it ends the same is with the rules, in `mapping`.
OpenIM's Kafka may be another cluster than ours, so no transaction can hold both together. What is
lost by that: a tap that stands still as a whole process for longer than its session, in the middle
of a batch, and then goes on, may tell old membership notices after another tap told newer ones.

The sequences that were seen are forgotten with every assignment: another tap may have seen more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from consumers.openim import wire
from consumers.openim.content_types import Content, content_of
from consumers.openim.known import Seen
from consumers.openim.mapping import Room, translate
from consumers.openim.outbox import Outbox
from infra import metrics, tracing
from infra.backlog import LAG_INTERVAL_S, Backlog
from infra.clock import Clock, monotonic_s
from infra.kafka.config import HEARD, guest
from infra.kafka.delivery import Delivery
from infra.kafka.reading import MOVED, behind, usable
from infra.settings import Settings
from schemas import dead_letters, topics
from schemas.errors import DecodeError, RetryableError

log = logging.getLogger("diffusion.openim")

GATHER_S: Final = 0.005
"""Waited for what belongs to the first record of a batch."""


class Tap:
    """Blocking; one thread. `ask` answers for the engine (`known.Engine`); `made`: the consumer of
    some options, confluent-kafka's if nothing is said.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        delivery: Delivery,
        ask: Callable[[str], Room],
        clock: Clock,
        made: Callable[[dict[str, Any]], Consumer] | None = None,
    ) -> None:
        self._settings = settings.openim
        self._outbox = outbox
        self._delivery = delivery
        self._engine = ask
        self._clock = clock
        self._seen = Seen()
        self._done: dict[int, int] = {}
        self._gone: set[int] = set()
        self._backlog = Backlog(
            metrics.openim_lag_records, metrics.openim_oldest_untold_seconds, clock
        )
        self._lag_due_s = 0.0
        options = guest(settings.openim, "diffusion-openim-tap")
        self._consumer = (made or Consumer)(options | HEARD)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop`; raises what ends the program, with nothing committed for it."""
        self._consumer.subscribe(
            [self._settings.topic], on_assign=self._on_assign, on_revoke=self._on_revoke
        )
        try:
            while not should_stop():
                messages = self._take()
                if messages:
                    self.apply(messages)
                self._commit()
                self._note_lag()
        finally:
            self._consumer.close()

    def ping(self, timeout_s: float) -> None:
        """Ask OpenIM's Kafka for its topics; raises `RetryableError` when no broker answers. From
        any thread.
        """
        try:
            self._consumer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise RetryableError(
                f"OpenIM's Kafka does not answer: {error.args[0].str()}"
            ) from error

    def _take(self) -> list[Message]:
        """Wait for a record, then take what came with it. Until the next call all of it is ours:
        partitions go only within calls of the consumer, and with them what was taken before.
        """
        taken = self._consumer.consume(1, timeout=self._settings.batch_wait_s)
        if taken and self._settings.batch_records > 1:
            self._gone.clear()
            more = self._consumer.consume(self._settings.batch_records - 1, timeout=GATHER_S)
            taken = [one for one in taken if one.partition() not in self._gone] + more
        return [message for message in taken if usable(message, "the tap")]

    def apply(self, messages: Sequence[Message]) -> None:
        """Tell a batch and deliver it; `_commit` commits it."""
        about = tracing.about_batch(self._settings.topic, len(messages))
        with tracing.spans().batch(f"tell {self._settings.topic}", (), about):
            self._apply(messages)

    def _apply(self, messages: Sequence[Message]) -> None:
        started = monotonic_s()
        # A producer that stamps nothing leaves -1.
        appended_ms = [
            at_ms if at_ms > 0 else self._clock() for _, at_ms in map(_timestamp, messages)
        ]
        self._backlog.took(min(appended_ms))
        for message in messages:
            self._tell(message)
        self._outbox.send()
        for message in messages:
            partition, offset = _place(message)
            self._done[partition] = max(offset + 1, self._done.get(partition, 0))
        self._backlog.done(max(appended_ms))
        metrics.openim_batch_records.observe(len(messages))
        metrics.openim_batch_seconds.observe(monotonic_s() - started)

    def _tell(self, message: Message) -> None:
        """One record: its events into the outbox, and a dead letter if a part of it is none."""
        try:
            record = wire.decode(message.value())
        except DecodeError as error:
            self._bury(message, [str(error)])
            metrics.openim_records.labels(Content.UNKNOWN.value, "dead").inc()
            return
        told = translate(record, self, history=self._settings.history_for_new_members)
        if record.seq > 0:
            self._seen.note(record.conversation_id, record.seq)
        for event in told.events:
            try:
                self._outbox.add(event)
            except DecodeError as error:
                told.problems.append(str(error))
            else:
                metrics.openim_events.labels(str(event.__struct_config__.tag)).inc()
        if told.problems:
            self._bury(message, told.problems)
        outcome = "dead" if told.problems else "told" if told.events else "passed"
        metrics.openim_records.labels(content_of(record.content_type).value, outcome).inc()

    # What the rules ask for (`mapping.Known`).

    def last_seq(self, conversation_id: str) -> int | None:
        """The greatest sequence seen of a conversation."""
        return self._seen.last_seq(conversation_id)

    def ask(self, conversation_id: str) -> Room:
        """Deliver what was told so far, and ask the engine."""
        metrics.openim_questions.inc()
        self._outbox.send()
        return self._engine(conversation_id)

    def _bury(self, message: Message, problems: Sequence[str]) -> None:
        partition, offset = _place(message)
        dead = dead_letters.letter(
            (message.topic() or "", partition, offset),
            None,
            "; ".join(problems),
            message.value() or b"",
            self._clock(),
        )
        topic = topics.dead_letters(topics.OPENIM_RECORDS)
        self._delivery.produce(topic, 0, dead_letters.encode(dead))

    def _commit(self) -> None:
        """Commit what is delivered. What a rebalance refuses is owed, and tried again for as long
        as the partition is ours.
        """
        if not self._done:
            return
        offsets = [
            TopicPartition(self._settings.topic, partition, offset)
            for partition, offset in self._done.items()
        ]
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False) or ()
        except KafkaException as error:
            errors = dict.fromkeys(self._done, error.args[0])
        else:
            errors = {one.partition: one.error for one in answers if one.error is not None}
        for refusal in errors.values():
            log.warning("offsets were not committed: %s", refusal.str())
            if not refusal.retriable() and refusal.code() not in MOVED:
                raise RetryableError(f"Kafka does not take commits: {refusal.str()}")
        self._keep(errors.keys())

    def _keep(self, partitions: AbstractSet[int]) -> None:
        """What is owed of these partitions stays owed."""
        self._done = {one: offset for one, offset in self._done.items() if one in partitions}

    def _on_assign(self, _consumer: Consumer, _places: Sequence[TopicPartition]) -> None:
        self._seen.forget()

    def _on_revoke(self, _consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        gone = {place.partition for place in places}
        self._gone |= gone
        self._keep(self._done.keys() - gone)

    def _note_lag(self) -> None:
        now_s = monotonic_s()
        if now_s < self._lag_due_s:
            return
        self._lag_due_s = now_s + LAG_INTERVAL_S
        places = self._consumer.position(self._consumer.assignment())
        self._backlog.left(behind(self._consumer, places))


def _place(message: Message) -> tuple[int, int]:
    return message.partition() or 0, message.offset() or 0


def _timestamp(message: Message) -> tuple[int, int]:
    return message.timestamp()
