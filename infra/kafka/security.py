"""How brokers are spoken to, in librdkafka's words; and what it says when they will not have it.

Faust's words for the same are `streams.credentials`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError

from infra.clock import monotonic_s
from infra.settings import KafkaSettings
from infra.tls import client_context

_TLS: Final = {
    # Both are librdkafka's defaults; it is not left to them.
    "enable.ssl.certificate.verification": "true",
    "ssl.endpoint.identification.algorithm": "https",
}

REFUSALS: Final = {
    KafkaError._SSL: "set DIFFUSION_KAFKA_SECURITY_PROTOCOL to what its listener speaks, and "
    "DIFFUSION_KAFKA_CA_FILE to the authority that signed its certificate",
    KafkaError._AUTHENTICATION: "set DIFFUSION_KAFKA_SASL_USERNAME, DIFFUSION_KAFKA_SASL_PASSWORD "
    "and DIFFUSION_KAFKA_SASL_MECHANISM to what it knows",
}
"""What to do when a broker, or we, end the connection for this reason."""


def options(settings: KafkaSettings) -> dict[str, str]:
    """The options; raises `SettingsError` for a file that cannot be used."""
    found: dict[str, str] = {}
    if settings.security_protocol != "PLAINTEXT":
        found["security.protocol"] = settings.security_protocol
    if settings.tls:
        client_context(settings)  # it says better than librdkafka what is wrong with a file
        found |= _TLS
        files = {
            "ssl.ca.location": settings.ca_file,
            "ssl.certificate.location": settings.cert_file,
            "ssl.key.location": settings.key_file,
        }
        found |= {name: str(path) for name, path in files.items() if path is not None}
        if password := settings.key_password.get_secret_value():
            found["ssl.key.password"] = password
    if settings.sasl:
        found["sasl.mechanism"] = settings.sasl_mechanism
        found["sasl.username"] = settings.sasl_username
        found["sasl.password"] = settings.sasl_password.get_secret_value()
    return found


REFUSAL_STANDS_S: Final = 30.0
"""A refused client tries again within 10 s (librdkafka's `reconnect.backoff.max.ms`), so a refusal
older than three tries is over, and what is complained of since has a reason of its own.
"""


class Complaints:
    """What librdkafka says while a call waits, which itself only tells that time is up."""

    def __init__(self, clock: Callable[[], float] = monotonic_s) -> None:
        self._clock = clock
        self._last: KafkaError | None = None
        self._refused_at = -math.inf

    def hear(self, error: KafkaError) -> None:
        """Keep it, unless it only says that no broker is left: why, was said before. So it was by a
        refusal, whose line may be reported once more as merely lost.
        """
        if error.code() in REFUSALS:
            self._last, self._refused_at = error, self._clock()
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            return
        elif self._clock() - self._refused_at > REFUSAL_STANDS_S:
            self._last = error

    def take(self) -> KafkaError | None:
        """The refusal that stands, or what was said last where there is none; once."""
        last, self._last, self._refused_at = self._last, None, -math.inf
        return last
