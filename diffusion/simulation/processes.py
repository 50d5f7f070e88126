"""A process: tasks on the loop that die together, at any await, and take their memory with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeAlias

from diffusion.simulation.fate import Fate
from diffusion.simulation.log import Group, Place, Topic
from schemas.errors import DiffusionError

IDLE_S: Final = 30.0

Taken: TypeAlias = list[tuple[int, int]]
"""Records of a topic: (partition, offset)."""


class Died(Exception):
    """The process ended here; what it had in memory is gone."""


class Surroundings(Protocol):
    """What a process knows of the world."""

    def clock(self) -> int:
        """Milliseconds since 1970."""

    def ended(self, process: Process) -> None:
        """A process ended by itself; somebody starts it again."""


class Process:
    """Something with a name that lives, dies and is started again."""

    def __init__(self, name: str, fate: Fate) -> None:
        self.name = name
        self.fate = fate
        self.alive = False
        self.failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something as long as the process lives."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self.failure is None:
            self.failure = task.exception()

    def kill(self) -> None:
        """SIGKILL."""
        self.alive = False
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()


class Worker(Process):
    """A member of a consumer group. `positions`: the next record of each partition it believes to
    have.
    """

    def __init__(self, name: str, fate: Fate, group: Group, world: Surroundings) -> None:
        super().__init__(name, fate)
        self.group = group
        self.world = world
        self.positions: dict[Place, int] = {}

    async def work(
        self,
        topic: Topic,
        gather_s: float,
        most: int,
        finish: Callable[[Taken], Awaitable[None]],
        idle: Callable[[], Awaitable[None]],
    ) -> None:
        """Take batches of a topic, of at most so many records, and finish each, until the process
        ends. `idle` when none came for a while: what the programs do every second has time then.
        """
        try:
            while True:
                await asyncio.sleep(self.fate.rng.expovariate(1 / gather_s))
                await self.fate.thawed()
                taken = self.take(topic, self.fate.rng.randint(1, most))
                if taken:
                    await finish(taken)
                else:
                    await topic.more_within(IDLE_S)
                    await idle()
        except (Died, DiffusionError):
            # As the programs do: nothing of the batch is committed, and the process ends.
            self.world.ended(self)

    def assigned(self) -> None:
        """Learn which partitions are this worker's: of new ones, begin at what was committed."""
        committed = self.group.committed
        self.positions = {
            place: self.positions.get(place, committed.get(place, 0))
            for place in sorted(self.group.of(self.name))
        }

    def take(self, topic: Topic, most: int) -> Taken:
        """Take the next records of a topic, (partition, offset), in the order of each partition."""
        taken: Taken = []
        places = [place for place in self.positions if place[0] == topic.name]
        self.fate.rng.shuffle(places)
        for place in places:
            begin = self.positions[place]
            end = min(len(topic.records[place[1]]), begin + most - len(taken))
            taken += [(place[1], offset) for offset in range(begin, end)]
            self.positions[place] = max(begin, end)
        return taken
