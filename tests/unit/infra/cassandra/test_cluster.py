"""How the driver is asked to connect: nothing is connected here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster
from cassandra.policies import FallthroughRetryPolicy

from infra.cassandra.cluster import PROTOCOL_VERSION, cluster
from infra.cassandra.on_loop import Home
from infra.settings import CassandraSettings


@contextmanager
def made(settings: CassandraSettings) -> Iterator[Cluster]:
    found = cluster(settings, Home())
    try:
        yield found
    finally:
        found.shutdown()


def test_a_quorum_here_and_no_retries_but_ours() -> None:
    with made(CassandraSettings(request_timeout_s=7)) as found:
        profile = found.profile_manager.profiles[EXEC_PROFILE_DEFAULT]
        assert profile.consistency_level == ConsistencyLevel.LOCAL_QUORUM
        assert profile.serial_consistency_level == ConsistencyLevel.LOCAL_SERIAL
        assert isinstance(profile.retry_policy, FallthroughRetryPolicy)
        assert profile.request_timeout == 7
        assert found.protocol_version == PROTOCOL_VERSION
        assert (found.auth_provider, found.ssl_context) == (None, None)


def test_who_we_are_is_said_where_the_settings_have_it() -> None:
    known = CassandraSettings.model_validate({"username": "diffusion", "password": "secret"})
    with made(known) as found:
        assert isinstance(found.auth_provider, PlainTextAuthProvider)
        assert (found.auth_provider.username, found.auth_provider.password) == (
            "diffusion",
            "secret",
        )
