"""The materializer's loop: take a batch, fold it, write it, then commit. One batch at a time.

Crash points:
* before the first write: nothing happened, the batch is taken again.
* between the writes: log positions and inboxes may be ahead of the index. A reader does not see a
  change early (the index points at it only later); a full correction may, which is harmless.
* among the index writes: some users see the whole batch, others nothing of it yet. The replay folds
  perhaps other batches, but writes the same cells with the same stamps.
* after the writes, before the commit: the replay changes nothing.
The next batch is taken only when all rows of this one are acknowledged by a quorum, so a version
that is readable means that every smaller version of that user is too, or is superseded. A
materializer that lost its partitions without knowing writes what its successor writes too.

State comes before the index that points at it: positions, inboxes, the lists beside them and module
rows are acknowledged before the first index row is sent, because readers go the other way, from the
index to the state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumers import statements
from consumers.coalesce import Fold
from infra import metrics, tracing
from infra.backlog import LAG_INTERVAL_S, Backlog
from infra.cassandra import log_positions
from infra.cassandra.grouping import together
from infra.cassandra.session import Session
from infra.cassandra.topic_epochs import Epoch
from infra.clock import Clock, monotonic_s
from infra.kafka.config import HEARD, consumer
from infra.kafka.dead_share import DeadShare
from infra.kafka.delivery import Delivery
from infra.kafka.reading import MOVED, behind, usable
from infra.settings import Settings
from schemas import dead_letters, topics
from schemas.codec import decode_change
from schemas.dead_letters import DeadLetter
from schemas.errors import DecodeError, NewerRecordError, PermanentError, RetryableError
from schemas.trace_context import LINKS_MAX, Collected, TraceContext, contexts_of, given_headers
from schemas.versions import version_of, window_start

log = logging.getLogger("diffusion.materializer")

TTL_MIN_S: Final = 1

DEAD_SHARE_SETTING: Final = "DIFFUSION_MATERIALIZER_DEAD_SHARE_MAX"

GATHER_S: Final = 0.005
"""Waited for what belongs to the first record of a batch: a batch of a stream worker goes to many
partitions, whose records arrive one after the other within some milliseconds."""


class Materializer:
    """Applies the change log to Cassandra. Blocking; one thread. `made`: the consumer of some
    options, confluent-kafka's if nothing is said.
    """

    def __init__(
        self,
        settings: Settings,
        session: Session,
        epoch: Epoch,
        delivery: Delivery,
        clock: Clock,
        made: Callable[[dict[str, Any]], Consumer] | None = None,
    ) -> None:
        self._settings = settings.materializer
        self._session = session
        self._epoch = epoch
        self._delivery = delivery
        self._clock = clock
        self._backlog = Backlog(
            metrics.materializer_lag_records, metrics.materializer_oldest_unapplied_seconds, clock
        )
        self._lag_due_s = 0.0
        self._dead_share = DeadShare(
            topics.CHANGES.name, self._settings.dead_share_max, DEAD_SHARE_SETTING
        )
        self.batches = 0
        """Finished so far."""
        self.assigned: frozenset[int] = frozenset()
        """Partitions, as of the last second."""
        self._owed: dict[int, int] = {}
        self._refusal: KafkaError | None = None
        self._ttl_s = max(TTL_MIN_S, settings.log.retention_ms // 1_000)
        options = consumer(
            settings.kafka,
            "diffusion-materializer",
            settings.kafka.materializer_group,
            settings.materializer.instance_id,
        )
        self._consumer = (made or Consumer)(options | HEARD | {"on_commit": self._on_commit})

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop`; raises what cannot be retried, with nothing committed for
        it.
        """
        self._consumer.subscribe([topics.CHANGES.name])
        try:
            while not should_stop():
                messages = self._take()
                if messages:
                    self.apply(messages)
                self._raise_if_refused()
                self._note_lag()
        finally:
            self._consumer.close()

    def _take(self) -> list[Message]:
        """Wait for a record, then take what came with it. No batch waits until it is full: while
        one is written the next one gathers, so that under load they are large by themselves.
        """
        taken = self._consumer.consume(1, timeout=self._settings.batch_wait_s)
        if taken and len(taken) < self._settings.batch_records:
            more = self._settings.batch_records - len(taken)
            taken += self._consumer.consume(more, timeout=GATHER_S)
        return taken

    def apply(self, messages: Sequence[Message]) -> None:
        """Apply one batch and commit it."""
        good = [message for message in messages if usable(message, "the materializer")]
        if not good:
            return
        contexts = _contexts(good)
        about = tracing.about_batch(topics.CHANGES.name, len(good))
        with tracing.spans().batch(f"apply {topics.CHANGES.name}", contexts, about):
            self._apply(good, contexts)

    def _apply(self, good: Sequence[Message], contexts: Sequence[TraceContext]) -> None:
        started = monotonic_s()
        appended_ms = [message.timestamp()[1] for message in good]
        self._backlog.took(min(appended_ms))
        fold, dead = Fold(), list[DeadLetter]()
        for message in good:
            self._add(fold, message, dead)
        self._dead_share.add(len(good) - len(dead), [one.reason for one in dead])
        self._put_aside(dead)
        reached = _last_offsets(good)
        self._write(fold, reached)
        self._delivery.flush()
        self._commit(reached)
        self.batches += 1
        self._backlog.done(max(appended_ms))
        self._count(fold, good)
        metrics.materializer_change_age_seconds.observe(
            max(0, self._clock() - min(appended_ms)) / 1_000
        )
        metrics.materializer_batch_seconds.observe(monotonic_s() - started)
        _say(good, fold, dead, contexts)
        tracing.spans().note({"diffusion.marks": fold.marks, "diffusion.rows": len(fold.rows)})

    def _add(self, fold: Fold, message: Message, dead: list[DeadLetter]) -> None:
        partition, offset = message.partition() or 0, message.offset() or 0
        stamped_by, at_ms = message.timestamp()
        if stamped_by != TIMESTAMP_LOG_APPEND_TIME:
            raise PermanentError(
                f"Records of {topics.CHANGES.name} are not stamped by the broker. Set its "
                "message.timestamp.type to LogAppendTime."
            )
        try:
            change = decode_change(message.value())
        except NewerRecordError as error:
            # No dead letter: only our own workers write here, so this one is good, and newer than
            # this program. Its partition waits; nothing of it is lost or told out of its place, and
            # a materializer that knows the version goes on from here.
            raise PermanentError(
                f"Record {offset} of partition {partition} of {topics.CHANGES.name} cannot be "
                f"applied: {error}. Nothing was lost: its partition waits for that."
            ) from error
        except DecodeError as error:
            source = (topics.CHANGES.name, partition, offset)
            value = message.value() or b""
            dead.append(dead_letters.letter(source, None, str(error), value, self._clock()))
            return
        version = version_of(self._epoch.epoch, offset)
        fold.add(change, version, window_start(at_ms, self._epoch.window_ms))

    def _put_aside(self, dead: Sequence[DeadLetter]) -> None:
        for one in dead:
            topic = topics.dead_letters(topics.CHANGES.name)
            self._delivery.produce(topic, 0, dead_letters.encode(one))
        metrics.materializer_dead_letters.inc(len(dead))

    def _write(self, fold: Fold, reached: dict[int, tuple[int, int]]) -> None:
        session, settings = self._session, self._settings
        positions = [
            log_positions.reached(session, self._epoch.epoch, partition, offset, at_ms)
            for partition, (offset, at_ms) in reached.items()
        ]
        # Of one partition of Cassandra's, so one write for it however many they are.
        where = together(session, positions)
        in_flight = settings.statements_in_flight
        state = statements.grouped(
            session, statements.state(session, fold, self._ttl_s), settings.rows_per_statement
        )
        session.write([where, *(one for found in state for one in found)], in_flight=in_flight)
        index = statements.index(session, fold, self._ttl_s)
        for found in statements.grouped(session, index, settings.rows_per_statement):
            session.write(found, in_flight=in_flight)

    def _commit(self, reached: dict[int, tuple[int, int]]) -> None:
        offsets = [
            TopicPartition(topics.CHANGES.name, partition, offset + 1)
            for partition, (offset, _) in reached.items()
        ]
        # Not waited for: the rows are written, and the next batch may begin. What came of it is
        # told to `_on_commit`, within a later call of the consumer.
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._refused(offsets, error.args[0])

    def _on_commit(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        if error is not None:
            self._refused(places, error)
            return
        for place in places:
            # Some of the partitions may be refused while the request as a whole is not.
            if place.error is not None:
                self._refused([place], place.error)

    def _refused(self, places: Sequence[TopicPartition], error: KafkaError) -> None:
        """The rows are written; whoever has the partitions next writes them again."""
        log.warning("offsets were not committed: %s", error.str())
        self._owed |= {place.partition: place.offset for place in places}
        if not error.retriable() and error.code() not in MOVED:
            self._refusal = error

    def _raise_if_refused(self) -> None:
        if self._refusal is not None:
            raise RetryableError(f"Kafka does not take commits: {self._refusal.str()}")

    def _note_lag(self) -> None:
        now_s = monotonic_s()
        if now_s < self._lag_due_s:
            return
        self._lag_due_s = now_s + LAG_INTERVAL_S
        places = self._consumer.position(self._consumer.assignment())
        self.assigned = frozenset(place.partition for place in places)
        self._commit_owed(places)
        self._backlog.left(behind(self._consumer, places))

    def _commit_owed(self, places: Sequence[TopicPartition]) -> None:
        """Commit once more what a rebalance refused, of partitions that stayed and have not moved
        on since: without another record nobody else would, and what waits for the commit (pokes,
        and whoever looks at the lag) would wait for ever.
        """
        owed, self._owed = self._owed, {}
        reached = {
            place.partition: (place.offset - 1, 0)
            for place in places
            if owed.get(place.partition) == place.offset
        }
        if reached:
            self._commit(reached)

    def _count(self, fold: Fold, good: Sequence[Message]) -> None:
        metrics.materializer_records.inc(len(good))
        metrics.materializer_marks.inc(fold.marks)
        metrics.materializer_rows.labels("changes_by_user").inc(len(fold.rows))
        metrics.materializer_rows.labels("inbox").inc(len(fold.inbox))
        metrics.materializer_rows.labels("module_changes_by_user").inc(len(fold.modules))
        written = len(fold.rows) + len(fold.modules)
        metrics.materializer_coalesced.inc(max(0, fold.marks - written))
        metrics.materializer_batch_records.observe(len(good))


def _contexts(messages: Sequence[Message]) -> tuple[TraceContext, ...]:
    """Of the writes that a batch was made of, where they have one."""
    found = Collected(LINKS_MAX)
    for message in messages:
        if (headers := given_headers(message.headers)) is not None:
            found.extend(contexts_of(headers))
    return found.found()


def _say(
    good: Sequence[Message],
    fold: Fold,
    dead: Sequence[DeadLetter],
    contexts: Sequence[TraceContext],
) -> None:
    """A line for each batch with correlation ids, where INFO is logged; for others, where DEBUG."""
    level = logging.INFO if contexts else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    last = good[-1]
    told = {
        "topic": topics.CHANGES.name,
        "partition": last.partition(),
        "offset": last.offset(),
        "records": len(good),
        "marks": fold.marks,
        "rows": len(fold.rows),
        "dead_letters": len(dead),
        "trace_ids": [one.trace_id for one in contexts],
    }
    log.log(level, "a batch is applied", extra=told)


def _last_offsets(messages: Sequence[Message]) -> dict[int, tuple[int, int]]:
    """Greatest offset and its append time, by partition."""
    last: dict[int, tuple[int, int]] = {}
    for message in messages:
        partition = message.partition() or 0
        reached = (message.offset() or 0, message.timestamp()[1])
        last[partition] = max(last.get(partition, reached), reached)
    return last
