"""Where the servers of this machine live and how large they may grow. Values only, no I/O.

Several sets of servers run side by side when each has its own `data_dir` and its own ports; the
cache of jars is shared by all. Everything listens on loopback, and only there.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from infra.local.errors import DataDirError, SettingsClashError

LOOPBACK = "127.0.0.1"
"""The only address anything here listens on: there is no authentication."""

MIB = 1024 * 1024

FREE_DATA_BYTES_MIN = 1024 * MIB
"""Free space to start with: Cassandra's commit log alone may take 512 MiB, Kafka's first segments
and the system tables some 100 MiB, and a server that runs into a full disk stops in mid-write."""

FREE_CACHE_BYTES_MIN = 256 * MIB
"""Free space to download with: the jars are 114 MiB, and each is there twice for a moment."""

STOP_TIMEOUT_S = 30.0
"""From SIGTERM to SIGKILL. Cassandra flushes what is in memory; both need 1 to 3 s when idle."""

KILL_TIMEOUT_S = 10.0
"""From SIGKILL to giving up: the kernel frees 1 GiB in well under a second."""

PROBE_INTERVAL_S = 0.1
"""Between two looks at a starting server."""

PROBE_TIMEOUT_S = 5.0
"""For one real request to a server that accepts connections; generous, for a loaded machine."""

LOCK_WAIT_S = 300.0
"""For another process that starts servers or downloads jars: a slow first download included."""

LOG_BYTES_MAX = 16 * MIB
"""One log file; each server keeps the present one and LOG_FILES_KEPT older ones."""

LOG_FILES_KEPT = 2

_PORT_FIELDS = (
    "kafka_port",
    "kafka_controller_port",
    "cassandra_port",
    "cassandra_storage_port",
)


def _xdg(variable: str, fallback: str) -> Path:
    # The XDG specification: a relative path in the variable is to be ignored.
    value = os.environ.get(variable, "")
    base = Path(value) if Path(value).is_absolute() else Path.home() / fallback
    return base / "write-diffusion"


def default_data_dir() -> Path:
    """`write-diffusion` in the user's state folder."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def default_cache_dir() -> Path:
    """`write-diffusion` in the user's cache folder."""
    return _xdg("XDG_CACHE_HOME", ".cache")


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """One set of servers.

    Raises SettingsClashError when two listeners share a port, DataDirError for a cache directory
    that cannot be part of a class path.
    """

    data_dir: Path = field(default_factory=default_data_dir)
    cache_dir: Path = field(default_factory=default_cache_dir)
    kafka_port: int = 19092
    kafka_controller_port: int = 19093
    kafka_advertised_port: int = 0
    """Where clients are told to come, if not to `kafka_port`: a proxy in front of it."""
    cassandra_port: int = 19042
    cassandra_storage_port: int = 17000
    kafka_heap_mb: int = 512
    cassandra_heap_mb: int = 1024
    commitlog_sync: Literal["batch", "periodic"] = "batch"
    """`batch` keeps every acknowledged write over a SIGKILL; see `cassandra_server`."""
    start_timeout_s: float = 120

    def __post_init__(self) -> None:
        ports = {name: getattr(self, name) for name in _PORT_FIELDS}
        value, count = Counter(ports.values()).most_common(1)[0]
        if count > 1:
            names = tuple(name for name, port in ports.items() if port == value)
            raise SettingsClashError(names, value)
        if os.pathsep in str(self.cache_dir):
            raise DataDirError(
                f"{self.cache_dir} cannot hold the jars, since {os.pathsep!r} separates the "
                "entries of a class path; choose another cache_dir."
            )

    @property
    def logs_dir(self) -> Path:
        """Log files of both servers."""
        return self.data_dir / "logs"
