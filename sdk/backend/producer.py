"""`WriteProducer`: what an IM backend embeds to tell which conversations were written.

It validates (`routes`), places every key by the contract's partitioner, and leaves batching to
`batch` and Kafka to `sender`. Any number of threads may call it; the typed calls are in `calls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Final, Self

from schemas.events import WriteEvent
from schemas.partitioner import partition_of
from schemas.records import Batcher, Place
from schemas.routes import routed
from schemas.topics import WRITE_TOPICS
from sdk.backend.calls import WriteCalls
from sdk.backend.correlation import current, given
from sdk.backend.ledger import ProducerStats
from sdk.backend.options import ProducerSettings, configuration
from sdk.backend.sender import OnError, Sender

CLIENT_ID: Final = "write-diffusion-backend"
"""How the producer names itself to the brokers, in their logs and quotas."""

FLUSH_TIMEOUT_S: Final = 30.0
"""How long `flush` and `close` wait unless told otherwise; a healthy cluster needs milliseconds."""

_NO_EXTRA: Final[Mapping[str, str]] = MappingProxyType({})


class WriteProducer(WriteCalls):
    """Tells the engine about writes, over Kafka. Close it, or use it as a context manager.

    A call returns when the event is accepted into a bounded buffer, usually at once; delivery comes
    later and is what `flush` waits for. Accepted events are delivered once and in the order of the
    calls per conversation and per user, unless Kafka does not take them within
    `delivery_timeout_s`: then `on_error` is called with them, on the producer's own thread, and the
    next `flush` or `close` raises. `on_error` may send again (it is never blocked, but may be
    refused); it must return soon, and must not flush or close.

    The number of partitions is read once: after a change of it every producer must be restarted.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        client_id: str = CLIENT_ID,
        settings: ProducerSettings = ProducerSettings(),  # noqa: B008 -- frozen, shared safely
        on_error: OnError | None = None,
        extra: Mapping[str, str] = _NO_EXTRA,
    ) -> None:
        """Connect to the cluster at `bootstrap_servers`, "host:port,host:port".

        `extra` is handed to librdkafka as it is (SASL, TLS, ...), but may not weaken delivery.
        Raises `RetryableError` when no broker answers, `PermanentError` for wrong settings, when
        TLS or a password keeps us out, and when the cluster does not have the topics.
        """
        self._send_timeout_s = settings.send_timeout_s
        self._sender = Sender(
            configuration(bootstrap_servers, client_id, settings, extra),
            Batcher(
                linger_s=settings.linger_s,
                events_max=settings.record_events_max,
                bytes_max=settings.record_bytes_max,
            ),
            waiting_bytes_max=settings.waiting_bytes_max,
            on_error=on_error,
        )
        topics = [topic.name for topic in WRITE_TOPICS]
        self._partitions = self._sender.link.partitions(topics, settings.connect_timeout_s)
        self._sender.start()

    def send(self, event: WriteEvent, *, traceparent: str | None = None) -> None:
        """Accept an event for delivery.

        `traceparent` is the correlation id of the write, as W3C Trace Context has it; without it,
        that of `correlated` or of OpenTelemetry's current span, if there is one (`correlation`).

        Raises `InputError` for what the contract does not allow; `RetryableError` when there was no
        room within `send_timeout_s`; `PermanentError` after `close` and when Kafka's client gave up
        for good. An event for which this raises was not accepted.
        """
        topic, key, value = routed(event)
        place = Place(topic, partition_of(key, self._partitions[topic]))
        context = current() if traceparent is None else given(traceparent)
        self._sender.put(place, key, value, self._send_timeout_s, context)

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Wait until every event accepted before this call is delivered.

        Raises `DeliveryError` when any was lost since the last flush, `RetryableError` when some
        are still on their way after `timeout_s` seconds.
        """
        self._sender.flush(timeout_s)

    def close(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Flush and refuse further calls; a second close does nothing.

        What is not delivered within `timeout_s` seconds is given up: `on_error` gets it, and
        `DeliveryError` says how much it was.
        """
        self._sender.close(timeout_s)

    def stats(self) -> ProducerStats:
        """Take a picture of the counters."""
        return self._sender.stats()

    def __enter__(self) -> Self:
        """Use it as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, also after an exception."""
        self.close()
