"""Programs of this machine say where their metrics are, so that `diffusion top` and the API's page
find them without being told.

Only beside servers that `diffusion up` runs: an installation names its processes itself, for
Prometheus. Each program writes a file of its own, as Prometheus reads them (`file_sd_configs`), and
takes it away when it ends. What a killed one left stays, so that it is shown as down, until a
program of its kind starts.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
import psutil

from diffusion.processes import bracketed
from diffusion.targets import listed
from infra.local.ports import free_ports
from infra.local.settings import default_data_dir
from schemas.errors import PermanentError

if TYPE_CHECKING:
    from infra.settings import Settings

log = logging.getLogger("diffusion")

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

SECTIONS: Final = {
    "stream-worker": "stream",
    "materializer": "materializer",
    "openim-tap": "openim",
}
"""Section of the settings of each program that serves its metrics on a port of their own."""


def is_here(settings: Settings) -> bool:
    """Whether Kafka and Cassandra are ours to run on this machine. Servers that speak TLS or ask
    Kafka's clients for a password are somebody else's: ours do neither.
    """
    kafka_host, _, kafka_port = settings.kafka.bootstrap_servers.rpartition(":")
    hosts = settings.cassandra.hosts
    here = kafka_host in LOOPBACK and len(hosts) == 1 and hosts[0] in LOOPBACK
    plain = settings.kafka.security_protocol == "PLAINTEXT" and not settings.cassandra.tls
    return settings.local.manage and here and plain and kafka_port.isdigit()


def folder_of(settings: Settings) -> Path:
    """Where programs announce themselves: beside the data of their servers."""
    data_dir = settings.local.data_dir or default_data_dir()
    return data_dir.with_name(f"{data_dir.name}-programs")


def pattern_of(settings: Settings, targets: str | None = None) -> str:
    """Where the list of processes is: what was asked for, else what is set, else announced.

    Raises `PermanentError` if there is none.
    """
    if found := targets or settings.api.figures_targets:
        return found
    if is_here(settings):
        return str(folder_of(settings) / "*.json")
    raise PermanentError(
        "Nothing says where the programs are. List them as for Prometheus, and name the file: "
        "`diffusion targets --stream-workers 2 > targets.json; diffusion top --targets "
        "targets.json`, or set DIFFUSION_API_FIGURES_TARGETS."
    )


@contextmanager
def announced(kind: str, settings: Settings) -> Iterator[Settings]:
    """Settings with which a program is found, and its file for as long as it runs; where the
    servers are somebody else's, the settings as they are.
    """
    if not is_here(settings):
        yield settings
        return
    used = _with_port(kind, settings)
    path = folder_of(used) / f"{kind}-{os.getpid()}.json"
    try:
        _write(path, kind, used)
    except OSError as error:
        log.warning("%s: diffusion top will not find this %s (%s)", path, kind, error.strerror)
    try:
        yield used
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def run(kind: str, main: Callable[[Settings], None]) -> None:
    """Load the settings, and run a program with them, announced."""
    from infra.settings import load

    with announced(kind, load()) as settings:
        main(settings)


def _with_port(kind: str, settings: Settings) -> Settings:
    """A worker without a port for its metrics is given a free one; an API is told of the others."""
    if kind == "api":
        targets = {"figures_targets": pattern_of(settings)}
        return settings.model_copy(update={"api": settings.api.model_copy(update=targets)})
    name = SECTIONS[kind]
    section = getattr(settings, name)
    if section.metrics_port:
        return settings
    (port,) = free_ports(1)
    return settings.model_copy(update={name: section.model_copy(update={"metrics_port": port})})


def _write(path: Path, kind: str, settings: Settings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{kind}-*.json"):
        pid = left.stem.rpartition("-")[2]
        if not pid.isdigit() or not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)
    api_tls = settings.api.tls_cert_file is not None
    # Whoever reads finds a whole file or none.
    unfinished = path.with_suffix(".new")
    unfinished.write_bytes(
        orjson.dumps(listed({kind: [_address(kind, settings)]}, api_tls=api_tls))
    )
    unfinished.replace(path)


def _address(kind: str, settings: Settings) -> str:
    if kind == "api":
        host, port = settings.api.host, settings.api.port
    else:
        section = getattr(settings, SECTIONS[kind])
        host, port = section.metrics_host, section.metrics_port
    return f"{bracketed(host)}:{port}"
