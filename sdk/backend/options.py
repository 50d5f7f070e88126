"""Settings of a producer, and the librdkafka configuration made of them. Pure.

What keeps events from being lost, repeated by retries or put out of order is fixed here, and
`extra` may not touch it. `extra` is for the rest: SASL, TLS, socket options, statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.errors import PermanentError
from schemas.limits import EVENT_RECORD_BYTES_MAX, EVENTS_PER_RECORD_MAX

LINGER_S: Final = 0.005
"""How long an event waits for company: nobody notices it, and under load records get full."""

WAITING_BYTES_MAX: Final = 16 * 1024 * 1024
"""Events not yet taken over by Kafka's client: some 100,000 of them; more, and calls block."""

QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Records in librdkafka's queue. Its own default is 1 GiB, too much inside somebody's backend."""

SEND_TIMEOUT_S: Final = 30.0
"""How long a call blocks for room before it raises `RetryableError`."""

DELIVERY_TIMEOUT_S: Final = 120.0
"""How long librdkafka retries a record; outlasts a broker's restart and a leader election."""

CONNECT_TIMEOUT_S: Final = 10.0
"""How long the constructor waits for the cluster's metadata."""

COMPRESSION: Final = "gzip"
"""The one codec that every Kafka client reads without an add-on; the stream stage's aiokafka needs
an extra package for lz4, zstd and snappy, and fails on such a record without it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProducerSettings:
    """What may be tuned. Times in seconds, sizes in bytes; raises `PermanentError` for nonsense."""

    compression: str = COMPRESSION
    linger_s: float = LINGER_S
    record_events_max: int = EVENTS_PER_RECORD_MAX
    record_bytes_max: int = EVENT_RECORD_BYTES_MAX
    waiting_bytes_max: int = WAITING_BYTES_MAX
    queue_bytes_max: int = QUEUE_BYTES_MAX
    send_timeout_s: float = SEND_TIMEOUT_S
    delivery_timeout_s: float = DELIVERY_TIMEOUT_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        record_bytes_min = 1_024
        checks = (
            ("linger_s", self.linger_s, 0, 60),
            ("record_events_max", self.record_events_max, 1, EVENTS_PER_RECORD_MAX),
            ("record_bytes_max", self.record_bytes_max, record_bytes_min, EVENT_RECORD_BYTES_MAX),
            ("waiting_bytes_max", self.waiting_bytes_max, EVENT_RECORD_BYTES_MAX, 2**40),
            ("queue_bytes_max", self.queue_bytes_max, 2 * EVENT_RECORD_BYTES_MAX, 2**40),
            ("send_timeout_s", self.send_timeout_s, 0, 3_600),
            ("delivery_timeout_s", self.delivery_timeout_s, 1, 86_400),
            ("connect_timeout_s", self.connect_timeout_s, 0.1, 3_600),
        )
        for name, value, low, high in checks:
            if not low <= value <= high:
                raise PermanentError(f"{name} is {value:,}; set it between {low:,} and {high:,}")


PINNED: Final[Mapping[str, str | bool | int]] = {
    # A retried record is stored once and in its place: no repeats, no reordering.
    "enable.idempotence": True,
    # Delivered means: every in-sync replica has it.
    "acks": "all",
    # Larger than a write record may be, smaller than the broker's default bound of 1 MiB.
    "message.max.bytes": 1_000_000,
    # Records are already batched; librdkafka's own wait would only come on top.
    "linger.ms": 0,
}
"""Options that are the same for every producer of write events."""

_UNSAFE: Final = {
    "acks": "it decides whether a delivered event can be lost",
    "request.required.acks": "it decides whether a delivered event can be lost",
    "enable.idempotence": "without it retries repeat and reorder events",
    "enable.gapless.guarantee": "the producer reports lost events itself",
    "max.in.flight": "it decides whether retries reorder events",
    "max.in.flight.requests.per.connection": "it decides whether retries reorder events",
    "message.send.max.retries": "delivery is bounded by time, not by tries",
    "retries": "delivery is bounded by time, not by tries",
    "partitioner": "the contract places every key itself",
    "transactional.id": "the producer does not use transactions",
    "delivery.report.only.error": "a flush waits for every report",
    "message.max.bytes": "it is fixed above the largest write record",
    "dr_cb": "use on_error and flush()",
    "dr_msg_cb": "use on_error and flush()",
    "on_delivery": "use on_error and flush()",
    "error_cb": "use on_error and stats()",
    "linger.ms": "use linger_s of ProducerSettings",
    "queue.buffering.max.ms": "use linger_s of ProducerSettings",
    "queue.buffering.max.kbytes": "use queue_bytes_max of ProducerSettings",
    "queue.buffering.max.messages": "use queue_bytes_max of ProducerSettings",
    "message.timeout.ms": "use delivery_timeout_s of ProducerSettings",
    "delivery.timeout.ms": "use delivery_timeout_s of ProducerSettings",
    "compression.codec": "use compression of ProducerSettings",
    "compression.type": "use compression of ProducerSettings",
    "bootstrap.servers": "it is the first argument",
    "metadata.broker.list": "use the first argument, bootstrap_servers",
    "client.id": "use the argument client_id",
}
"""Options that `extra` may not set, and why or what to use instead."""


def configuration(
    bootstrap_servers: str, client_id: str, settings: ProducerSettings, extra: Mapping[str, str]
) -> dict[str, str | bool | int]:
    """Build librdkafka's configuration; raises `PermanentError` for an option that is not free."""
    for name in extra:
        if (why := _UNSAFE.get(name)) is not None:
            raise PermanentError(f"extra may not set {name!r}: {why}")
    if not bootstrap_servers:
        raise PermanentError("bootstrap_servers is empty; give host:port of one or more brokers")
    return {
        **extra,
        **PINNED,
        "bootstrap.servers": bootstrap_servers,
        "client.id": client_id,
        "compression.type": settings.compression,
        "queue.buffering.max.kbytes": settings.queue_bytes_max // 1024,
        "message.timeout.ms": int(settings.delivery_timeout_s * 1000),
    }
