"""One batch of source records from bytes to effects: decode, load, diffuse, apply, count.

Knows nothing of Faust. `process` returns only when every effect is done; then, and only then, may
the records be acknowledged.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from infra import metrics, tracing
from infra.cassandra.topic_epochs import Epoch
from infra.clock import Clock, monotonic_s
from infra.kafka.dead_share import DeadShare
from schemas import topics
from schemas.changes import Change, MessageChange, ModuleChange
from schemas.codec import CONVERSATION_EVENTS, USER_EVENTS, EventDecoder
from schemas.dead_letters import DeadLetter, letter
from schemas.events import ConversationEvent, UserEvent
from schemas.trace_context import TraceContext, place
from schemas.versions import stamp_of, version_of
from streams.cache import ConversationCache
from streams.diffusion import Diffusion
from streams.effects import Effects
from streams.origins import Written, by_key, of_batch
from streams.policy import Rules
from streams.sink import Sink

log = logging.getLogger("diffusion.streams")

E = TypeVar("E")


class SourceRecord(Struct, frozen=True, gc=False):
    """A record of a write topic."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    value: bytes | None
    contexts: tuple[TraceContext, ...] = ()
    """Of the writes that it was made of, where they have one."""


class Stamped(Struct, Generic[E], frozen=True):
    """An event with its stamp and the time of its record."""

    event: E
    stamp: int
    at_ms: int


class Pipeline(Generic[E]):
    """What both write topics share: decoding, dead letters, counting."""

    topic: str
    decoder: EventDecoder[E]

    def __init__(
        self,
        sink: Sink,
        epochs: Mapping[str, Epoch],
        clock: Clock,
        dead_share: DeadShare | None = None,
    ) -> None:
        self._sink = sink
        self._epochs = epochs
        self._clock = clock
        self._dead_share = dead_share

    async def process(self, records: Sequence[SourceRecord]) -> None:
        """Do all that these records of `topic` ask for. Raises what the sink raises, and
        `TooManyDead` before anything is done; nothing is half counted.
        """
        contexts = of_batch(records)
        about = tracing.about_batch(self.topic, len(records))
        with tracing.spans().batch(f"diffuse {self.topic}", contexts, about):
            await self._process(records, contexts)

    async def _process(
        self, records: Sequence[SourceRecord], contexts: Sequence[TraceContext]
    ) -> None:
        started = monotonic_s()
        stamped: list[Stamped[E]] = []
        dead: list[DeadLetter] = []
        written: list[Written] = []
        for record in records:
            first = len(stamped)
            self._decode(record, stamped, dead)
            if record.contexts:
                written.append(self._written(record, stamped[first:]))
        if self._dead_share is not None:
            self._dead_share.add(len(stamped), [one.reason for one in dead])
        effects = await self._diffuse(stamped)
        if written:
            self._name_origins(effects, written)
        await self._sink.apply(effects, dead)
        _count(stamped, effects, dead)
        _say(records, stamped, effects, dead, contexts)
        tracing.spans().note(
            {
                "diffusion.events": len(stamped),
                "diffusion.changes": len(effects.changes),
                "diffusion.dead_letters": len(dead),
            }
        )
        metrics.stream_batch_records.observe(len(records))
        metrics.stream_batch_seconds.observe(monotonic_s() - started)

    def _decode(
        self, record: SourceRecord, stamped: list[Stamped[E]], dead: list[DeadLetter]
    ) -> None:
        decoded = self.decoder.decode(record.value)
        position = version_of(self._epochs[record.topic].epoch, record.offset)
        stamped.extend(
            Stamped(event, stamp_of(position, index), record.at_ms)
            for index, event in enumerate(decoded.events)
        )
        source = (record.topic, record.partition, record.offset)
        dead.extend(
            letter(source, bad.index, bad.reason, bad.value, self._clock())
            for bad in decoded.rejected
        )

    def _written(self, record: SourceRecord, stamped: Iterable[Stamped[E]]) -> Written:
        source = place(record.topic, record.partition, record.offset)
        keys = frozenset(self._key(one.event) for one in stamped)
        return Written(record.contexts, source, keys)

    def _name_origins(self, effects: Effects, written: Sequence[Written]) -> None:
        origins = by_key(written)
        for number, (_, change) in enumerate(effects.changes):
            found = origins.get(self._key_of(change))
            if found is not None:
                effects.origins[number] = found

    async def _diffuse(self, stamped: Sequence[Stamped[E]]) -> Effects:
        raise NotImplementedError

    def _key(self, event: E) -> str:
        """The key of the topic in an event."""
        raise NotImplementedError

    def _key_of(self, change: Change) -> str:
        """The same, in a change that was made of it."""
        raise NotImplementedError


class ConversationPipeline(Pipeline[ConversationEvent]):
    """Events of conversations: needs their heads and members."""

    topic = topics.CONVERSATION_WRITES.name
    decoder = CONVERSATION_EVENTS

    def __init__(
        self,
        sink: Sink,
        epochs: Mapping[str, Epoch],
        clock: Clock,
        *,
        cache: ConversationCache,
        partitions: int,
        rules: Rules,
        dead_share: DeadShare | None = None,
    ) -> None:
        super().__init__(sink, epochs, clock, dead_share)
        self._cache = cache
        self._partitions = partitions
        self._rules = rules

    async def _diffuse(self, stamped: Sequence[Stamped[ConversationEvent]]) -> Effects:
        self._cache.trim()
        by_conversation: dict[str, list[ConversationEvent]] = {}
        for one in stamped:
            by_conversation.setdefault(one.event.conversation_id, []).append(one.event)
        conversations = await self._cache.load(by_conversation)
        diffusion = Diffusion(conversations, self._partitions, self._rules)
        for one in stamped:
            diffusion.conversation_event(one.event, one.stamp, one.at_ms)
        return diffusion.finish()

    def _key(self, event: ConversationEvent) -> str:
        return event.conversation_id

    def _key_of(self, change: Change) -> str:
        assert not isinstance(change, ModuleChange), "modules are users' own"
        return change.conversation_id


class UserPipeline(Pipeline[UserEvent]):
    """Events of users: a change for the user himself, no state needed."""

    topic = topics.USER_WRITES.name
    decoder = USER_EVENTS

    def __init__(
        self,
        sink: Sink,
        epochs: Mapping[str, Epoch],
        clock: Clock,
        *,
        partitions: int,
        rules: Rules,
        dead_share: DeadShare | None = None,
    ) -> None:
        super().__init__(sink, epochs, clock, dead_share)
        self._partitions = partitions
        self._rules = rules

    async def _diffuse(self, stamped: Sequence[Stamped[UserEvent]]) -> Effects:
        diffusion = Diffusion({}, self._partitions, self._rules)
        for one in stamped:
            diffusion.user_event(one.event, one.stamp)
        return diffusion.finish()

    def _key(self, event: UserEvent) -> str:
        return event.user_id

    def _key_of(self, change: Change) -> str:
        return change.users[0]


def _count(stamped: Sequence[Stamped[Any]], effects: Effects, dead: Sequence[DeadLetter]) -> None:
    for event_type, count in Counter(type(one.event) for one in stamped).items():
        metrics.stream_events.labels(event_type.__struct_config__.tag).inc(count)
    changes: Counter[type[Change]] = Counter()
    marks: Counter[type[Change]] = Counter()
    for _, change in effects.changes:
        changes[type(change)] += 1
        marks[type(change)] += len(change.users)
    for change_type, count in changes.items():
        kind = change_type.__struct_config__.tag
        metrics.stream_changes.labels(kind).inc(count)
        metrics.stream_marks.labels(kind).inc(marks[change_type])
    for users in _fan_out(effects.changes):
        metrics.stream_fan_out_users.observe(users)
    metrics.stream_saved_marks.inc(effects.saved_marks)
    metrics.stream_folded_marks.inc(effects.folded_marks)
    for head in (*effects.opened, *effects.closed.values()):
        metrics.stream_mode_switches.labels(head.mode.name.lower(), head.mode_reason.value).inc()
    for one in dead:
        metrics.stream_dead_letters.labels(one.topic).inc()


def _say(
    records: Sequence[SourceRecord],
    stamped: Sequence[object],
    effects: Effects,
    dead: Sequence[DeadLetter],
    contexts: Sequence[TraceContext],
) -> None:
    """A line for each batch with correlation ids, where INFO is logged; for others, where DEBUG."""
    level = logging.INFO if contexts else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    last = records[-1]
    told = {
        "topic": last.topic,
        "partition": last.partition,
        "offset": last.offset,
        "records": len(records),
        "events": len(stamped),
        "changes": len(effects.changes),
        "dead_letters": len(dead),
        "trace_ids": [one.trace_id for one in contexts],
    }
    log.log(level, "a batch is diffused", extra=told)


def _fan_out(changes: Iterable[tuple[int, Change]]) -> Iterable[int]:
    """Users told of each message, over the records of all partitions that it became."""
    told: dict[tuple[str, int], int] = {}
    for _, change in changes:
        if isinstance(change, MessageChange):
            message = (change.conversation_id, change.max_seq)
            told[message] = told.get(message, 0) + len(change.users)
    return told.values()
