"""The servers and the lines to them: all between our programs and a server goes by a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from diffusion.chaos.plan import CASSANDRA, KAFKA
from diffusion.console import Console
from diffusion.demo import own_servers
from diffusion.local import managed
from diffusion.lossy import LossyProxy, Weather
from infra.local.servers import LocalServers
from infra.local.settings import LOOPBACK
from infra.settings import PolicySettings, Settings

POLICY: Final = PolicySettings(members_max=40, members_return=30, sweep_seconds=5)
"""Small, so that conversations switch both ways during the run."""

CALM: Final = Weather()


@dataclass(frozen=True, slots=True)
class Ground:
    """Servers that run, the lines to them, and the settings of programs that go through those."""

    settings: Settings
    servers: LocalServers
    lines: dict[str, LossyProxy]
    folder: Path


@contextmanager
def ground(settings: Settings, folder: Path, seed: int, console: Console) -> Iterator[Ground]:
    """Start empty servers under a folder, and take all of it down at the end."""
    direct = own_servers(settings, folder / "servers")
    kafka_port = int(direct.kafka.bootstrap_servers.rpartition(":")[2])
    with ExitStack() as stack:
        lines = {
            name: stack.enter_context(LossyProxy(LOOPBACK, port, CALM, seed))
            for name, port in ((KAFKA, kafka_port), (CASSANDRA, direct.cassandra.port))
        }
        advertised = direct.local.model_copy(update={"kafka_advertised_port": lines[KAFKA].port})
        direct = direct.model_copy(update={"local": advertised})
        servers = managed(direct, console.server)
        assert servers is not None
        stack.callback(servers.down)
        servers.up(fresh=True)
        bootstrap = f"{LOOPBACK}:{lines[KAFKA].port}"
        through = direct.model_copy(
            update={
                "kafka": direct.kafka.model_copy(update={"bootstrap_servers": bootstrap}),
                "cassandra": direct.cassandra.model_copy(update={"port": lines[CASSANDRA].port}),
                "policy": POLICY,
            }
        )
        yield Ground(through, servers, lines, folder)
