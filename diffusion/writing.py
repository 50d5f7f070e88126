"""The producer of a backend, as the settings have Kafka."""

from __future__ import annotations

from typing import Any

from infra.kafka.config import own
from infra.settings import KafkaSettings
from sdk.backend import WriteProducer


def producer_for(kafka: KafkaSettings, **options: Any) -> WriteProducer:
    """Connect one, `options` being more arguments of `WriteProducer`; raises what that raises, and
    `SettingsError` for files of TLS that cannot be used.
    """
    return WriteProducer(kafka.bootstrap_servers, extra=own(kafka), **options)
