"""What it costs to tell a message to groups of 10 to 10,000 members, for each member and message.

The stream stage runs in a process of its own without Faust, called as Faust's agent calls it, 500
messages a batch, and the materializer beside it as in service. A point is `MARKS` members told in
each of `ROUNDS` rounds, by one message to each of so many groups; the next round begins when all of
this one is readable. So no two messages of a group are in one batch of either stage, and folding,
which would make the larger groups look cheaper, has nothing to fold. Everybody joins before.

Above `policy.members_max` a group is READ: a message writes the head, and tells nobody but its
sender that he has read it. There the messages of a batch are spread over the few groups.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from diffusion import verify
from diffusion.bench import children
from diffusion.bench.growth_cost import cassandra_pid, own_cpu_ms
from diffusion.bench.growth_fit import Point, Series
from diffusion.bench.measure import cpu_ms
from diffusion.console import Console
from diffusion.oracle import Oracle
from diffusion.system import POLL_S, System, running
from infra import epochs, metrics
from infra.cassandra.schema import open_session
from infra.clock import monotonic_s, now_ms
from infra.kafka.admin import Admin
from infra.kafka.delivery import Delivery
from infra.settings import Settings
from schemas import ids, topics
from schemas.batched import batched
from schemas.codec import encode_event, join_events
from schemas.errors import RetryableError
from schemas.events import ConversationEvent, MembersJoined, Message
from schemas.limits import MEMBERS_PER_EVENT_MAX
from streams.app import rules_of
from streams.cache import ConversationCache
from streams.pace import Pace
from streams.sink import Sink
from streams.worker import ConversationPipeline, SourceRecord

SIZES: Final = (10, 100, 1_000, 5_000, 10_000)
"""Members. 5,000 is the last that `policy.members_max` lets be told; the step is on the right."""

MARKS: Final = 60_000
ROUNDS: Final = 3
USERS: Final = 12_000
FIRST_USER: Final = 6_000_000_000

BATCH_EVENTS: Final = 500
"""What the stage takes at once by default, one message a record of it."""

EVENTS_PER_RECORD: Final = 20

READ_EVENTS: Final = 1_000
"""Messages of a round to groups that are READ: the six of them would be done in a millisecond."""

JOINED_AT_ONCE: Final = 20_000
JOINS_AT_ONCE_MIN: Final = 20
"""Members, and events, of a batch of joins: a batch is held in memory."""

WARM_UP: Final = (100, 20_000)
"""Members of groups, and marks a round, of a first size that does not count: a Cassandra that was
just started is still compiling."""

UNPACED: Final = 1e9
"""Users a second for whom joins are let through: they are no part of what is measured."""

USERS_CHECKED: Final = 60
SENT_AT_MS: Final = 1_750_000_000_000
TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Group:
    """A conversation and who is in it."""

    conversation_id: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What the messages of one size cost: `marks` users were told of `events` messages."""

    events: int
    marks: int
    records: int
    stream_cpu_ms: float
    materializer_cpu_ms: float
    cassandra_ms: float
    seconds: float

    def point(self, members: int, members_max: int) -> Point:
        """Costs for each message, and for each member told. Those of a READ group, whose messages
        tell nobody, have names of their own: they are on no line with the others.
        """
        cpu_ms = self.stream_cpu_ms + self.materializer_cpu_ms
        costs = {
            "cpu_us_per_message": cpu_ms * 1_000 / self.events,
            "stream_cpu_us_per_message": self.stream_cpu_ms * 1_000 / self.events,
            "wall_us_per_message": self.seconds * 1e6 / self.events,
            "marks_per_message": self.marks / self.events,
            "records_per_message": self.records / self.events,
        }
        if members > members_max:
            costs = {f"read_{name}": cost for name, cost in costs.items()}
        else:
            costs |= {
                "cpu_us_per_mark": cpu_ms * 1_000 / self.marks,
                "stream_cpu_us_per_mark": self.stream_cpu_ms * 1_000 / self.marks,
                "materializer_cpu_us_per_mark": self.materializer_cpu_ms * 1_000 / self.marks,
                "cassandra_us_per_mark": self.cassandra_ms * 1_000 / self.marks,
                "wall_us_per_mark": self.seconds * 1e6 / self.marks,
            }
        return Point(members, costs)


@dataclass(frozen=True, slots=True)
class Plan:
    """One size: its groups, and the messages of each round."""

    members: int
    marks: int
    seed: str
    members_max: int

    @property
    def groups(self) -> list[Group]:
        """So many that a message to each tells `marks` members."""
        rng = random.Random(f"{self.seed}/{self.members}")  # noqa: S311 -- a reproducible run
        users = [str(FIRST_USER + number) for number in range(USERS)]
        return [
            Group(
                ids.group(f"{self.seed.replace('/', '_')}_{self.members}_{number}"),
                tuple(sorted(rng.sample(users, self.members))),
            )
            for number in range(max(1, self.marks // self.members))
        ]

    def joins(self) -> Iterator[MembersJoined]:
        """Everybody joins, as many at a time as an event may name."""
        for group in self.groups:
            for some in batched(group.members, MEMBERS_PER_EVENT_MAX):
                yield MembersJoined(group.conversation_id, some, 0, SENT_AT_MS)

    def messages(self, number: int) -> Iterator[Message]:
        """Of a round: one to each group, or what `READ_EVENTS` says, in turns."""
        groups = self.groups
        turns = 1 if self.members <= self.members_max else -(-READ_EVENTS // len(groups))
        for turn in range(turns):
            seq = number * turns + turn + 1
            for group in groups:
                sender = group.members[seq % self.members]
                yield Message(group.conversation_id, seq, sender, SENT_AT_MS + seq)


def measure(
    settings: Settings, folder: Path, seed: int, console: Console
) -> tuple[Series, list[str]]:
    """Measure all sizes; with what devices of some users hold otherwise than the oracle says."""
    with running(
        settings,
        logs=folder / "logs",
        stream_workers=0,
        materializers=1,
        report=console.say,
    ) as system:
        bound, oracle, points = settings.policy.members_max, Oracle(), []
        pids = (system.processes.pid("materializer-1"), cassandra_pid(settings))
        warm_up = Plan(*WARM_UP, f"{seed}/warm-up", bound)
        plans = [warm_up, *(Plan(size, MARKS, str(seed), bound) for size in SIZES)]
        with console.progress("members of groups", total=len(plans)) as update:
            for place, plan in enumerate(plans):
                told, _ = children.run(tell, settings, plan, place, *pids)
                if plan is not warm_up:
                    points.append(told.point(plan.members, bound))
                for event in _events(plan):
                    oracle.apply(event)
                update(advance=1)
        differences = _check(system, oracle, seed)
    series = Series(
        "members",
        "members of the group",
        tuple(points),
        flat=("cpu_us_per_mark", "stream_cpu_us_per_mark", "cassandra_us_per_mark"),
        expected={"cpu_us_per_message": "with the members, up to policy.members_max"},
    )
    return series, differences


def _events(plan: Plan) -> Iterator[ConversationEvent]:
    yield from plan.joins()
    for number in range(ROUNDS):
        yield from plan.messages(number)


def _check(system: System, oracle: Oracle, seed: int) -> list[str]:
    time.sleep(POLL_S)
    users = random.Random(seed).sample(sorted(oracle.users()), USERS_CHECKED)  # noqa: S311
    return list(verify.fresh_devices(system, oracle, users).differences)


def tell(settings: Settings, plan: Plan, place: int, materializer: int, cassandra: int) -> Told:
    """Write joins and messages of one size through the stream stage. For a process of its own.

    `place` keeps the positions of its source records apart from those of other sizes.
    """
    return asyncio.run(_Teller(settings, plan, place, materializer, cassandra).run())


class _Teller:
    def __init__(
        self, settings: Settings, plan: Plan, place: int, materializer: int, cassandra: int
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._offset = place << 32
        self._materializer = materializer
        self._cassandra = cassandra
        self._session = open_session(settings.cassandra)
        self._admin = Admin(settings.kafka)
        found = epochs.ensure_all(settings, self._session, self._admin)
        log = found[topics.CHANGES.name]
        self._delivery = Delivery(settings.kafka, "diffusion-bench-growth")
        self._pipeline = ConversationPipeline(
            Sink(self._session, self._delivery, now_ms, Pace(UNPACED)),
            found,
            now_ms,
            cache=ConversationCache(
                self._session,
                settings.stream.cached_members_max,
                settings.stream.cached_packed_mb * 2**20,
            ),
            partitions=log.partitions,
            rules=rules_of(settings.policy, log.window_ms),
        )
        # One time for all messages: were a window of the clock to end between two rounds, the
        # policy would rightly find the larger groups too dear.
        self._at_ms = now_ms()

    async def run(self) -> Told:
        """Joins first, then the rounds; what the rounds cost together."""
        at_once = max(JOINED_AT_ONCE // self._plan.members, JOINS_AT_ONCE_MIN)
        await self._process(self._plan.joins(), min(BATCH_EVENTS, at_once))
        self._wait_readable()
        events = marks = records = 0
        stream_ms = 0.0
        began = cpu_ms(self._materializer), cpu_ms(self._cassandra)
        seconds = 0.0
        for number in range(ROUNDS):
            batch = list(self._plan.messages(number))
            before = _marks(), self._delivery.delivered, own_cpu_ms()
            began_s = monotonic_s()
            await self._process(iter(batch), BATCH_EVENTS)
            stream_ms += own_cpu_ms() - before[2]
            marks += _marks() - before[0]
            records += self._delivery.delivered - before[1]
            events += len(batch)
            self._wait_readable()
            seconds += monotonic_s() - began_s
        spent = (
            cpu_ms(self._materializer) - began[0],
            cpu_ms(self._cassandra) - began[1],
        )
        self._session.close()
        self._admin.close()
        return Told(events, marks, records, stream_ms, *spent, seconds)

    async def _process(self, events: Iterator[ConversationEvent], most: int) -> None:
        while batch := list(islice(events, most)):
            await self._pipeline.process(list(self._records(batch)))

    def _records(self, events: Sequence[ConversationEvent]) -> Iterator[SourceRecord]:
        for start in range(0, len(events), EVENTS_PER_RECORD):
            value = join_events([encode_event(one) for one in events[start:][:EVENTS_PER_RECORD]])
            self._offset += 1
            yield SourceRecord(topics.CONVERSATION_WRITES.name, 0, self._offset, self._at_ms, value)

    def _wait_readable(self) -> None:
        group = self._settings.kafka.materializer_group
        _wait(lambda: self._admin.lag(group, [topics.CHANGES.name]) == 0)


def _wait(is_done: Callable[[], bool]) -> None:
    deadline_s = monotonic_s() + TIMEOUT_S
    while not is_done():
        if monotonic_s() > deadline_s:
            raise RetryableError(f"After {TIMEOUT_S:.0f} s the materializer is not done.")
        time.sleep(POLL_S / 4)


def _marks() -> int:
    found = metrics.stream_marks.collect()
    samples = (one for family in found for one in family.samples)
    return int(sum(one.value for one in samples if one.name.endswith("_total")))
