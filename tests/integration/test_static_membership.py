"""A named worker (`instance_id`) that is restarted has its partitions still, and nobody else stops.

Workers of groups of their own beside the system's, so that all they write is written twice: what
the system says must be right also then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]  # as in infra.kafka

from diffusion.processes import Processes, worker
from diffusion.system import System, environment_of
from infra.kafka.admin import Admin
from infra.kafka.config import common
from infra.local.ports import free_ports
from infra.settings import KafkaSettings
from schemas import ids
from schemas.events import MembersJoined, Message
from schemas.topics import CHANGES, WRITE_TOPICS
from tests.integration.support import NOW_MS, PATIENCE_S, World, wait_until

SESSION_S: Final = 90.0
"""Longer than a restart takes on the slowest machine: Kafka must not give up on who is away."""

assert PATIENCE_S < SESSION_S, "whoever works again within has not got its partitions by its end"

TAKEN: Final = {
    "stream-worker": "diffusion_stream_events_total",
    "materializer": "diffusion_materializer_records_total",
}
REBALANCING: Final = {"PREPARING_REBALANCING", "COMPLETING_REBALANCING"}
TOPICS: Final = {
    "stream-worker": [topic.name for topic in WRITE_TOPICS],
    "materializer": [CHANGES.name],
}


def begin_at_the_end(kafka: KafkaSettings, group: str, topics: list[str]) -> None:
    """What other tests wrote is not this group's."""
    consumer = Consumer(common(kafka, "test") | {"group.id": group})
    with Admin(kafka) as admin:
        ends = [
            TopicPartition(topic, partition, offset)
            for topic in topics
            for partition, offset in admin.end_offsets(topic).items()
        ]
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()


class Group:
    """A consumer group as Kafka describes it."""

    def __init__(self, kafka: KafkaSettings, name: str) -> None:
        self._client = AdminClient(common(kafka, "test"))
        self._name = name

    def look(self) -> tuple[bool, dict[str, set[tuple[str, int]]]]:
        """Whether all of it stands still for a rebalance, and the partitions of each named member.
        Stream workers' groups stand still; in materializers', partitions move one by one.
        """
        asked: dict[str, Any] = self._client.describe_consumer_groups([self._name])
        found = asked[self._name].result()
        return found.state.name in REBALANCING, {
            member.group_instance_id: {
                (place.topic, place.partition) for place in member.assignment.topic_partitions
            }
            for member in found.members
        }


class Watch:
    """Looks at a group again and again, and notes when a member that stayed was disturbed."""

    def __init__(self, group: Group, stays: str) -> None:
        self._group = group
        self._stays = stays
        _, members = group.look()
        self._rest = (False, members[stays])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.looks = 0
        self.seen: list[object] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            rebalancing, members = self._group.look()
            found = (rebalancing, members.get(self._stays))
            self.looks += 1
            if found != self._rest:
                self.seen.append(found)


@pytest.mark.parametrize("kind", ["stream-worker", "materializer"])
def test_a_named_worker_that_is_restarted_keeps_its_partitions(
    system: System, unique: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    name = unique(kind)
    field = "stream_group" if kind == "stream-worker" else "materializer_group"
    kafka = system.settings.kafka.model_copy(update={field: name, "session_timeout_s": SESSION_S})
    settings = system.settings.model_copy(update={"kafka": kafka})
    begin_at_the_end(kafka, name, TOPICS[kind])
    world, group = World(system), Group(kafka, name)
    users = tuple(unique(f"user{number:02}") for number in range(20))
    rooms = [ids.group(unique(f"room{number}")) for number in range(32)]
    world.write(*(MembersJoined(room, users, 0, NOW_MS) for room in rooms))
    seqs = iter(range(1, 100))

    def write() -> None:
        seq = next(seqs)
        world.write(*(Message(room, seq, users[0], NOW_MS + seq) for room in rooms))

    with Processes() as processes, Admin(kafka) as admin:
        environment = environment_of(settings)
        for member, port in zip(("left", "right"), free_ports(2), strict=True):
            log = tmp_path / f"{member}.log"
            processes.start(
                worker(kind, member, port, environment=environment, log=log, instance_id=member)
            )

        def shared() -> bool:
            rebalancing, members = group.look()
            return not rebalancing and len(members) == 2 and all(members.values())

        wait_until(shared, "both are given partitions")
        write()
        wait_until(lambda: admin.lag(name, TOPICS[kind]) == 0, "what was written is taken")
        rest = group.look()
        for stop in (processes.end, processes.kill):
            before = processes.pid("left")
            with Watch(group, "right") as watch:
                stop("left")
                wait_until(lambda before=before: processes.pid("left") != before, "it is restarted")
                wait_until(lambda: processes.answers("left"), "it answers")
                write()
                wait_until(lambda: processes.counted(TAKEN[kind], of="left") > 0, "it works again")
                wait_until(lambda: admin.lag(name, TOPICS[kind]) == 0, "all is taken")
            assert watch.looks > 10
            assert watch.seen == [], "the other one's partitions moved, or it was stopped"
            assert group.look() == rest, "each has what it had"
        rebalances = processes.counted("diffusion_stream_rebalances_total", of="right")
    system.wait_quiet()
    assert world.fresh_differences(users[:3]) == []
    if kind == "stream-worker":
        assert rebalances <= 2, "only when both came"
