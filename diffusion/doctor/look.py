"""Collect what is judged: ask Kafka, Cassandra and this machine, and change nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from diffusion.announced import LOOPBACK
from diffusion.doctor.facts import Cassandra, Facts, Kafka, Machine, Port, Secrets
from diffusion.local import managed
from infra.api_settings import DEVELOPMENT_SECRET
from infra.cassandra import schema
from infra.cassandra.session import Session
from infra.clock import now_ms
from infra.files import FILES_BESIDE_CONNECTIONS, open_files_max
from infra.kafka.admin import Admin, TopicMissing, wanted_topics
from infra.local.errors import JavaMissingError
from infra.local.java import java_executable
from infra.local.settings import FREE_DATA_BYTES_MIN
from infra.settings import CassandraSettings, Settings
from schemas.errors import DiffusionError
from schemas.topics import CHANGES, Layout

T = TypeVar("T")

SELECT_NOW: Final = "SELECT now() FROM system.local"
SELECT_OWN: Final = "SELECT release_version FROM system.local"
SELECT_PEERS: Final = "SELECT release_version FROM system.peers_v2"
SELECT_REPLICATION: Final = (
    "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?"
)
SELECT_TABLES: Final = (
    "SELECT table_name, default_time_to_live FROM system_schema.tables WHERE keyspace_name = ?"
)

CASSANDRA_DEFAULT: Final = "cassandra"
"""Password of the role that every new cluster has (CassandraRoleManager)."""

_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)")

_UUID_EPOCH_MS: Final = 12_219_292_800_000
"""From the epoch of time UUIDs, 1582-10-15 (RFC 9562), to 1970."""


def collect(settings: Settings) -> Facts:
    """Look at everything; what is away becomes a sentence."""
    return Facts(
        machine=_machine(settings),
        kafka=_or_why(lambda: _kafka(settings)),
        cassandra=_or_why(lambda: _cassandra(settings.cassandra)),
        secrets=secrets(settings),
        open_files=open_files_max(),
        open_files_wanted=settings.api.connections_max + FILES_BESIDE_CONNECTIONS,
        retention_ms=settings.log.retention_ms,
    )


def _or_why(question: Callable[[], T]) -> T | str:
    try:
        return question()
    except DiffusionError as error:
        return str(error)


def _machine(settings: Settings) -> Machine | None:
    servers = managed(settings)
    if servers is None:
        return None
    try:
        java_executable()
        why = None
    except JavaMissingError as error:
        why = str(error)
    folder = servers.settings.data_dir
    return Machine(
        java=why,
        ports=tuple(Port(name, port, who) for name, (port, who) in servers.holders().items()),
        free_bytes=shutil.disk_usage(_existing(folder)).free,
        free_bytes_min=FREE_DATA_BYTES_MIN,
        folder=str(folder),
    )


def _existing(folder: Path) -> Path:
    """The folder, or the next one above it that is there: it is on the same disk."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _kafka(settings: Settings) -> Kafka:
    wanted = wanted_topics(settings)
    with Admin(settings.kafka) as admin:
        brokers = admin.brokers()
        found = {name: _layout(admin, name) for name in wanted}
        newest_ms = admin.newest_ms(CHANGES.name) if found[CHANGES.name] is not None else None
    return Kafka(
        brokers=brokers,
        wanted=wanted,
        found=found,
        newest_ms=newest_ms,
        at_ms=now_ms(),
    )


def _layout(admin: Admin, topic: str) -> Layout | None:
    try:
        return admin.layout(topic)
    except TopicMissing:
        return None


def _cassandra(settings: CassandraSettings) -> Cassandra:
    session = Session(settings)
    try:
        return _tables(session, settings)
    finally:
        session.close()


def _tables(session: Session, settings: CassandraSettings) -> Cassandra:
    releases = [row[0] for row in (*session.read(SELECT_OWN), *session.read(SELECT_PEERS))]
    ahead_ms, blur_ms = _clock(session)
    keyspaces = session.read(SELECT_REPLICATION, (settings.keyspace,))
    ttls: dict[str, int] = dict(session.read(SELECT_TABLES, (settings.keyspace,)))
    held = session.read(schema.SELECT_VERSION) if "schema_versions" in ttls else []
    version, compat = held[0] if held else (0, 0)
    return Cassandra(
        releases=frozenset(releases),
        nodes=len(releases),
        ahead_ms=ahead_ms,
        blur_ms=blur_ms,
        replicas=_replicas(keyspaces[0][0], settings) if keyspaces else None,
        version=version,
        version_wanted=schema.SCHEMA_VERSION,
        refusal=schema.refusal(version, compat),
        tables_wanted=wanted_tables(),
        default_ttls=ttls,
    )


def _clock(session: Session) -> tuple[int, int]:
    """Milliseconds that its clock is ahead of ours, and by how many that may be wrong."""
    session.prepare(SELECT_NOW)  # a trip of its own, which is not to be counted
    before_ms = now_ms()
    ((now,),) = session.read(SELECT_NOW)
    after_ms = now_ms()
    theirs_ms = now.time // 10_000 - _UUID_EPOCH_MS
    return theirs_ms - (before_ms + after_ms) // 2, (after_ms - before_ms + 1) // 2


def _replicas(replication: dict[str, str], settings: CassandraSettings) -> int:
    """Of the keyspace in our datacenter; SimpleStrategy knows no datacenters."""
    if replication["class"].endswith("SimpleStrategy"):
        return int(replication["replication_factor"])
    return int(replication.get(settings.local_datacenter, "0"))


def wanted_tables() -> frozenset[str]:
    """The tables that the migrations make."""
    statements = [text for _, texts in schema.migrations() for text in texts]
    return frozenset(found[1] for text in statements if (found := _TABLE.match(text)))


def secrets(settings: Settings) -> Secrets:
    """Look at the secrets of the settings, and tell none."""
    api, kafka, cassandra = settings.api, settings.kafka, settings.cassandra
    signs = api.jwt_keys_file is None
    hosts = [server.strip().rpartition(":")[0] for server in kafka.bootstrap_servers.split(",")]
    return Secrets(
        development_jwt=signs and api.jwt_secret.get_secret_value() == DEVELOPMENT_SECRET,
        cassandra_default=cassandra.password.get_secret_value() == CASSANDRA_DEFAULT,
        kafka_clear=not kafka.tls and not LOOPBACK.issuperset(hosts),
        cassandra_clear=not cassandra.tls and not LOOPBACK.issuperset(cassandra.hosts),
    )
