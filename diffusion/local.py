"""Servers by settings: started here, or somebody else's and only looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diffusion.announced import is_here
from infra.cassandra.session import Session
from infra.kafka.admin import Admin
from infra.local.servers import LocalServers
from infra.local.servers import LocalSettings as ServerSettings
from infra.local.settings import default_cache_dir, default_data_dir
from infra.settings import Settings
from schemas.errors import DiffusionError


@dataclass(frozen=True, slots=True)
class Existing:
    """A server that `diffusion` does not start: whether it answers, and what it says if not."""

    name: str
    address: str
    answers: bool
    detail: str = ""


def managed(
    settings: Settings, on_progress: Callable[[str, str], None] = lambda _name, _what: None
) -> LocalServers | None:
    """The servers of this machine that the settings describe; None if they are somebody else's."""
    if not is_here(settings):
        return None
    kafka_port = settings.kafka.bootstrap_servers.rpartition(":")[2]
    local = settings.local
    return LocalServers(
        ServerSettings(
            data_dir=local.data_dir or default_data_dir(),
            cache_dir=local.cache_dir or default_cache_dir(),
            kafka_port=int(kafka_port),
            kafka_controller_port=local.kafka_controller_port,
            kafka_advertised_port=local.kafka_advertised_port,
            cassandra_port=settings.cassandra.port,
            cassandra_storage_port=local.cassandra_storage_port,
            kafka_heap_mb=local.kafka_heap_mb,
            cassandra_heap_mb=local.cassandra_heap_mb,
            start_timeout_s=local.start_timeout_s,
        ),
        on_progress=on_progress,
    )


def existing(settings: Settings) -> tuple[Existing, ...]:
    """Ask both servers a real question."""
    kafka = settings.kafka.bootstrap_servers
    cassandra = f"{settings.cassandra.contact_points}:{settings.cassandra.port}"

    def ask_kafka() -> None:
        Admin(settings.kafka).ping()

    def ask_cassandra() -> None:
        Session(settings.cassandra).close()

    return _ask("kafka", kafka, ask_kafka), _ask("cassandra", cassandra, ask_cassandra)


def _ask(name: str, address: str, question: Callable[[], None]) -> Existing:
    try:
        question()
    except DiffusionError as error:
        return Existing(name, address, answers=False, detail=str(error))
    return Existing(name, address, answers=True)
