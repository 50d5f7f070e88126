"""The servers of a world: topics and their groups, Cassandra, and the processes over them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from diffusion.simulation.api import Api
from diffusion.simulation.cells import Cells
from diffusion.simulation.fate import Calm, Fate
from diffusion.simulation.log import Group, Topic
from diffusion.simulation.materializer import MaterializerProcess
from diffusion.simulation.processes import Process
from diffusion.simulation.store import Notebook, Store
from diffusion.simulation.stream_worker import StreamWorker
from infra.api_settings import ApiSettings
from infra.cassandra.topic_epochs import INSERT_NEXT, Epoch
from infra.settings import LogSettings, Settings
from schemas import topics
from streams.activity import Costs
from streams.policy import Rules

T0_MS: Final = 1_700_000_400_000
"""The start of a window."""

WRITE_PARTITIONS: Final = 3
SETTINGS: Final = Settings(
    log=LogSettings(retention_hours=2, window_minutes=5),
    api=ApiSettings(changes_per_delta_max=3, rows_per_sync_max=100),
)
"""A log so short that devices fall behind it, and deltas so small that some are too large."""


class Cluster:
    """Two of each process. `look` is shown each record of the change log, `note` what happens."""

    def __init__(
        self,
        rng: random.Random,
        calm: Calm,
        look: Callable[[bytes], None],
        note: Callable[..., None],
    ) -> None:
        self.rng = rng
        self.calm = calm
        self._look = look
        self._note = note
        self.cells = Cells(clock=self.clock)
        self.rules = self._rules()
        self.log: dict[str, Topic] = {}
        self.epochs: dict[str, Epoch] = {}
        for spec in topics.TOPICS:
            self.make_topic(spec.name, self._partitions(spec.name))
        self.stream_group, self.materializer_group = Group(), Group()
        self.streams = [
            StreamWorker(name, self.fate(), self.stream_group, self, self._store())
            for name in ("stream-1", "stream-2")
        ]
        self.materializers: list[MaterializerProcess] = []
        for name in ("materializer-1", "materializer-2"):
            fate = self.fate()
            store = Notebook(self.cells, fate)
            self.materializers.append(
                MaterializerProcess(name, fate, self.materializer_group, self, store)
            )
        self.apis = [
            Api(name, self.fate(), self.clock, self._store()) for name in ("api-1", "api-2")
        ]

    @property
    def changes(self) -> Topic:
        """The change log."""
        return self.log[topics.CHANGES.name]

    def clock(self) -> int:
        """Milliseconds since 1970."""
        return T0_MS + int(asyncio.get_running_loop().time() * 1_000)

    def fate(self) -> Fate:
        """Of one process."""
        return Fate(self.rng, self.calm)

    def _store(self) -> Store:
        return Store(self.cells, self.fate())

    def ended(self, process: Process) -> None:
        """A process ended by itself: its supervisor starts it again."""
        self._note("ended", process.name)
        self.restart(process)

    def begin(self) -> None:
        """Start everything."""
        for process in (*self.streams, *self.materializers, *self.apis):
            self.start(process)
        self.rebalance(self.stream_group)
        self.rebalance(self.materializer_group)

    def check(self) -> None:
        """Raise what a worker did not expect: that is no fault of its surroundings, but ours."""
        for worker in (*self.streams, *self.materializers):
            if worker.failure is not None:
                raise worker.failure

    def is_done(self, group: Group) -> bool:
        """Whether all records of a group are committed."""
        return group.lag(self.topics_of(group)) == 0

    def restart(self, process: Process) -> None:
        """SIGKILL; it is started again within some seconds."""
        process.kill()
        loop = asyncio.get_running_loop()
        loop.call_later(self.rng.uniform(0.5, 20), self.start, process)

    def start(self, process: Process) -> None:
        """Start a process that does not run."""
        if process.alive:
            return
        match process:
            case StreamWorker():
                process.start(self.log, self.epochs, self.rules)
            case MaterializerProcess():
                process.start(self.changes, self.epochs[self.changes.name], SETTINGS)
            case Api():
                process.start(SETTINGS)

    def rebalance(self, group: Group, unaware: Process | None = None) -> None:
        """Share partitions anew. Who is unaware learns of it later, and works on until then."""
        members = self.streams if group is self.stream_group else self.materializers
        places = [place for topic in self.topics_of(group) for place in topic.places]
        there = [one.name for one in members if one is not unaware]
        group.share(places, there, self.rng.randint(0, 1))
        for member in members:
            if member is unaware:
                member.fate.later(90.0, member.assigned)
            else:
                member.assigned()

    def topics_of(self, group: Group) -> list[Topic]:
        """What a group reads."""
        if group is self.materializer_group:
            return [self.changes]
        return [self.log[spec.name] for spec in topics.WRITE_TOPICS]

    def make_topic(self, name: str, partitions: int) -> None:
        """Make the next incarnation of a topic, and take its epoch."""
        number = self.epochs[name].epoch + 1 if name in self.epochs else 1
        epoch = Epoch(name, number, f"id-{number}", partitions, SETTINGS.log.window_ms)
        self.epochs[name] = epoch
        values = (name, number, epoch.topic_id, partitions, epoch.window_ms, T0_MS)
        self.cells.read(INSERT_NEXT, values)
        self.log[name] = Topic(
            name, partitions, self._look if name == topics.CHANGES.name else None
        )

    def _rules(self) -> Rules:
        lively = self.rng.random() < 0.5
        return Rules(
            members_max=50 if lively else 3,
            members_return=40 if lively else 2,
            small_members=1,
            rows_per_second_max=1e9,
            dwell_s=5,
            costs=Costs(
                row_cost=1.0,
                mark_cost=2.0,
                check_cost=1.0,
                sync_rate=0.02,
                window_ms=SETTINGS.log.window_ms,
            ),
        )

    def _partitions(self, name: str) -> int:
        return self.rng.randint(2, 4) if name == topics.CHANGES.name else WRITE_PARTITIONS
