"""What is said when Kafka is not to be had: away, or not of one mind with us."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.kafka.admin import Admin, BrokerRefused, BrokerUnavailable, wanted_topics
from infra.settings import KafkaSettings, Settings
from schemas.topics import CHANGES, TOPICS, dead_letters

TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "time is up")
DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
REFUSED = KafkaError(KafkaError._TRANSPORT, "Connection refused")
TLS = KafkaError(KafkaError._SSL, "certificate verify failed")
PASSWORD = KafkaError(KafkaError._AUTHENTICATION, "invalid credentials")
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not yours")
SASL: dict[str, Any] = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_username": "me",
    "sasl_password": "hunter2",
}


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing: no complaint but those that a test makes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def plain(silent: str) -> Iterator[Admin]:
    with Admin(KafkaSettings(bootstrap_servers=silent)) as found:
        yield found


@pytest.mark.parametrize(
    ("heard", "error", "kind", "words"),
    [
        ([REFUSED, DOWN], TIMED_OUT, BrokerUnavailable, "SERVERS. (Connection refused)"),
        ([], TIMED_OUT, BrokerUnavailable, "KAFKA_SECURITY_PROTOCOL if its listener wants TLS"),
        ([TLS, DOWN], TIMED_OUT, BrokerRefused, "set DIFFUSION_KAFKA_SECURITY_PROTOCOL to what"),
        ([TLS, DOWN], TIMED_OUT, BrokerRefused, "(certificate verify failed)"),
        ([PASSWORD, DOWN], TIMED_OUT, BrokerRefused, "set DIFFUSION_KAFKA_SASL_USERNAME"),
        ([PASSWORD, REFUSED], TIMED_OUT, BrokerRefused, "set DIFFUSION_KAFKA_SASL_USERNAME"),
        ([REFUSED, PASSWORD], TIMED_OUT, BrokerRefused, "set DIFFUSION_KAFKA_SASL_USERNAME"),
        ([TLS], FORBIDDEN, BrokerUnavailable, "(not yours)"),
    ],
)
def test_what_was_complained_of_says_what_to_do(
    plain: Admin,
    silent: str,
    heard: list[KafkaError],
    error: KafkaError,
    kind: type[Exception],
    words: str,
) -> None:
    for one in heard:
        plain._complaints.hear(one)
    told = plain._failed(KafkaException(error))
    assert type(told) is kind
    assert words in str(told)
    assert silent in str(told)


def test_a_complaint_of_yesterday_is_not_told_today(plain: Admin) -> None:
    plain._complaints.hear(TLS)
    assert isinstance(plain._failed(KafkaException(TIMED_OUT)), BrokerRefused)
    assert isinstance(plain._failed(KafkaException(TIMED_OUT)), BrokerUnavailable)


def test_who_sets_a_protocol_is_not_told_to(silent: str) -> None:
    with Admin(KafkaSettings(bootstrap_servers=silent, **SASL)) as found:
        told = found._failed(KafkaException(TIMED_OUT))
    assert "SECURITY_PROTOCOL" not in str(told)


@pytest.mark.parametrize(("replicas", "in_sync"), [(1, "1"), (2, "2"), (3, "2")])
def test_what_is_acknowledged_is_on_two_brokers_where_there_are_two(
    replicas: int, in_sync: str
) -> None:
    topics = wanted_topics(Settings(kafka=KafkaSettings(replication_factor=replicas)))
    assert {layout.replicas for layout in topics.values()} == {replicas}
    assert {layout.config["min.insync.replicas"] for layout in topics.values()} == {in_sync}


def test_dead_letters_stay_and_the_change_log_outlives_the_index() -> None:
    settings = Settings()
    topics = wanted_topics(settings)
    for spec in TOPICS:
        assert topics[dead_letters(spec.name)].config["retention.ms"] == "-1"
    assert int(topics[CHANGES.name].config["retention.ms"]) > settings.log.retention_ms
