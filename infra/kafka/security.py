"""How brokers are spoken to, in librdkafka's words; and what it says when they will not have it.

Faust's words for the same are `streams.credentials`.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

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


class Complaints:
    """What librdkafka says while a call waits, which itself only tells that time is up."""

    def __init__(self) -> None:
        self._last: KafkaError | None = None

    def hear(self, error: KafkaError) -> None:
        """Keep it, unless it only says that no broker is left: why, was said before."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last = error

    def take(self) -> KafkaError | None:
        """What was said last, once."""
        last, self._last = self._last, None
        return last
