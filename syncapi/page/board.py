"""The figures that the page draws: however many look at it, the processes are asked once a second.

Looked at only while somebody does. This process is asked like the others where it is among the
targets, and else speaks for itself: then there are its own figures at least.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from infra.faults import Seldom
from infra.figures.figures import Figures
from infra.figures.scrape import Viewer
from infra.figures.targets import Target, find
from schemas.errors import PermanentError

log = logging.getLogger("diffusion.api")

AGE_S: Final = 1.0
"""Figures that old are told again: rates of five seconds do not change much faster."""

SAY_AGAIN_S: Final = 300.0
"""A list of targets that cannot be used is told of in the log so often while somebody looks."""

ALONE: Final = (
    "Only this API process is shown. Set DIFFUSION_API_FIGURES_TARGETS to a file that `diffusion "
    "targets` writes, and start it anew, to see the workers too: what writing costs is theirs."
)
NOBODY: Final = (
    "No worker has announced itself yet. Start them: `diffusion stream-worker` and `diffusion "
    "materializer`."
)
UNUSABLE: Final = (
    "The list of the other processes cannot be used, so only this one is shown: the log of the API "
    "says why."
)


class Board:
    """Tells figures. For one event loop; `close` ends its connections.

    `pattern` finds the targets (`infra.figures.targets`); empty for this process alone. `exported`
    gives its own metrics in the text format.
    """

    def __init__(
        self,
        pattern: str,
        exported: Callable[[], bytes],
        monotonic_s: Callable[[], float],
        viewer: Viewer | None = None,
    ) -> None:
        self._pattern = pattern
        self._exported = exported
        self._monotonic_s = monotonic_s
        self._viewer = viewer or Viewer()
        self._lock = asyncio.Lock()
        self._last: tuple[float, Figures] | None = None
        self._complaint = Seldom(SAY_AGAIN_S)

    async def figures(self) -> Figures:
        """Figures of now, or of a second ago at most."""
        # Who comes while the processes are asked waits for the same answer.
        async with self._lock:
            if self._last is None or self._monotonic_s() - self._last[0] >= AGE_S:
                found = await self._look()
                self._last = (self._monotonic_s(), found)
            return self._last[1]

    async def close(self) -> None:
        """End all connections."""
        await self._viewer.close()

    async def _look(self) -> Figures:
        targets, missing = await self._targets()
        own = None
        if all(target.program != "api" for target in targets):
            own = ("api", await asyncio.to_thread(self._exported))
        return await self._viewer.look(targets, own=own, missing=missing, addresses=False)

    async def _targets(self) -> tuple[list[Target], str]:
        """Which processes to ask, and why not more."""
        if not self._pattern:
            return [], ALONE
        try:
            found = await asyncio.to_thread(find, self._pattern)
        except PermanentError as error:
            if self._complaint.is_due(self._monotonic_s()):
                log.warning("api.figures_targets: %s", error)
            return [], UNUSABLE
        workers = any(target.program != "api" for target in found)
        return found, "" if workers else NOBODY
