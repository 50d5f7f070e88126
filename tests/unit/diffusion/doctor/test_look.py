"""What can be looked at without servers: secrets, and which tables there must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from diffusion.doctor import look
from diffusion.doctor.facts import Secrets
from infra.settings import ApiSettings, CassandraSettings, KafkaSettings, Settings

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


def test_what_is_away_is_a_sentence_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    away = settings(
        kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"),
        cassandra=CassandraSettings(port=2),
    )
    away = away.model_copy(
        update={"local": away.local.model_copy(update={"data_dir": tmp_path / "none" / "yet"})}
    )
    found = look.collect(away)
    assert isinstance(found.kafka, str)
    assert "does not answer" in found.kafka
    assert isinstance(found.cassandra, str)
    assert found.machine is not None
    assert found.machine.free_bytes > 0
