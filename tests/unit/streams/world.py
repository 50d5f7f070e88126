"""A whole engine in memory: the one model that all tests of interleavings and crashes share.

`World` runs the real pipelines, materializer and sync service one step at a time on `Cells` and two
lists of records. A crash loses what was in memory and leaves the cells as they were at that instant.
A worker's batch may also be done step by step (`stepwise`), in the order of `STEPS` or, to show
that a law bites, in a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumers.materializer import Materializer
from infra.cassandra import conversation_heads
from infra.cassandra.topic_epochs import INSERT_NEXT
from schemas import topics
from schemas.codec import encode_event
from schemas.conversations import ConversationState
from schemas.cursor import Cursor, unseal
from schemas.events import UserEvent, WriteEvent
from schemas.heads import Head
from schemas.protocol import RESETS, SyncRequest, merge
from streams.cache import ConversationCache
from streams.diffusion import Conversation
from streams.effects import Effects
from streams.policy import Rules
from streams.sink import Sink
from streams.worker import ConversationPipeline, Pipeline, SourceRecord, UserPipeline
from syncapi.heads import HeadCache
from syncapi.service import SyncService
from tests.unit.consumers.support import WINDOW_MS, Record, ScriptedConsumer, materializer_on
from tests.unit.infra.cassandra.support import Cells, Killed
from tests.unit.streams.quick import QuickCells, straight
from tests.unit.streams.support import EPOCHS, PARTITIONS, RULES, SETTINGS, T0, UNPACED, run

KEY = b"key"


class Fresh:
    """Read-side heads that are read every time: no cache, which needs a loop."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def read(self, conversation_ids: Sequence[str]) -> list[Head]:
        return list((await conversation_heads.read(self._world.cells, conversation_ids)).values())


class Link:
    """A delivery into the world's change log. `crash_in`: records it still takes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.crash_in: int | None = None

    def produce(self, topic: str, partition: int, value: bytes, key: bytes | None = None) -> None:
        if self.crash_in is not None:
            if self.crash_in == 0:
                raise Killed
            self.crash_in -= 1
        if topic == topics.CHANGES.name:
            self._world.append(partition, value)
        else:
            self._world.dead += 1

    def flush(self) -> None:
        pass


class Held(Exception):
    """The effects of a batch wait: its worker was replaced, and does not know."""


class WorldSink(Sink):
    """A sink that may leave the effects of its batch to a zombie, or to be done step by step."""

    def __init__(self, world: World, link: Link) -> None:
        super().__init__(world.cells, link, world.clock, UNPACED)
        self._world = world
        self.link = link
        self.hold = False
        self.handed: list[Effects] | None = None

    async def apply(self, effects: Effects, dead: Any) -> None:
        if self.hold:
            self._world.zombies.append((self, effects))
            self.hold = False
            raise Held
        if self.handed is not None:
            self.handed.append(effects)
            return
        await super().apply(effects, dead)

    # What `apply` does, one by one. That it does them in the order of `STEPS` is tested by itself.

    def messages(self, effects: Effects) -> None:
        self._put(self._before(Effects(messages=effects.messages)))

    def opened(self, effects: Effects) -> None:
        self._put(self._before(Effects(opened=effects.opened)))

    def changes(self, effects: Effects) -> None:
        self._deliver(effects, ())

    def belonging(self, effects: Effects) -> None:
        self._put(self._after(effects))

    def closed(self, effects: Effects) -> None:
        self._put([one for head in effects.closed.values() for one in self._mode(head)])

    def acknowledged(self, _: Effects) -> None:
        stage = self._world.conversations
        stage.committed = len(stage.records)

    def _put(self, statements: list[Any]) -> None:
        self._world.cells.write(statements, in_flight=1)


STEPS = ("messages", "opened", "changes", "belonging", "closed", "acknowledged")


@dataclass
class Stage:
    """One write topic and the worker that has it: one partition, so that its order is plain."""

    topic: str
    make: Callable[[], tuple[Pipeline[Any], WorldSink, Link]]
    records: list[tuple[WriteEvent, int]] = field(default_factory=list)
    """(event, time of its record): a replay finds the time as it was."""
    place: int = 0
    committed: int = 0
    worker: tuple[Pipeline[Any], WorldSink, Link] | None = None


class _NoNotes:
    """Stands for the notes of devices, which are written behind answers, on a loop of their own."""

    def note(self, user_id: str, device_id: str, cursor: Any) -> None:
        pass


class Device:
    """A client that merges as the protocol says, and holds everything in memory."""

    def __init__(self, user_id: str, changes_max: int = 500) -> None:
        self.user_id = user_id
        self.changes_max = changes_max
        self.states: dict[str, ConversationState] = {}
        self.modules: dict[tuple[str, str], tuple[int, str]] = {}
        self.cursor: str | None = None
        self.page: str | None = None
        self.paged: dict[str, ConversationState] = {}
        self.resets: list[Any] = []

    async def sync(self, service: SyncService) -> bool:
        """One request and its answer; true while there is more to ask for."""
        request = SyncRequest(
            device_id="phone",
            cursor=None if self.page else self.cursor,
            page=self.page,
            changes_max=self.changes_max,
            page_max=2,
        )
        answer = await service.sync(self.user_id, request)
        before = dict(self.states), self.cursor
        if answer.reason in RESETS:
            self.paged = {}
            self.resets.append(answer.reason)
        states = self.states if answer.path == "delta" else self.paged
        for entry in answer.conversations:
            states[entry.conversation_id] = merge(states.get(entry.conversation_id), entry)
        for item in answer.modules:
            held = self.modules.get((item.module, item.item_id), (-1, ""))
            if item.item_version >= held[0]:
                self.modules[item.module, item.item_id] = (item.item_version, item.op)
        self.page = answer.page
        if answer.cursor is not None:
            self.cursor = answer.cursor
            if answer.path == "full":
                self.states = self.paged
        if answer.path == "delta":
            self._went_on(*before)
        return answer.page is not None or answer.has_more

    def _went_on(self, states: dict[str, ConversationState], cursor: str | None) -> None:
        """Nothing goes back, and nothing vanishes, but by a reset that says so."""
        for conversation_id, held in states.items():
            now = self.states[conversation_id]
            assert now.max_seq >= held.max_seq
            assert now.read_seq >= held.read_seq
            assert now.own.min_seq >= held.own.min_seq
        assert cursor is not None
        assert self.cursor is not None
        was, now_at = (unseal(one, Cursor, KEY) for one in (cursor, self.cursor))
        assert now_at.version >= was.version
        assert now_at.modules_version >= was.modules_version
        assert now_at.issued_at_ms >= was.issued_at_ms

    def save(self) -> tuple[Any, ...]:
        """What the device holds, for `load`."""
        return dict(self.states), self.cursor, self.page, dict(self.paged), list(self.resets)

    def load(self, saved: tuple[Any, ...]) -> None:
        """Go back to where `save` was called. No modules."""
        states, self.cursor, self.page, paged, resets = saved
        self.states, self.paged, self.resets = dict(states), dict(paged), list(resets)


class World:
    """The engine in memory, one step at a time, on a clock of its own."""

    def __init__(self, rules: Rules = RULES, *, loop: bool = True) -> None:
        self.run = run if loop else straight
        self.cells = Cells(ties="later") if loop else QuickCells(ties="later")
        self.cells.read(INSERT_NEXT, (topics.CHANGES.name, 1, "id", PARTITIONS, WINDOW_MS, T0))
        self.now_ms = T0
        self.skew_ms = 0
        self.dead = 0
        self.rules = rules
        self.changes: list[list[tuple[bytes, int]]] = [[] for _ in range(PARTITIONS)]
        self.applied = [0] * PARTITIONS
        self.zombies: list[tuple[WorldSink, Effects]] = []
        self.late: list[tuple[WorldSink, Effects, tuple[str, ...]]] = []
        self.conversations = Stage(topics.CONVERSATION_WRITES.name, self._conversation_worker)
        self.users = Stage(topics.USER_WRITES.name, self._user_worker)
        self._consumer = ScriptedConsumer()
        self._materializer: Materializer = materializer_on(
            self.cells, self._consumer, settings=SETTINGS, partitions=PARTITIONS
        )
        self.service = self._service()

    def _service(self) -> SyncService:
        service = SyncService(SETTINGS, self.cells, KEY, self.clock)
        service._devices = _NoNotes()  # type: ignore[assignment]
        service._heads = (
            HeadCache(self.cells, lambda: self.now_ms / 1_000) if self.run is run else Fresh(self)
        )
        service._full._heads = service._heads
        return service

    def clock(self) -> int:
        return self.now_ms

    def append(self, partition: int, value: bytes) -> None:
        """A record enters the change log; the broker stamps it by its own clock."""
        self.changes[partition].append((value, self.now_ms + self.skew_ms))

    def _conversation_worker(self) -> tuple[ConversationPipeline, WorldSink, Link]:
        link = Link(self)
        sink = WorldSink(self, link)
        cache = ConversationCache(self.cells, CACHED_MEMBERS_MAX, CACHED_BYTES_MAX)
        pipeline = ConversationPipeline(
            sink, EPOCHS, self.clock, cache=cache, partitions=PARTITIONS, rules=self.rules
        )
        return pipeline, sink, link

    def _user_worker(self) -> tuple[UserPipeline, WorldSink, Link]:
        link = Link(self)
        sink = WorldSink(self, link)
        pipeline = UserPipeline(sink, EPOCHS, self.clock, partitions=PARTITIONS, rules=self.rules)
        return pipeline, sink, link

    def write(self, *events: WriteEvent) -> None:
        """Produce events, each a record of its own on its topic."""
        for event in events:
            stage = self.users if isinstance(event, UserEvent) else self.conversations
            stage.records.append((event, self.now_ms))

    def step(self, stage: Stage, records: int, crash: tuple[str, int] | None = None) -> bool:
        """Take a batch. `crash`: where ("cells" or "link") and after how many pieces of work, or
        ("zombie", 0): the batch is diffused, and another worker takes over before its effects.
        """
        if stage.worker is None:
            stage.worker = stage.make()
            stage.place = stage.committed
        pipeline, sink, link = stage.worker
        batch = stage.records[stage.place : stage.place + records]
        if not batch:
            return False
        where, after = crash or ("", 0)
        sink.hold = where == "zombie"
        self.cells.crash_in = after if where == "cells" else None
        link.crash_in = after if where == "link" else None
        try:
            self.run(pipeline.process([self._source(stage, i) for i in range(len(batch))]))
            stage.place += len(batch)
        except (Killed, Held):
            stage.worker = None
        finally:
            self.cells.crash_in = link.crash_in = None
            sink.hold = False
        return True

    def stepwise(
        self, order: Sequence[str] = STEPS, pause: tuple[int, Callable[[], None]] | None = None
    ) -> None:
        """Take all there is to take as one batch, step by step. `pause`: before which step (as many
        as there are: behind the last) something else happens, which may be that the worker dies.
        """
        sink, effects = self._diffuse_all()
        try:
            for number, name in enumerate((*order, "")):
                if pause is not None and pause[0] == number:
                    pause[1]()
                if name:
                    getattr(sink, name)(effects)
        except Killed:
            self.conversations.worker = None
        sink.link.crash_in = None

    def replace_worker(self) -> None:
        """Take all there is as one batch; another worker takes over before its first step."""
        self.late.append((*self._diffuse_all(), STEPS[:-1]))
        self.conversations.worker = None

    def finish_late(self, upto: str) -> None:
        """The worker that was replaced first goes on, up to a step, inclusive."""
        sink, effects, steps = self.late.pop(0)
        number = steps.index(upto) + 1
        for name in steps[:number]:
            getattr(sink, name)(effects)
        if steps[number:]:
            self.late.insert(0, (sink, effects, steps[number:]))

    def _diffuse_all(self) -> tuple[WorldSink, Effects]:
        stage = self.conversations
        if stage.worker is None:
            stage.worker = stage.make()
            stage.place = stage.committed
        pipeline, sink, _ = stage.worker
        batch = range(len(stage.records) - stage.place)
        sink.handed = handed = []
        self.run(pipeline.process([self._source(stage, index) for index in batch]))
        sink.handed = None
        stage.place = len(stage.records)
        return sink, handed[0]

    def kill(self) -> None:
        """End the worker that is at work."""
        raise Killed

    def kill_in_delivery(self) -> None:
        """End it when one more record is delivered."""
        assert self.conversations.worker is not None
        self.conversations.worker[2].crash_in = 1

    def _source(self, stage: Stage, index: int) -> SourceRecord:
        offset = stage.place + index
        event, at_ms = stage.records[offset]
        return SourceRecord(stage.topic, 0, offset, at_ms, encode_event(event))

    def commit(self, stage: Stage) -> None:
        """What the worker finished is not repeated any more."""
        if stage.worker is not None:
            stage.committed = stage.place

    def zombie(self, crash_in: int | None) -> None:
        """The oldest replaced worker goes on, and perhaps dies on the way."""
        if self.zombies:
            sink, effects = self.zombies.pop(0)
            self.cells.crash_in = crash_in
            try:
                self.run(sink.apply(effects, ()))
            except Killed:
                pass
            finally:
                self.cells.crash_in = None

    def materialize(self, partition: int, records: int, crash_in: int | None = None) -> bool:
        """Apply the next records of a partition; a crash leaves them for later."""
        start = self.applied[partition]
        found = self.changes[partition][start : start + records]
        if not found:
            return False
        self.cells.crash_in = crash_in
        try:
            self._materializer.apply(
                [
                    Record(value, start + index, partition, at_ms)
                    for index, (value, at_ms) in enumerate(found)
                ]
            )
            self.applied[partition] = self._consumer.committed[partition]
        except Killed:
            pass
        finally:
            self.cells.crash_in = None
        return True

    def save(self) -> tuple[Any, ...]:
        """All there is between two steps, for `load`; the user topic is not part of it."""
        stage = self.conversations
        return (
            {name: {k: dict(row) for k, row in t.items()} for name, t in self.cells.rows.items()},
            [list(records) for records in self.changes],
            list(self.applied),
            list(self.late),
            self.now_ms,
            self.rules,
            (list(stage.records), stage.place, stage.committed),
            None if stage.worker is None else _held(stage.worker[0]),
        )

    def load(self, saved: tuple[Any, ...]) -> None:
        """Go back to where `save` was called."""
        rows, changes, applied, late, self.now_ms, self.rules, records, held = saved
        self.cells.rows = {name: {k: dict(row) for k, row in t.items()} for name, t in rows.items()}
        self.cells.writes.clear()
        self.cells.reads.clear()
        self.cells.rounds.clear()
        self.changes = [list(one) for one in changes]
        self.applied, self.late = list(applied), list(late)
        stage = self.conversations
        stage.records, stage.place, stage.committed = list(records[0]), *records[1:]
        stage.worker = None
        if held is not None:
            stage.worker = stage.make()
            stage.worker[0]._cache._held.update(
                (cid, _conversation(*one)) for cid, one in held.items()
            )
        self.service = self._service()

    def sync(self, device: Device) -> bool:
        """One round trip of a device."""
        return self.run(device.sync(self.service))

    def settle(self) -> None:
        """Finish all that is under way, without crashes."""
        while self.zombies:
            self.zombie(None)
        for stage in (self.conversations, self.users):
            while self.step(stage, 50):
                pass
        for partition in range(PARTITIONS):
            while self.materialize(partition, 50):
                pass


def _held(pipeline: Any) -> dict[str, tuple[Any, ...]]:
    return {
        cid: (
            one.head,
            None if one.members is None else frozenset(one.members),
            frozenset(one.left),
        )
        for cid, one in pipeline._cache._held.items()
    }


def _conversation(head: Head, members: Any, left: Any) -> Conversation:
    found = Conversation(head, members)
    found.left = set(left)
    return found


CACHED_MEMBERS_MAX = 4
"""Few, so that conversations are packed, unpacked and forgotten between batches."""

CACHED_BYTES_MAX = 600
