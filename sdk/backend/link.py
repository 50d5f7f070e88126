"""The one module that touches confluent-kafka: hands sealed records over and reports their end.

All but `Link.partitions` and the constructor belongs to the sender's thread. `hand_over` and `poll`
may block as long as they say; neither raises for what Kafka does, they report it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import DiffusionError, PermanentError, RetryableError
from schemas.records import Record
from schemas.trace_context import headers_of
from sdk.backend import spans

QUEUE_FULL_POLL_S: Final = 0.05
"""Wait for room in librdkafka's queue before trying the same record again."""

PURGE_TIMEOUT_S: Final = 5.0
"""Wait for the reports of purged records; librdkafka makes them itself, at once."""

_REFUSALS: Final = {
    KafkaError._SSL: "security.protocol, and ssl.ca.location, the authority that signed the "
    "brokers' certificates",
    KafkaError._AUTHENTICATION: "sasl.username, sasl.password and sasl.mechanism",
}
"""Reasons for which a broker is not to be had, and the options they come from."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a record of `count` events: delivered, or lost for a `reason`, with its bytes."""

    topic: str
    generation: int
    count: int
    reason: str | None = None
    value: bytes = b""


class Link:
    """A librdkafka producer, with records in and reports out."""

    def __init__(
        self,
        config: dict[str, Any],
        *,
        ended: Callable[[Report], None],
        complained: Callable[[str, bool], None],
    ) -> None:
        """Create the client; nothing is connected yet.

        `ended` is called once for every record handed over, `complained` with what librdkafka says
        about itself and whether it gave up for good; both from within `hand_over`, `poll` and
        `give_up`. Raises `PermanentError` for a configuration that librdkafka refuses.
        """
        self._ended = ended
        self._complained = complained
        self._complaint: KafkaError | None = None
        self.in_flight = 0
        self.closing = False
        callbacks = {"error_cb": self._hear, "logger": _log}
        try:
            self._kafka = Producer({**config, **callbacks})
        except (KafkaException, TypeError, ValueError) as error:
            raise PermanentError(f"Kafka's client refuses the configuration: {error}") from error

    def partitions(self, topics: Sequence[str], timeout_s: float) -> dict[str, int]:
        """Ask the cluster how many partitions each topic has.

        Raises `RetryableError` when no broker answers, `PermanentError` when they refuse us, or we
        them, and when a topic is missing.
        """
        try:
            # Asked for all topics: a question about one may make the broker create it.
            known = self._kafka.list_topics(timeout=timeout_s).topics
        except KafkaException as error:
            self._kafka.poll(0)  # has the complaints heard
            raise self._unanswered(error, timeout_s) from error
        missing = [topic for topic in topics if topic not in known or not known[topic].partitions]
        if missing:
            raise PermanentError(
                f"the cluster has no topic {' and no topic '.join(missing)}; "
                "run `diffusion migrate` against it first"
            )
        return {topic: len(known[topic].partitions) for topic in topics}

    def hand_over(self, record: Record) -> None:
        """Give a record to librdkafka; blocks while its queue is full, unless `closing` is set."""
        topic, count, value = record.place.topic, len(record.values), record.value()
        more: dict[str, Any] = {}
        span: Any = None
        if record.contexts:
            more["headers"] = headers_of(record.contexts)
            span = spans.begin(topic, count, record.contexts)
        reported = partial(self._delivery, topic, record.generation, count, span)
        reason = "the producer was closed before Kafka's client had room for it"
        while not self.closing:
            try:
                self._kafka.produce(
                    topic,
                    value=value,
                    key=record.key,
                    partition=record.place.partition,
                    on_delivery=reported,
                    **more,
                )
            except BufferError:
                self.poll(QUEUE_FULL_POLL_S)
            except KafkaException as error:
                reason = _reason(error)
                break
            else:
                self.in_flight += 1
                return
        spans.end(span, reason)
        self._ended(Report(topic, record.generation, count, reason, value))

    def poll(self, timeout_s: float) -> None:
        """Serve reports; waits up to `timeout_s` for the first."""
        self._kafka.poll(timeout_s)

    def give_up(self) -> None:
        """Drop everything in flight; each record is reported as lost."""
        if self.in_flight:
            self._kafka.purge()
            self._kafka.flush(PURGE_TIMEOUT_S)

    def _delivery(
        self,
        topic: str,
        generation: int,
        count: int,
        span: Any,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        self.in_flight -= 1
        spans.end(span, None if error is None else error.str())
        if error is None:
            self._ended(Report(topic, generation, count))
        else:
            value = message.value() or b""
            self._ended(Report(topic, generation, count, error.str(), value))

    def _unanswered(self, error: KafkaException, timeout_s: float) -> DiffusionError:
        complaint = self._complaint
        if complaint is not None and complaint.code() in _REFUSALS:
            return PermanentError(
                f"Kafka and this producer cannot agree ({complaint.str()}); check in `extra` "
                f"{_REFUSALS[complaint.code()]}"
            )
        if complaint is None:  # a line that a broker ends without a word is none
            why, more = _reason(error), ", and security.protocol in `extra` if it wants TLS"
        else:
            why, more = complaint.str(), ""
        return RetryableError(
            f"no broker answered within {timeout_s:g} s ({why}); check bootstrap_servers, that "
            f"Kafka is up and reachable from here{more}"
        )

    def _hear(self, error: KafkaError) -> None:
        # A refusal says what to do, and the line that it ends may be reported as merely lost.
        refused = self._complaint is not None and self._complaint.code() in _REFUSALS
        if error.code() != KafkaError._ALL_BROKERS_DOWN and not refused:  # why, was said before
            self._complaint = error
        self._complained(error.str(), error.fatal())


def _reason(error: KafkaException) -> str:
    cause = error.args[0]
    return cause.str() if isinstance(cause, KafkaError) else str(cause)
