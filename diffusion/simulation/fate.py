"""What is drawn: how long things take, and whether they fail. One for each process.

A process that is frozen does nothing until it thaws, like one that was stopped (SIGSTOP), swapped
out, or collecting garbage; meanwhile others may have taken its work.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

TRIP_S: Final = 0.003
SLOW_SHARE: Final = 0.02
SLOW_S: Final = 15.0


class Calm:
    """Whether nothing fails any more."""

    def __init__(self) -> None:
        self.now = False


class Fate:
    """Draws for one process from the one source of all."""

    def __init__(self, rng: random.Random, calm: Calm) -> None:
        self.rng = rng
        self.calm = calm
        self._thaws_s = 0.0

    def happens(self, share: float) -> bool:
        """Whether something that goes wrong so often does now."""
        return self.rng.random() < share and not self.calm.now

    async def trip(self) -> None:
        """Half a round trip: milliseconds, seldom seconds, and as long as the process is frozen."""
        if self.happens(SLOW_SHARE):
            await asyncio.sleep(self.rng.uniform(0, SLOW_S))
        else:
            await asyncio.sleep(self.rng.expovariate(1 / TRIP_S))
        await self.thawed()

    async def thawed(self) -> None:
        """Wait while the process is frozen."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._thaws_s:
            await asyncio.sleep(self._thaws_s - now_s)
            await self.thawed()  # it may have been frozen again

    def freeze(self, seconds: float) -> None:
        """Stop for so long."""
        self._thaws_s = asyncio.get_running_loop().time() + seconds

    def later(self, within_s: float, work: Callable[[], None]) -> None:
        """Do something within so long, whatever became of the process."""
        asyncio.get_running_loop().call_later(self.rng.uniform(0, within_s), work)
