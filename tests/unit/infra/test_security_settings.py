"""How servers are spoken to: what fits together, and a sentence for what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.settings import SettingsError, load

FILE = Path(__file__)
SASL = {"sasl_username": "me", "sasl_password": "hunter2"}


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def refused(**overrides: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**overrides)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kafka", "tls", "sasl"),
    [
        ({}, False, False),
        ({"security_protocol": "SSL"}, True, False),
        ({"security_protocol": "SSL", "ca_file": FILE}, True, False),
        ({"security_protocol": "SSL", "cert_file": FILE, "key_file": FILE}, True, False),
        ({"security_protocol": "SASL_SSL", **SASL}, True, True),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", **SASL}, True, True),
        ({"security_protocol": "SASL_PLAINTEXT", **SASL}, False, True),
    ],
)
def test_ways_to_speak_to_kafka(kafka: dict[str, Any], tls: bool, sasl: bool) -> None:
    found = load(kafka=kafka).kafka
    assert (found.tls, found.sasl) == (tls, sasl)


@pytest.mark.parametrize(
    ("kafka", "words"),
    [
        ({"security_protocol": "TLS"}, "kafka.security_protocol"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "GSSAPI", **SASL}, "sasl_mechanism"),
        ({"ca_file": FILE}, "PLAINTEXT, which has no use for kafka.ca_file: set SSL or SASL_SSL"),
        ({"security_protocol": "SSL", "cert_file": FILE}, "kafka.key_file go together"),
        ({"security_protocol": "SSL", "key_file": FILE}, "kafka.key_file go together"),
        ({"security_protocol": "SSL", "key_password": "hunter2"}, "set kafka.key_file, too"),
        ({"security_protocol": "SSL", "ca_file": "/nowhere.pem"}, "kafka.ca_file"),
        ({"security_protocol": "SASL_SSL"}, "set kafka.sasl_username and kafka.sasl_password"),
        ({"security_protocol": "SASL_SSL", "sasl_username": "me"}, "and kafka.sasl_password"),
        (SASL, "PLAINTEXT, which has no use for kafka.sasl_username"),
        ({"security_protocol": "SSL", **SASL}, "SSL, which has no use for kafka.sasl_username"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **SASL}, "can read"),
    ],
)
def test_what_kafka_would_not_understand_is_refused(kafka: dict[str, Any], words: str) -> None:
    assert words in refused(kafka=kafka)


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "security.protocol",
        "enable.ssl.certificate.verification",
        "SSL.ca.location",
    ],
)
def test_security_is_no_option_of_librdkafka_alone(name: str) -> None:
    message = refused(kafka={"options": {name: "hunter2", "socket.keepalive.enable": "true"}})
    assert f"{name}: set kafka.security_protocol" in message
    assert "socket.keepalive.enable" not in message


@pytest.mark.parametrize(
    ("cassandra", "words"),
    [
        ({"ca_file": FILE}, "cassandra.tls is false"),
        ({"cert_file": FILE, "key_file": FILE}, "cassandra.tls is false"),
        ({"tls": True, "cert_file": FILE}, "cassandra.key_file go together"),
        ({"tls": True, "ca_file": "/nowhere.pem"}, "cassandra.ca_file"),
        ({"username": "me"}, "cassandra.password go together"),
        ({"password": "hunter2"}, "cassandra.password go together"),
    ],
)
def test_what_cassandra_would_not_understand_is_refused(
    cassandra: dict[str, Any], words: str
) -> None:
    assert words in refused(cassandra=cassandra)


def test_ways_to_speak_to_cassandra() -> None:
    assert not load().cassandra.tls
    assert load(cassandra={"tls": True}).cassandra.tls
    found = load(cassandra={"tls": True, "ca_file": FILE, "username": "me", "password": "hunter2"})
    assert found.cassandra.ca_file == FILE


@pytest.mark.parametrize(
    ("api", "words"),
    [
        ({"tls_cert_file": FILE}, "api.tls_key_file go together"),
        ({"tls_key_file": FILE}, "api.tls_key_file go together"),
        ({"tls_key_password": "hunter2"}, "set api.tls_key_file, too"),
        ({"tls_cert_file": "/nowhere.pem", "tls_key_file": FILE}, "api.tls_cert_file"),
    ],
)
def test_files_of_the_api_go_together(api: dict[str, Any], words: str) -> None:
    assert words in refused(api=api)


def test_the_address_of_the_api_says_whether_it_speaks_tls() -> None:
    assert load().api.url == "http://127.0.0.1:18080"
    found = load(api={"tls_cert_file": FILE, "tls_key_file": FILE})
    assert found.api.url == "https://127.0.0.1:18080"
