"""Does a server answer a real request? One function a server; True or False, never an exception.

Besides `infra.kafka` and `infra.cassandra` the only place that uses their clients, and it loads
them when it is called: `import infra.local.servers` loads neither.
"""

from __future__ import annotations

import importlib
from typing import Any

from infra.local.ports import accepts
from infra.local.settings import LOOPBACK

_CONNECT_TIMEOUT_S = 1.0
"""On loopback a listening port accepts at once; this is for a machine that is out of breath."""


def kafka_answers(port: int, timeout_s: float) -> bool:
    """Whether the broker there names at least itself in its metadata."""
    # A client against a closed port logs each attempt: look with a bare socket first.
    if not accepts(port, _CONNECT_TIMEOUT_S):
        return False
    confluent_kafka: Any = importlib.import_module("confluent_kafka")
    admin: Any = importlib.import_module("confluent_kafka.admin")
    client = admin.AdminClient(
        {
            "bootstrap.servers": f"{LOOPBACK}:{port}",
            "log_level": 0,
            "error_cb": lambda _error: None,
        }
    )
    try:
        return bool(client.list_topics(timeout=timeout_s).brokers)
    except confluent_kafka.KafkaException:
        return False


def cassandra_answers(port: int, timeout_s: float) -> bool:
    """Whether the node there answers a query."""
    if not accepts(port, _CONNECT_TIMEOUT_S):
        return False
    driver: Any = importlib.import_module("cassandra.cluster")
    policies: Any = importlib.import_module("cassandra.policies")
    profile = driver.ExecutionProfile(
        load_balancing_policy=policies.WhiteListRoundRobinPolicy([LOOPBACK]),
        request_timeout=timeout_s,
    )
    cluster = driver.Cluster(
        [LOOPBACK],
        port=port,
        protocol_version=5,
        connect_timeout=timeout_s,
        control_connection_timeout=timeout_s,
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
        execution_profiles={driver.EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        row = cluster.connect().execute("SELECT release_version FROM system.local").one()
    except Exception:  # noqa: BLE001  # the driver raises a dozen unrelated classes while a node starts
        return False
    finally:
        cluster.shutdown()
    return row is not None
