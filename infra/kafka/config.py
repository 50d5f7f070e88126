"""librdkafka options, once for every client. What delivery rests on is fixed and cannot be
overridden.
"""

from __future__ import annotations

import logging
from typing import Any, Final, TypeAlias

from infra.kafka import security
from infra.openim_settings import OpenimSettings
from infra.settings import KafkaSettings

Options: TypeAlias = dict[str, str | int | float | bool]

HEARD: Final[dict[str, Any]] = {"logger": logging.getLogger("diffusion.librdkafka")}
"""Given to every client that is polled: what librdkafka would write to standard error by itself
becomes lines of the log. It hands them over within calls of the client."""

DELIVERY_TIMEOUT_MS: Final = 120_000
"""librdkafka's own default is 300 s; a change that is not delivered for two minutes ends the
program, and the next start takes it up again from Kafka."""

QUEUE_MESSAGES_MAX: Final = 200_000
"""Records waiting in a producer: what is beyond blocks the caller."""

QUEUED_RECORDS: Final = 2_000
"""Fetched ahead, of each partition: a batch of a worker (`materializer.batch_records`). A small
record takes a kilobyte there, and librdkafka's own 100,000 took a worker behind a backlog of
sixteen partitions to 1.4 GB; with this it has 85 MB of them, and is no slower.
"""

QUEUED_KB: Final = 2_048
"""The same of large ones; of each partition too, whatever librdkafka's documentation says."""

QUEUE_BACKOFF_MS: Final = 20
"""A full queue is looked at again after so long. After librdkafka's own second it may have been
empty for long: a batch takes some ten milliseconds.
"""

FETCH_MIN_BYTES: Final = 65_536
FETCH_WAIT_MS: Final = 25
"""A fetch is answered when so much has come, or after so long. The records of one batch of a stream
worker go to many partitions, and librdkafka sends each partition's by itself: a fetch for each cost
the broker a quarter of what it did in all."""


def own(settings: KafkaSettings) -> dict[str, str]:
    """Options that are the user's: his own, and how the brokers are spoken to. For a client that
    has its own options beside; raises `SettingsError` for a file that cannot be used.
    """
    return settings.options | security.options(settings)


def common(settings: KafkaSettings, client_id: str) -> Options:
    """Options of every client; the user's come first, so that ours stand. Raises as `own`."""
    options: Options = {**own(settings)}
    options.update({"bootstrap.servers": settings.bootstrap_servers, "client.id": client_id})
    return options


def producer(settings: KafkaSettings, client_id: str) -> Options:
    """An idempotent producer: in order and without duplicates for as long as it lives."""
    return common(settings, client_id) | {
        "enable.idempotence": True,
        "acks": "all",
        "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
    }


_READING: Final[Options] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "fetch.min.bytes": FETCH_MIN_BYTES,
    "fetch.wait.max.ms": FETCH_WAIT_MS,
    "queued.min.messages": QUEUED_RECORDS,
    "queued.max.messages.kbytes": QUEUED_KB,
    "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
}
"""Of every consumer whose offsets the program commits, after its effects. `isolation.level` is
spelled out because records of aborted transactions are no changes."""


def consumer(settings: KafkaSettings, client_id: str, group: str, instance_id: str = "") -> Options:
    """A consumer of the KIP-848 protocol: partitions move one by one, nothing stops the world. With
    an `instance_id` they stay with it while it is away for less than a session.

    """
    member: Options = {"group.instance.id": instance_id} if instance_id else {}
    return (
        common(settings, client_id)
        | _READING
        | member
        | {
            "group.id": group,
            "group.protocol": "consumer",
        }
    )


def guest(settings: OpenimSettings, client_id: str) -> Options:
    """A consumer in OpenIM's cluster. The classic group protocol: the broker that OpenIM is shipped
    with (3.5) knows no other. Partitions move one by one all the same.
    """
    return {
        **settings.options,
        **_READING,
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": client_id,
        "group.id": settings.group,
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": int(settings.session_timeout_s * 1_000),
    }
