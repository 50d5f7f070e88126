"""Kafka options: what delivery rests on stands, whatever a user sets."""

from __future__ import annotations

from typing import Any

import pytest

from infra.kafka.config import common, consumer, guest, producer
from infra.openim_settings import OpenimSettings
from infra.settings import KafkaSettings

ESSENTIAL = {
    "enable.idempotence": True,
    "acks": "all",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "group.protocol": "consumer",
    "group.id": "g",
    "bootstrap.servers": "k:1",
    "client.id": "c",
}


def settings(**options: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers="k:1", options=options)


@pytest.mark.parametrize("name", ESSENTIAL)
def test_what_delivery_rests_on_cannot_be_overridden(name: str) -> None:
    usual: list[dict[str, Any]] = [producer(settings(), "c"), consumer(settings(), "c", "g")]
    changed = settings(**{name: "something else"})
    for before, after in zip(
        usual, [producer(changed, "c"), consumer(changed, "c", "g")], strict=True
    ):
        if name in before:
            assert before[name] == after[name] == ESSENTIAL[name]
    assert any(name in options for options in usual)


def test_options_of_the_user_reach_every_client() -> None:
    found = settings(**{"socket.keepalive.enable": "true"})
    for options in (common(found, "c"), producer(found, "c"), consumer(found, "c", "g")):
        assert options["socket.keepalive.enable"] == "true"


def test_one_client_does_not_change_the_options_of_the_next() -> None:
    found = settings()
    producer(found, "c")["acks"] = "0"
    assert producer(found, "c")["acks"] == "all"
    assert found.options == {}


def test_a_producer_knows_no_group_and_a_consumer_no_acks() -> None:
    assert "group.id" not in producer(settings(), "c")
    assert "acks" not in consumer(settings(), "c", "g")


@pytest.mark.parametrize("name", ["enable.auto.commit", "group.id", "bootstrap.servers"])
def test_a_guest_takes_options_but_not_those_that_delivery_rests_on(name: str) -> None:
    own = OpenimSettings(options={name: "something else", "sasl.username": "u"})
    found = guest(own, "c")
    assert found[name] == guest(OpenimSettings(), "c")[name]
    assert found["sasl.username"] == "u"
    assert (found["group.id"], found["bootstrap.servers"]) == (own.group, own.bootstrap_servers)
