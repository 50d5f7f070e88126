"""What was found, as values: collected by `diffusion.doctor.look`, judged by `judge`. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.topics import Layout


class Port(NamedTuple):
    """A listener of a server of this machine. `holder` is who else has its port, if somebody."""

    name: str
    port: int
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine where our servers are started. `java`: why it cannot be used."""

    java: str | None = None
    ports: tuple[Port, ...] = ()
    free_bytes: int = 2**40
    free_bytes_min: int = 2**30
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Kafka:
    """Kafka. `newest_ms` is the time of the newest change, as the broker stamped it, and `at_ms`
    ours then; a topic is None if it does not exist.
    """

    brokers: int
    wanted: Mapping[str, Layout]
    found: Mapping[str, Layout | None]
    newest_ms: int | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Cassandra:
    """Cassandra. `ahead_ms` is its clock less ours, give or take `blur_ms`; `replicas` those of the
    keyspace in our datacenter, None without a keyspace; `refusal` is why these tables are not used.
    """

    releases: frozenset[str]
    nodes: int
    ahead_ms: int
    blur_ms: int
    replicas: int | None
    version: int = 0
    version_wanted: int = 0
    refusal: str | None = None
    tables_wanted: frozenset[str] = frozenset()
    default_ttls: Mapping[str, int] = field(default_factory=dict)
    """Seconds, by table."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the settings say of secrets, without saying them."""

    development_jwt: bool = False
    cassandra_default: bool = False
    kafka_clear: bool = False
    """Spoken to over the network, and not encrypted."""
    cassandra_clear: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it; a sentence in place of what could not be looked at, None for what is not ours."""

    machine: Machine | None
    kafka: Kafka | str
    cassandra: Cassandra | str
    secrets: Secrets
    open_files: int | None
    """As many as a process may have; None: there is no limit."""
    open_files_wanted: int
    """By the API, at its limits."""
    retention_ms: int
    """How far a cursor may reach back."""
