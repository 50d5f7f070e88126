"""The driver's cluster, as the settings and our way to write want it."""

from __future__ import annotations

from typing import Final

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import tuple_factory

from infra.cassandra import on_loop
from infra.settings import CassandraSettings
from infra.tls import client_context

PROTOCOL_VERSION: Final = 5
"""Cassandra 4.0 and later. Named, so that no connection begins with a guess."""


def cluster(settings: CassandraSettings, home: on_loop.Home) -> Cluster:
    """Make the cluster, not connected yet; `home` says which loop may serve its connections."""
    return Cluster(
        settings.hosts,
        connection_class=on_loop.connection_class(home),
        port=settings.port,
        auth_provider=_auth(settings),
        ssl_context=client_context(settings) if settings.tls else None,
        execution_profiles={EXEC_PROFILE_DEFAULT: _profile(settings)},
        reconnection_policy=ExponentialReconnectionPolicy(0.5, 10.0),
        connect_timeout=settings.request_timeout_s,
        control_connection_timeout=settings.request_timeout_s,
        protocol_version=PROTOCOL_VERSION,
    )


def _auth(settings: CassandraSettings) -> PlainTextAuthProvider | None:
    if not settings.username:
        return None
    return PlainTextAuthProvider(settings.username, settings.password.get_secret_value())


def _profile(settings: CassandraSettings) -> ExecutionProfile:
    return ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(
            DCAwareRoundRobinPolicy(local_dc=settings.local_datacenter)
        ),
        # Retries are ours: a statement is tried again as a whole, with a wait.
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=settings.request_timeout_s,
        row_factory=tuple_factory,
    )
