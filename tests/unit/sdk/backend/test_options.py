"""Settings and librdkafka's configuration: what is fixed cannot be loosened."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import PermanentError
from schemas.limits import EVENT_RECORD_BYTES_MAX
from sdk.backend.options import PINNED, ProducerSettings, configuration

DEFAULTS = ProducerSettings()


def test_delivery_is_safe_whatever_else_is_set() -> None:
    extra = {"security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN", "sasl.username": "me"}
    config = configuration("a:1,b:2", "chat-backend", DEFAULTS, extra)
    assert config["enable.idempotence"] is True
    assert config["acks"] == "all"
    assert config["bootstrap.servers"] == "a:1,b:2"
    assert config["client.id"] == "chat-backend"
    assert config["compression.type"] == "gzip"
    assert config["message.timeout.ms"] == 120_000
    assert config["queue.buffering.max.kbytes"] == 65_536
    assert int(config["message.max.bytes"]) > EVENT_RECORD_BYTES_MAX
    assert extra.items() <= config.items()


@pytest.mark.parametrize(
    "name",
    [
        "acks", "request.required.acks", "enable.idempotence", "retries", "partitioner",
        "max.in.flight.requests.per.connection", "transactional.id", "linger.ms", "dr_cb",
        "bootstrap.servers", "client.id", "compression.type", "delivery.timeout.ms", "error_cb",
    ],
)  # fmt: skip
def test_extra_may_not_touch_what_keeps_events_safe(name: str) -> None:
    with pytest.raises(PermanentError, match=f"extra may not set '{name}': "):
        configuration("a:1", "me", DEFAULTS, {name: "0"})


def test_extra_may_not_touch_anything_that_is_set_here() -> None:
    for name in configuration("a:1", "me", DEFAULTS, {}):
        with pytest.raises(PermanentError):
            configuration("a:1", "me", DEFAULTS, {name: "0"})
    assert PINNED.keys() <= configuration("a:1", "me", DEFAULTS, {}).keys()


def test_no_servers_is_an_error_here_and_not_a_hang_later() -> None:
    with pytest.raises(PermanentError, match="bootstrap_servers is empty"):
        configuration("", "me", DEFAULTS, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"linger_s": -1}, {"linger_s": 3_600}, {"record_events_max": 0},
        {"record_events_max": 501}, {"record_bytes_max": 10}, {"record_bytes_max": 900_001},
        {"waiting_bytes_max": 0}, {"queue_bytes_max": 1}, {"delivery_timeout_s": 0},
        {"send_timeout_s": -1}, {"connect_timeout_s": 0}, {"linger_s": float("nan")},
    ],
)  # fmt: skip
def test_settings_out_of_bounds_are_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(PermanentError, match=f"{name} is .*; set it between"):
        ProducerSettings(**wrong)
