"""Processes: start one that outlives us, find it again, end it, and never end another's.

A pid file holds the process id and the time the process started; the command line of each server
holds two marks of ours (`identity_options`). A process is ours only when all agree, so that a
process id that the system gave to somebody else is never touched. When the file is lost or late
(the starter was killed between fork and write), the marks alone find the server again.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
import psutil

from infra.clock import monotonic_s

START_TIME_TOLERANCE_S = 2.0
"""psutil computes start times from the boot time, which shifts a little when the clock is set."""

_POLL_S = 0.05
_EXEC_POLL_S = 0.0005

_children: dict[int, subprocess.Popen[bytes]] = {}
# A child that ended stays a zombie until its parent asks; kept here, so that somebody can.


def identity_options(name: str, data_dir: Path) -> tuple[str, ...]:
    """JVM options that tell server `name` of `data_dir` from every other process."""
    return (f"-Dwrite-diffusion.server={name}", f"-Dwrite-diffusion.data={data_dir}")


def port_option(port: int) -> str:
    """A JVM option that tells where the server was started to listen."""
    return f"-Dwrite-diffusion.port={port}"


def spawn(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Path
) -> psutil.Process:
    """Start `command` in its own session: neither Ctrl-C here nor our end reaches it."""
    with output.open("wb") as console:
        child = subprocess.Popen(  # noqa: S603  # our own command line, no shell
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    started = psutil.Process(child.pid)
    # Linux shows an empty command line for some microseconds more: nobody could find it by that.
    while alive(started) and not carries(started, command[1:]):
        time.sleep(_EXEC_POLL_S)
    return started


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended and was not yet collected does not."""
    child = _children.get(process.pid)
    if child is not None:
        return child.poll() is None
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            running: bool = process.is_running()
            return running
        # The first thread of a killed JVM is a zombie while the others still hold its ports.
        return int(process.num_threads()) > 1
    except psutil.NoSuchProcess:
        return False


def ending(process: psutil.Process) -> str:
    """How a child of ours ended, as a verb phrase."""
    child = _children.get(process.pid)
    code = None if child is None else child.poll()
    if code is None:
        return "ended"
    if code < 0:
        return f"was ended by signal {-code}"
    return f"ended with exit code {code}"


def record(pid_file: Path, process: psutil.Process) -> None:
    """Write the pid file, whole or not at all."""
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    partial = pid_file.with_suffix(".partial")
    content = {"pid": process.pid, "started_s": process.create_time()}
    partial.write_bytes(orjson.dumps(content))
    partial.replace(pid_file)


def recorded(pid_file: Path, identity: Sequence[str]) -> psutil.Process | None:
    """The process that the pid file names, if it lives and is the one that was recorded."""
    try:
        content = orjson.loads(pid_file.read_bytes())
        process = psutil.Process(int(content["pid"]))
        started_s = float(content["started_s"])
        same_start = abs(process.create_time() - started_s) <= START_TIME_TOLERANCE_S
    except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return process if same_start and carries(process, identity) and alive(process) else None


def search(identity: Sequence[str]) -> psutil.Process | None:
    """The living process that carries our marks, among all processes of this machine."""
    return next(
        (found for found in psutil.process_iter() if carries(found, identity) and alive(found)),
        None,
    )


def carries(process: psutil.Process, options: Sequence[str]) -> bool:
    """Whether all `options` are on its command line; False when it is gone or hidden from us."""
    try:
        return set(options) <= set(process.cmdline())
    except psutil.Error:
        return False


def end(process: psutil.Process, *, patience_s: float, kill_wait_s: float) -> bool:
    """SIGTERM, `patience_s` of waiting, SIGKILL; False if it is there `kill_wait_s` later."""
    if patience_s > 0 and _signal(process, psutil.Process.terminate):
        wait_for_end(process, patience_s)
    if alive(process):
        _signal(process, psutil.Process.kill)
    return wait_for_end(process, kill_wait_s)


def wait_for_end(process: psutil.Process, timeout_s: float) -> bool:
    """Whether it ended within `timeout_s`. By polling: it need not be a child of ours."""
    deadline = monotonic_s() + timeout_s
    while alive(process):
        if monotonic_s() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(process: psutil.Process, send: Callable[[psutil.Process], None]) -> bool:
    try:
        send(process)  # psutil looks at the start time again before it signals
    except psutil.NoSuchProcess:
        return False
    return True
