"""What it takes to run one server, as a value: files to write, a command, a way to ask.

`kafka_server` and `cassandra_server` make plans from settings, without touching anything;
`lifecycle` carries them out. A test makes a plan of a fake program and meets every way a start can
fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.process import port_option
from infra.local.settings import LocalSettings

FORMATTING = "formatting-"
"""How the names of folders begin that storage is formatted in, under `tmp/`."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is known of a server without Java, jars or a disk."""

    name: str
    title: str
    data_dir: Path
    port: int
    listeners: Mapping[str, int]
    """Setting name to port, for all that it listens on; `port` is one of them."""
    answers: Callable[[int, float], bool]
    """Whether a real request to (port, timeout in s) is answered."""
    identity: tuple[str, ...]
    """Arguments that only this server of this data directory has on its command line."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Arguments for its command line: who it is, and where it listens."""
        return (*self.identity, port_option(self.port))

    @property
    def pid_file(self) -> Path:
        """Which process it is."""
        return self.data_dir / "run" / f"{self.name}.json"

    @property
    def folder(self) -> Path:
        """Its data."""
        return self.data_dir / self.name

    @property
    def log(self) -> Path:
        """What it logs; rolled by itself."""
        return self.data_dir / "logs" / f"{self.name}.log"

    @property
    def console(self) -> Path:
        """What it prints besides: little, written anew at each start."""
        return self.data_dir / "logs" / f"{self.name}.console.log"

    @property
    def temporary(self) -> Path:
        """Its own `/tmp`, emptied before each start."""
        return self.data_dir / "tmp" / self.name


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to start a server. Commands run in the data directory."""

    server: Server
    files: Mapping[Path, str]
    command: tuple[str, ...]
    format_command: tuple[str, ...] = ()
    """Run once before the first start, if `is_formatted` says that it has not been."""
    format_target: Path | None = None
    """The folder `format_command` fills; it becomes `server.folder` when that was done."""
    is_formatted: Callable[[], bool] = field(default=lambda: True)


@dataclass(frozen=True)
class Runtime:
    """What all plans need besides settings."""

    settings: LocalSettings
    java: Path
    class_path: tuple[Path, ...]
