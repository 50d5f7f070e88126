"""The Faust app, used the one safe way.

Faust acknowledges a record when an agent's loop moves on, also after an exception, and forgets
what a restarted agent had taken. So here: raw bytes in; one agent a topic, `concurrency=1`;
`noack_take`; all effects done; then `ack` in order. The next batch is gathered while one is worked
on (`streams.ahead`), and begun when that is acknowledged. No exception is survived: the process
ends with `EXIT_RESTART`, nothing of the batch is committed, and a supervisor starts it anew. No
tables, so that a rebalance never waits for a recovery; `stream_wait_empty=False`, because a
rebalance that waits for Cassandra would throw the worker out of its group, and a batch finished, or
begun, by a worker that already lost its partitions only writes what its successor writes too.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import tempfile
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, cast

import faust
from faust.types import EventT

from infra import metrics
from infra.backlog import LAG_INTERVAL_S, Backlog
from infra.cassandra.session import Session
from infra.cassandra.topic_epochs import Epoch
from infra.clock import now_ms
from infra.ending import end_at_once
from infra.kafka.dead_share import DeadShare, TooManyDead
from infra.kafka.delivery import Delivery
from infra.probes import Check, servers
from infra.settings import PolicySettings, Settings
from infra.standing import Standing
from infra.standstill import Done, Watchdog
from schemas import topics
from schemas.errors import PermanentError, RetryableError
from schemas.trace_context import contexts_of
from streams.activity import Costs
from streams.ahead import Ahead
from streams.cache import ConversationCache
from streams.credentials import credentials
from streams.pace import Pace
from streams.policy import Rules
from streams.progress import Consumer, Progress
from streams.sink import Sink
from streams.sweep import Sweep
from streams.transport import gathering
from streams.worker import ConversationPipeline, Pipeline, SourceRecord, UserPipeline

log = logging.getLogger("diffusion.streams")

COMMIT_INTERVAL_S: Final = 1.0
"""Bounds what a crash repeats."""

BUFFERED_RECORDS: Final = 512
"""Records waiting per agent: the next batch (`stream.batch_records`) comes while one is worked on.
Faust's default of 4,096 is meant for single events; ours are arrays of up to 500, some 60 KB each.
"""

BATCH_BYTES_MAX: Final = 2_000_000
"""A batch is cut where its records exceed this: some 20,000 events, whose effects stay under 100
MB. A single record may be larger than the rest of it, and is then a batch of its own. At half of
it, 500 records of twenty messages were cut in two, and 2,000 chats took 1.8 times as many writes.
"""

FETCH_BYTES_MAX: Final = 1_048_576

POLL_INTERVAL_S: Final = 86_400.0
"""Longest time without a fetch, after which aiokafka leaves the group, and does not join again: a
rebalance waits for a fetch then, and the fetch for the rebalance. A batch may take minutes, and
waits as long as Cassandra is away; what stands still is `infra.standstill`'s to tell.
"""


class Worker:
    """The app, and what those who look after it ask for."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self.app = _app(settings)
        self._settings = settings
        self._session = session
        self.works: list[Work] = []
        self.deliveries: list[Delivery] = []
        self._standing = Standing()

    def delivery(self, name: str) -> Delivery:
        """Make a producer."""
        made = Delivery(self._settings.kafka, f"diffusion-streams-{name}")
        self.deliveries.append(made)
        return made

    def checks(self) -> dict[str, Check]:
        """What must answer for the worker to be ready."""
        return servers(self.deliveries[0], self._session) | {"dead letters": self._standing.check}

    async def stand(self, refusal: TooManyDead) -> None:
        """Stand until the process is told to end."""
        self._standing.begin(refusal)
        await asyncio.Event().wait()

    def watch(self) -> None:
        """Begin to look whether the worker stands still."""
        kafka = self._settings.kafka
        dog = Watchdog(kafka, kafka.stream_group, self._assigned, self._done)
        dog.start(self._settings.stream.standstill_s)

    def _assigned(self) -> dict[str, frozenset[int]] | None:
        if self._standing:
            return None
        return {work.topic: work.assigned for work in self.works}

    def _done(self) -> Done:
        delivered = sum(delivery.delivered for delivery in self.deliveries)
        batches = sum(work.batches for work in self.works)
        return Done(batches, self._session.acknowledged + delivered + batches)


def build(settings: Settings, session: Session, epochs: dict[str, Epoch]) -> Worker:
    """Assemble the worker. `epochs` holds those of all three topics."""
    _require_compiled_faust()
    worker = Worker(settings, session)
    app = worker.app
    rules = rules_of(settings.policy, epochs[topics.CHANGES.name].window_ms)
    partitions = epochs[topics.CHANGES.name].partitions
    cache = ConversationCache(
        session, settings.stream.cached_members_max, settings.stream.cached_packed_mb * 2**20
    )

    conversations = ConversationPipeline(
        _sink(worker, settings, session, "conversations"),
        epochs,
        now_ms,
        cache=cache,
        partitions=partitions,
        rules=rules,
        dead_share=_dead_share(settings, topics.CONVERSATION_WRITES.name),
    )
    users = UserPipeline(
        _sink(worker, settings, session, "users"),
        epochs,
        now_ms,
        partitions=partitions,
        rules=rules,
        dead_share=_dead_share(settings, topics.USER_WRITES.name),
    )
    _agent(worker, settings, conversations)
    _agent(worker, settings, users)
    source = epochs[topics.CONVERSATION_WRITES.name]
    sweep = Sweep(session, worker.delivery("sweep"), rules, source.partitions, now_ms)

    async def on_revoked(*_: Any, **__: Any) -> None:
        metrics.stream_rebalances.inc()
        cache.drop()
        sweep.revoked()

    app.on_partitions_revoked.connect(on_revoked, weak=False)
    _task(app, sweep, settings.policy.sweep_seconds)
    return worker


def rules_of(settings: PolicySettings, window_ms: int) -> Rules:
    """The policy's rules by the settings, for an epoch whose windows are `window_ms` long."""
    return Rules(
        members_max=settings.members_max,
        members_return=settings.members_return,
        small_members=settings.small_members,
        rows_per_second_max=settings.rows_per_second_max,
        dwell_s=settings.dwell_seconds,
        costs=Costs(
            row_cost=settings.row_cost,
            mark_cost=settings.mark_cost,
            check_cost=settings.check_cost,
            sync_rate=settings.sync_rate_per_hour / 3_600,
            window_ms=window_ms,
        ),
    )


def _sink(worker: Worker, settings: Settings, session: Session, name: str) -> Sink:
    pace = Pace(settings.policy.rows_per_second_max)
    return Sink(session, worker.delivery(name), now_ms, pace)


def _dead_share(settings: Settings, topic: str) -> DeadShare:
    return DeadShare(topic, settings.stream.dead_share_max, "DIFFUSION_STREAM_DEAD_SHARE_MAX")


def run(worker: Worker) -> None:
    """Run until a signal; ends the process."""
    # It would put handlers of its own in place of those of `infra.logs`.
    runner = faust.Worker(worker.app, override_logging=False, quiet=True, redirect_stdouts=False)
    # Nor its sign of life for terminals, of which it writes a part to files: that is no JSON.
    runner.spinner = None
    runner.execute_from_commandline()


def _app(settings: Settings) -> faust.App:
    servers = settings.kafka.bootstrap_servers.replace(",", ";")
    app = faust.App(
        settings.kafka.stream_group,
        # Faust makes a folder for its tables, also when it has none: not in the current one.
        datadir=tempfile.gettempdir(),
        broker=f"kafka://{servers}",
        broker_credentials=credentials(settings.kafka),
        key_serializer="raw",
        value_serializer="raw",
        stream_wait_empty=False,
        stream_buffer_maxsize=BUFFERED_RECORDS,
        consumer_group_instance_id=settings.stream.instance_id or None,
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_session_timeout=settings.kafka.session_timeout_s,
        broker_heartbeat_interval=settings.kafka.session_timeout_s / 3,
        broker_max_poll_interval=POLL_INTERVAL_S,
        broker_request_timeout=max(90.0, settings.kafka.session_timeout_s * 2),
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES_MAX,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.transport = gathering(app, settings.stream.batch_wait_s / 2)
    return app


class Work:
    """What one agent does with the records of its topic."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline[Any],
        stand: Callable[[TooManyDead], Awaitable[None]],
    ) -> None:
        self._stand = stand
        self._records_max = settings.stream.batch_records
        self._wait_s = settings.stream.batch_wait_s
        self.topic = topic = pipeline.topic
        self.batches = 0
        """Finished so far."""
        self.assigned: frozenset[int] = frozenset()
        """Partitions, as of the last second."""
        self._pipeline = pipeline
        self._backlog = Backlog(
            metrics.stream_lag_records.labels(topic),
            metrics.stream_oldest_undone_seconds.labels(topic),
            now_ms,
        )
        self._progress = Progress(topic)

    async def consume(self, stream: Any) -> None:  # StreamT does not declare noack_take
        """The agent: gather, while another task works."""
        batches: AsyncIterable[list[EventT[bytes]]] = stream.noack_take(
            self._records_max, within=self._wait_s
        )
        ahead = Ahead[EventT[bytes]](self._records_max)
        working = asyncio.create_task(self._work(ahead, stream))
        try:
            async for batch in batches:
                await ahead.put(batch)
        finally:
            working.cancel()

    async def _work(self, ahead: Ahead[EventT[bytes]], stream: Any) -> None:
        try:
            while True:
                for part in _cut(await ahead.take()):
                    await self._finish(part, stream)
        except TooManyDead as refusal:
            await self._stand(refusal)
        except Exception:
            log.critical("a batch of %s could not be finished", self.topic, exc_info=True)
            end_at_once()

    async def _finish(self, part: Sequence[EventT[bytes]], stream: Any) -> None:
        records = [_record(event) for event in part]
        self._backlog.took(min(record.at_ms for record in records))
        await self._pipeline.process(records)
        for event in part:
            await stream.ack(event)
        self._backlog.done(max(record.at_ms for record in records))
        self._progress.finished(records)
        self.batches += 1

    async def count(self, app: faust.App) -> None:
        """Tell again and again how many records are not done."""
        while True:
            await asyncio.sleep(LAG_INTERVAL_S)
            consumer = cast(Consumer, app.consumer)  # ConsumerT does not declare _commit
            mine = (tp for tp in consumer.assignment() if tp.topic == self.topic)
            self.assigned = frozenset(tp.partition for tp in mine)
            self._backlog.left(await self._progress.look(consumer))


def _agent(worker: Worker, settings: Settings, pipeline: Pipeline[Any]) -> None:
    app, topic = worker.app, pipeline.topic
    source = app.topic(topic, value_type=bytes, value_serializer="raw", key_serializer="raw")
    work = Work(settings, pipeline, worker.stand)
    worker.works.append(work)

    async def counting() -> None:
        await work.count(app)

    app.agent(source, name=f"diffuse-{topic}", concurrency=1)(work.consume)
    app.task(counting)


def _task(app: faust.App, sweep: Sweep, interval_s: float) -> None:
    topic = topics.CONVERSATION_WRITES.name

    def owned() -> set[int]:
        return {tp.partition for tp in app.consumer.assignment() if tp.topic == topic}

    async def sweeping() -> None:
        while True:
            try:
                await sweep.run(owned, interval_s)
            except RetryableError:
                log.warning("a sweep was cut short; the next one goes on", exc_info=True)
            except Exception:
                log.critical("the sweep cannot go on", exc_info=True)
                end_at_once()

    app.task(sweeping)


def _cut(batch: Sequence[EventT[bytes]]) -> Iterator[list[EventT[bytes]]]:
    """Cut a batch into parts of at most `BATCH_BYTES_MAX`, in order, at least one record each."""
    part: list[EventT[bytes]] = []
    size = 0
    for event in batch:
        length = len(event.message.value or b"")
        if part and size + length > BATCH_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(event)
        size += length
    if part:
        yield part


def _record(event: EventT[bytes]) -> SourceRecord:
    message = event.message
    return SourceRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        at_ms=int(message.timestamp * 1_000) if message.timestamp else now_ms(),
        value=message.value,
        contexts=contexts_of(message.headers) if message.headers else (),
    )


def _require_compiled_faust() -> None:
    """Refuse Faust's pure-Python stream loop, which acknowledges records nobody has seen after a
    rebalance; the compiled one, in every published wheel, does not.
    """
    if importlib.util.find_spec("faust._cython.streams") is None or os.environ.get("NO_CYTHON"):
        raise PermanentError(
            "This Faust has no compiled stream loop, and its pure-Python one can lose records in a "
            "rebalance. Install the faust-streaming wheel, and unset NO_CYTHON."
        )
