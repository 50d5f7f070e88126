"""Carries out a plan: checks, files, process, and the wait for its first answer. Ends it again.

Works on one server at a time and holds no state but what is on the disk; who may call when is the
business of `servers`. Every way a start can fail leaves no process behind.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

import psutil

from infra.clock import monotonic_s
from infra.local import log_files, ports, process
from infra.local.data_dir import check_free_space
from infra.local.errors import (
    PortsChangedError,
    PortTakenError,
    ServerDiedError,
    StartTimeoutError,
    StopError,
)
from infra.local.java import child_environment
from infra.local.plan import FORMATTING, Plan, Server
from infra.local.settings import (
    FREE_DATA_BYTES_MIN,
    KILL_TIMEOUT_S,
    PROBE_INTERVAL_S,
    PROBE_TIMEOUT_S,
    STOP_TIMEOUT_S,
)

FORMAT_TIMEOUT_S = 60.0
"""For a tool that takes a second."""


PORT_RELEASE_S = 1.0
"""A process that was just killed holds its ports some milliseconds longer than it lives."""


class StartCancelled(Exception):  # not an error: somebody else's error is the reason
    """The start was given up, because the other server could not be started."""


@dataclass(frozen=True, kw_only=True)
class StartContext:
    """How a start talks to the world while it runs."""

    timeout_s: float
    progress: Callable[[str], None]
    cancelled: Event


def find(server: Server, *, thorough: bool = False) -> psutil.Process | None:
    """The living process of this server and data directory, by its pid file or by its marks.

    When the pid file names none, all processes are looked at only if somebody listens on a port of
    the server, or if `thorough`: one that lost its file may not listen yet.
    """
    found = process.recorded(server.pid_file, server.identity)
    if found is not None:
        return found
    if not thorough and all(ports.is_free(port) for port in server.listeners.values()):
        return None
    return process.search(server.identity)


def check_can_start(server: Server) -> None:
    """Raises DiskFullError or PortTakenError; cheap, and before anything is downloaded."""
    check_free_space(server.data_dir, FREE_DATA_BYTES_MIN)
    for setting, port in server.listeners.items():
        if not ports.becomes_free(port, PORT_RELEASE_S):
            raise PortTakenError(server.title, port, setting, ports.describe_holder(port))


def check_same_port(server: Server, running: psutil.Process) -> None:
    """Raises PortsChangedError when it was started for another port than it is asked on now."""
    if process.alive(running) and not process.carries(running, server.marks):
        raise PortsChangedError(server.title, running.pid, server.port)


def start(plan: Plan, context: StartContext) -> psutil.Process:
    """Start it and return when it answers.

    Raises StartTimeoutError, ServerDiedError, StartCancelled; the process is then gone.
    """
    server = plan.server
    _write_files(plan)
    if not plan.is_formatted():
        context.progress("formatting its storage")
        _format(plan)
    offset = log_files.size_of(server.log)
    context.progress("starting")
    started = process.spawn(
        plan.command,
        folder=server.data_dir,
        environment=child_environment(),
        output=server.console,
    )
    try:
        process.record(server.pid_file, started)
        await_answer(server, started, context, log_offset=offset)
    except BaseException:  # Ctrl-C, too: what did not come up is not left behind
        process.end(started, patience_s=0, kill_wait_s=KILL_TIMEOUT_S)
        server.pid_file.unlink(missing_ok=True)
        raise
    return started


def await_answer(
    server: Server, running: psutil.Process, context: StartContext, *, log_offset: int = 0
) -> None:
    """Return when it answers. Raises StartTimeoutError, ServerDiedError, StartCancelled."""
    began = monotonic_s()
    while not server.answers(server.port, PROBE_TIMEOUT_S):
        waited_s = monotonic_s() - began
        if not process.alive(running):
            line = _last_words(server, log_offset)
            raise ServerDiedError(server.title, process.ending(running), server.log, line)
        if waited_s >= context.timeout_s:
            line = _last_words(server, log_offset)
            raise StartTimeoutError(server.title, context.timeout_s, server.log, line)
        if context.cancelled.wait(PROBE_INTERVAL_S):
            raise StartCancelled
    context.progress(f"answers after {monotonic_s() - began:.1f} s")


def stop(server: Server, *, patience_s: float = STOP_TIMEOUT_S) -> bool:
    """End it, with SIGKILL at once if `patience_s` is 0. False when it was not running.

    Raises StopError.
    """
    running = find(server, thorough=True)
    if running is None:
        server.pid_file.unlink(missing_ok=True)  # stale: of a killed server, or before a reboot
        return False
    if not process.end(running, patience_s=patience_s, kill_wait_s=KILL_TIMEOUT_S):
        raise StopError(server.title, running.pid, KILL_TIMEOUT_S)
    server.pid_file.unlink(missing_ok=True)
    return True


def _write_files(plan: Plan) -> None:
    server = plan.server
    shutil.rmtree(server.temporary, ignore_errors=True)
    if plan.format_target is not None:
        for leftover in plan.format_target.parent.glob(f"{FORMATTING}*"):
            if leftover.is_file():
                leftover.unlink()
            else:
                shutil.rmtree(leftover, ignore_errors=True)
    for folder in (server.temporary, server.log.parent, server.pid_file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in plan.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _format(plan: Plan) -> None:
    """Fill a folder of its own, and put it in place in one step. Raises as `start` does."""
    server, target = plan.server, plan.format_target
    if target is None:
        raise AssertionError(f"{server.name} has nothing to format")
    with server.console.open("wb") as console:
        try:
            done = subprocess.run(  # noqa: S603  # our own command line, no shell
                plan.format_command,
                cwd=server.data_dir,
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                timeout=FORMAT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            line = _last_words(server, log_files.size_of(server.log))
            raise StartTimeoutError(server.title, FORMAT_TIMEOUT_S, server.console, line) from None
    if done.returncode != 0:
        line = _last_words(server, log_files.size_of(server.log))
        ending = f"could not format its storage (exit code {done.returncode})"
        raise ServerDiedError(server.title, ending, server.console, line)
    # What is there was never formatted: `is_formatted` refuses to lose partitions.
    shutil.rmtree(server.folder, ignore_errors=True)
    target.rename(server.folder)


def _last_words(server: Server, log_offset: int) -> str:
    logged = log_files.lines_since(server.log, log_offset)
    return log_files.telling_line(logged, log_files.lines_since(server.console, 0))
