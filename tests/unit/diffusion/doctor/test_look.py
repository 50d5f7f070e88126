"""What can be looked at without servers: secrets, and which tables there must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from diffusion.doctor import look
from diffusion.doctor.facts import Secrets
from infra.settings import (
    ApiSettings,
    CassandraSettings,
    KafkaSettings,
    LocalSettings,
    Settings,
)

OWN = ApiSettings(jwt_secret=SecretStr("x" * 32))


def settings(**sections: Any) -> Settings:
    return Settings(**{"api": OWN, **sections})


@pytest.mark.parametrize(
    ("found", "secrets"),
    [
        (settings(), Secrets()),
        (settings(api=ApiSettings()), Secrets(development_jwt=True)),
        (settings(api=ApiSettings(jwt_keys_file=Path("keys.json"))), Secrets()),
        (
            settings(cassandra=CassandraSettings(username="me", password=SecretStr("cassandra"))),
            Secrets(cassandra_default=True),
        ),
        (
            settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1, kafka-1:9092")),
            Secrets(kafka_clear=True),
        ),
        (
            settings(kafka=KafkaSettings(bootstrap_servers="k:9", security_protocol="SSL")),
            Secrets(),
        ),
        (
            settings(cassandra=CassandraSettings(contact_points="127.0.0.1,10.0.0.5")),
            Secrets(cassandra_clear=True),
        ),
        (settings(cassandra=CassandraSettings(contact_points="10.0.0.5", tls=True)), Secrets()),
    ],
    ids=range(8),
)
def test_secrets_are_looked_at(found: Settings, secrets: Secrets) -> None:
    assert look.secrets(found) == secrets


def test_the_tables_are_those_of_the_migrations() -> None:
    assert {"inbox", "changes_by_user", "swept_conversations", "devices_by_user"} <= (
        look.wanted_tables()
    )


def test_the_disk_is_looked_at_before_there_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "none" / "yet"
    machine = look._machine(settings(local=LocalSettings(data_dir=folder)))
    assert machine is not None
    assert machine.folder == str(folder)
    assert machine.free_bytes > 0
    assert not folder.exists()


def test_servers_of_somebody_else_are_not_looked_at_here() -> None:
    assert look._machine(settings(local=LocalSettings(manage=False))) is None
