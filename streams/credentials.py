"""How Faust speaks to the brokers, made of the same settings as for all other clients
(`infra.kafka.security`).
"""

from __future__ import annotations

import faust

from infra.settings import KafkaSettings
from infra.tls import client_context


def credentials(
    settings: KafkaSettings,
) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Faust's credentials, None for none; raises `SettingsError` for a file that cannot be used."""
    context = client_context(settings) if settings.tls else None
    if settings.sasl:
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            mechanism=settings.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
