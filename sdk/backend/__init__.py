"""What an IM backend embeds: a producer of write events.

    from sdk.backend import WriteProducer

    with WriteProducer("localhost:9092") as writes:
        writes.message("si_1_2", 1, "1", 1_700_000_000_000, members=("1", "2"))

It sees the contract (`schemas`) and confluent-kafka, nothing else of this distribution.
"""

from __future__ import annotations

from schemas.errors import DiffusionError, InputError, PermanentError, RetryableError
from sdk.backend.correlation import correlated
from sdk.backend.errors import DeliveryError
from sdk.backend.ledger import ProducerStats
from sdk.backend.options import ProducerSettings
from sdk.backend.producer import WriteProducer
from sdk.backend.sender import OnError

__all__ = [
    "DeliveryError",
    "DiffusionError",
    "InputError",
    "OnError",
    "PermanentError",
    "ProducerSettings",
    "ProducerStats",
    "RetryableError",
    "WriteProducer",
    "correlated",
]
