"""Faust speaks to the brokers as every other client does."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from infra.settings import KafkaSettings, Settings
from streams.app import _app
from streams.credentials import credentials
from tests.certificates import Authority


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority(tmp_path_factory.mktemp("certificates")).file


def told(**settings: Any) -> dict[str, Any]:
    """What aiokafka is given."""
    found = credentials_to_aiokafka_auth(credentials(KafkaSettings(**settings)))
    return {name: value for name, value in found.items() if value is not None}


def test_nothing_is_said_of_what_is_plain() -> None:
    assert told() == {"security_protocol": "PLAINTEXT"}


def test_tls_verifies_authority_and_name(ca_file: Path) -> None:
    found = told(security_protocol="SSL", ca_file=ca_file)
    context = found.pop("ssl_context")
    assert found == {"security_protocol": "SSL"}
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("SASL_SSL", "PLAIN"),
        ("SASL_SSL", "SCRAM-SHA-256"),
        ("SASL_SSL", "SCRAM-SHA-512"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
    ],
)
def test_a_password_goes_with_its_mechanism(protocol: str, mechanism: str) -> None:
    found = told(
        security_protocol=protocol,
        sasl_mechanism=mechanism,
        sasl_username="me",
        sasl_password="hunter2",
    )
    context = found.pop("ssl_context", None)
    assert (context is not None) == (protocol == "SASL_SSL")
    assert found == {
        "security_protocol": protocol,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "me",
        "sasl_plain_password": "hunter2",
    }


def test_the_app_has_them(ca_file: Path) -> None:
    kafka = KafkaSettings(
        security_protocol="SASL_SSL", ca_file=ca_file, sasl_username="me", sasl_password="hunter2"
    )
    app = _app(Settings(kafka=kafka))
    found = app.conf.broker_credentials
    assert isinstance(found, faust.SASLCredentials)
    assert found.ssl_context is not None
    assert "hunter2" not in repr(found)
