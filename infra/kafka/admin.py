"""Topics: create them, describe their incarnation, measure lag."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from infra.clock import monotonic_s
from infra.kafka.config import common
from infra.kafka.security import REFUSALS, Complaints
from infra.settings import KafkaSettings, Settings
from schemas.errors import DiffusionError, PermanentError, RetryableError
from schemas.topics import CHANGES, OPENIM_RECORDS, TOPICS, Layout, dead_letters

REQUEST_TIMEOUT_S: Final = 15.0

WRITE_RETENTION_MS: Final = 7 * 86_400_000
"""Write events are kept a week, so that a repair or a new consumer can go back."""

COORDINATOR_WAIT_S: Final = 0.2
_COORDINATOR_MOVES: Final = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._WAIT_COORD,
}
"""What a broker says of a group whose coordinator is just being chosen: ask again."""

_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_NEWEST: Final = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]

CHANGE_RETENTION_FACTOR: Final = 2
"""The change log outlives the index built from it, so that the index can be built again."""


class BrokerUnavailable(RetryableError):
    """Kafka does not answer."""


class BrokerRefused(PermanentError):
    """Kafka does not let us in, or is not whom we trust."""


class TopicMissing(PermanentError):
    """A topic of the contract does not exist."""


class Admin:
    """Administrative client. All calls block, and raise `BrokerUnavailable` when Kafka is away,
    `BrokerRefused` when TLS or the password is what is wrong.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._complaints = Complaints()
        # What it would print for every try to reach a broker becomes a sentence of ours.
        quiet = {"log_level": "2", **common(settings, "diffusion-admin")}
        heard: dict[str, Any] = {"error_cb": self._complaints.hear}
        self._client = AdminClient(quiet | heard)
        self._readers: dict[str, Consumer] = {}

    def close(self) -> None:
        """Close what reads groups' offsets."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self) -> None:
        """Ask for the cluster's metadata; raises `BrokerUnavailable` when nobody answers."""
        self.brokers()

    def create_topics(self, settings: Settings) -> list[str]:
        """Create the topics that do not exist yet, dead letters too; returns their names."""
        created: list[str] = []
        for name, future in self._client.create_topics(
            list(_new_topics(settings)), request_timeout=REQUEST_TIMEOUT_S
        ).items():
            try:
                future.result()
                created.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._failed(error) from error
        return created

    def describe(self, topic: str) -> tuple[str, int]:
        """Topic id (its incarnation) and number of partitions; raises `TopicMissing`."""
        description = self._description(topic)
        return str(description.topic_id), len(description.partitions)

    def layout(self, topic: str) -> Layout:
        """Partitions, replicas and settings of a topic; raises `TopicMissing`."""
        partitions = self._description(topic).partitions
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        futures = self._client.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)
        try:
            found = futures[resource].result()
        except KafkaException as error:
            raise self._failed(error) from error
        config = {name: entry.value for name, entry in found.items() if entry.value is not None}
        return Layout(len(partitions), min(len(one.replicas) for one in partitions), config)

    def brokers(self) -> int:
        """How many brokers there are."""
        try:
            return len(self._client.list_topics(timeout=REQUEST_TIMEOUT_S).brokers)
        except KafkaException as error:
            raise self._failed(error) from error

    def _description(self, topic: str) -> Any:
        futures = self._client.describe_topics(
            TopicCollection([topic]), request_timeout=REQUEST_TIMEOUT_S
        )
        try:
            description = futures[topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicMissing(
                    f"Topic {topic} does not exist. Run `diffusion migrate` once."
                ) from error
            raise self._failed(error) from error
        return description

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Offset after the last record, by partition."""
        return {partition: one.offset for partition, one in self._ask(topic, _LATEST).items()}

    def newest_ms(self, topic: str) -> int | None:
        """The greatest time of its records; None without records."""
        newest = max(one.timestamp for one in self._ask(topic, _NEWEST).values())
        return newest if newest >= 0 else None

    def _ask(self, topic: str, what: OffsetSpec) -> dict[int, Any]:
        _, partitions = self.describe(topic)
        wanted = {TopicPartition(topic, p): what for p in range(partitions)}
        futures = self._client.list_offsets(wanted, request_timeout=REQUEST_TIMEOUT_S)
        try:
            return {tp.partition: future.result() for tp, future in futures.items()}
        except KafkaException as error:
            raise self._failed(error) from error

    def committed(self, group: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        """Committed offsets of a group, by topic and partition; absent where it has none."""
        wanted = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in range(self.describe(topic)[1])
        ]
        found = self._group_offsets(group, wanted)
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def committed_of(self, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Committed offsets of a group in these partitions, 0 where it has none: one request."""
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        return {tp.partition: max(0, tp.offset) for tp in self._group_offsets(group, wanted)}

    def _group_offsets(self, group: str, wanted: list[TopicPartition]) -> list[TopicPartition]:
        # Not by the administrative call: librdkafka 2.16 crashes the process in it when the group's
        # coordinator is just being chosen, because it then looks for a consumer of its own. A
        # consumer that never subscribes has one, and joins nothing.
        reader = self._readers.get(group)
        if reader is None:
            reader = Consumer(
                common(self._settings, "diffusion-admin")
                | {"group.id": group, "enable.auto.commit": False, "log_level": "2"}
            )
            self._readers[group] = reader
        deadline = monotonic_s() + REQUEST_TIMEOUT_S
        while True:
            try:
                return reader.committed(wanted, timeout=REQUEST_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() not in _COORDINATOR_MOVES or monotonic_s() > deadline:
                    raise self._failed(error) from error
            time.sleep(COORDINATOR_WAIT_S)

    def lag(self, group: str, topics: Iterable[str]) -> int:
        """Records of these topics that the group has not committed yet."""
        topics = list(topics)
        committed = self.committed(group, topics)
        return sum(
            max(0, end - committed.get((topic, partition), 0))
            for topic in topics
            for partition, end in self.end_offsets(topic).items()
        )

    def _failed(self, error: KafkaException) -> DiffusionError:
        servers, said = self._settings.bootstrap_servers, error.args[0]
        self._client.poll(0)  # has the complaints told
        complaint = self._complaints.take()
        if complaint is not None and said.code() < 0:  # no broker's word, but librdkafka's own
            said = complaint
        if said.code() in REFUSALS:
            return BrokerRefused(
                f"Kafka at {servers} and we cannot agree: {REFUSALS[said.code()]}. ({said.str()})"
            )
        # A line that is ended without a word is no complaint to librdkafka.
        silent = complaint is None and self._settings.security_protocol == "PLAINTEXT"
        security = (
            ", or DIFFUSION_KAFKA_SECURITY_PROTOCOL if its listener wants TLS or a password"
            if silent
            else ""
        )
        return BrokerUnavailable(
            f"Kafka at {servers} does not answer. Start it with `diffusion up`, or set "
            f"DIFFUSION_KAFKA_BOOTSTRAP_SERVERS{security}. ({said.str()})"
        )


def wanted_topics(settings: Settings) -> dict[str, Layout]:
    """The topics that are made where there are none, dead letters too, by name."""
    kafka = settings.kafka
    in_sync = str(min(2, kafka.replication_factor))
    found: dict[str, Layout] = {}
    for spec in TOPICS:
        changes = spec is CHANGES
        config: Mapping[str, str] = {
            "cleanup.policy": "delete",
            "retention.ms": str(
                settings.log.retention_ms * CHANGE_RETENTION_FACTOR
                if changes
                else WRITE_RETENTION_MS
            ),
            "message.timestamp.type": "LogAppendTime" if spec.log_append_time else "CreateTime",
            "min.insync.replicas": in_sync,
            # A replica that was not in sync may not lead: it would give offsets a second time.
            "unclean.leader.election.enable": "false",
        }
        partitions = kafka.change_partitions if changes else kafka.write_partitions
        found[spec.name] = Layout(partitions, kafka.replication_factor, config)
    for name in (*(spec.name for spec in TOPICS), OPENIM_RECORDS):
        config = {
            "cleanup.policy": "delete",
            "retention.ms": "-1",
            "min.insync.replicas": in_sync,
        }
        found[dead_letters(name)] = Layout(1, kafka.replication_factor, config)
    return found


def _new_topics(settings: Settings) -> Iterable[NewTopic]:
    for name, layout in wanted_topics(settings).items():
        partitions, replicas, config = layout
        yield NewTopic(name, partitions, replicas, config=dict(config))
