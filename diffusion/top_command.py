"""`diffusion top`: asks the processes, again and again, and draws what they say."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from diffusion.output import Json, fail, print_json
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from infra.figures.figures import Figures
    from infra.figures.scrape import Viewer

INTERVAL_MIN_S: Final = 0.5
INTERVAL_MAX_S: Final = 60.0
"""Between two looks: more often costs the processes more than it tells, less often is a log."""


def top(
    *,
    interval: float = 2.0,
    once: Annotated[bool, Parameter(negative=())] = False,
    targets: str | None = None,
    ca_file: Path | None = None,
    json: Json = False,
) -> None:
    """Watch live what the processes count: diffusion volume, lag, syncs, Cassandra, who is up.

    Ends by Ctrl-C. Where the output is no terminal it is as with --once. With --once or --json the
    exit code is 1 if no process answers.

    Parameters
    ----------
    interval
        Seconds between two looks; rates need two.
    once
        Look twice, print plain text, and end.
    targets
        Where the processes are: a file as `diffusion targets` writes it, or a pattern such as
        `/run/diffusion/*.json`. By default `api.figures_targets`, or the programs that run on this
        machine beside the servers of `diffusion up`.
    ca_file
        Certificates of the authorities that may vouch for an API that speaks TLS.

    """
    from diffusion.announced import pattern_of
    from infra.settings import load

    if not INTERVAL_MIN_S <= interval <= INTERVAL_MAX_S:
        raise PermanentError(
            f"--interval is {interval:g}: give seconds from {INTERVAL_MIN_S:g} to "
            f"{INTERVAL_MAX_S:g}."
        )
    if ca_file is not None:
        _check(ca_file)
    pattern = pattern_of(load(), targets)
    program = _Program(pattern, interval, None if ca_file is None else str(ca_file))
    if not (once or json or not sys.stdout.isatty()):
        asyncio.run(program.watch())
        return
    found = asyncio.run(program.once())
    _print(found, json=json)
    if not any(one.state != "down" for one in found.processes):
        fail("No process answers.")


def _check(ca_file: Path) -> None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise PermanentError(
            f"--ca-file names {ca_file}, which cannot be used ({error.strerror or error}): name a "
            "file of certificates in PEM."
        ) from error


class _Program:
    """One run of the command."""

    def __init__(self, pattern: str, interval_s: float, ca_file: str | None) -> None:
        self._pattern = pattern
        self._interval_s = interval_s
        self._ca_file = ca_file

    async def once(self) -> Figures:
        """Two looks: what the second one says."""
        viewer = self._viewer()
        try:
            await self._look(viewer)
            await asyncio.sleep(self._interval_s)
            return await self._look(viewer)
        finally:
            await viewer.close()

    async def watch(self) -> None:
        """Look until a signal, which is the end and no error."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises
                loop.add_signal_handler(one, task.cancel)
        with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
            await self._draw()

    async def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        from diffusion.top_view import History, view

        viewer, history = self._viewer(), History()
        try:
            with Live(console=Console(), screen=True, auto_refresh=False) as live:
                while True:
                    found = await self._look(viewer)
                    history.add(found)
                    live.update(view(found, history), refresh=True)
                    await asyncio.sleep(self._interval_s)
        finally:
            await viewer.close()

    def _viewer(self) -> Viewer:
        from infra.figures.counting import WINDOW_S
        from infra.figures.scrape import Viewer

        return Viewer(self._ca_file, window_s=max(WINDOW_S, self._interval_s))

    async def _look(self, viewer: Viewer) -> Figures:
        from infra.figures.targets import find

        targets = await asyncio.to_thread(find, self._pattern)
        missing = "" if targets else f"No process is listed in {self._pattern}. {START}"
        return await viewer.look(targets, missing=missing)


START: Final = (
    "Start them: `diffusion up`, then `diffusion stream-worker`, `diffusion materializer` and "
    "`diffusion api`."
)


def _print(found: Figures, *, json: bool) -> None:
    import msgspec
    from rich.console import Console

    from diffusion.top_view import WIDTH, History, view

    if json:
        print_json(msgspec.to_builtins(found))
        return
    Console(width=WIDTH, highlight=False).print(view(found, History()))
