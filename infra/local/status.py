"""How a server is at one moment: looked up, asked, measured, and nothing changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from infra.clock import now_ms
from infra.local import data_dir, lifecycle, ports
from infra.local.jar_lock import read_lock
from infra.local.plan import Server
from infra.local.settings import PROBE_TIMEOUT_S

State = Literal["running", "starting", "stopped", "foreign"]
"""running: answers. starting: lives, and does not answer yet (or no more). stopped: is not there.
foreign: is not there, and somebody else listens on its port."""


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """One server at one moment."""

    name: str
    state: State
    pid: int | None
    port: int
    data_bytes: int
    version: str
    uptime_s: float | None
    log: Path


def status_of(server: Server) -> ServerStatus:
    """Ask the server a real question, and the system the rest; some ten milliseconds."""
    running = lifecycle.find(server)
    now_s = now_ms() / 1000
    state: State
    if running is None:
        state = "stopped" if ports.is_free(server.port) else "foreign"
    else:
        state = "running" if server.answers(server.port, PROBE_TIMEOUT_S) else "starting"
    return ServerStatus(
        name=server.name,
        state=state,
        pid=None if running is None else running.pid,
        port=server.port,
        data_bytes=data_dir.used_bytes(server.folder),
        version=read_lock()[server.name][0].version,
        uptime_s=None if running is None else max(0.0, now_s - _started_s(running, now_s)),
        log=server.log,
    )


def _started_s(running: psutil.Process, default_s: float) -> float:
    try:
        started_s: float = running.create_time()
    except psutil.NoSuchProcess:  # ended while we looked
        return default_s
    return started_s
