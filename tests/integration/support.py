"""What integration tests share: devices, topics, writing with an oracle beside it, and waiting for quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # the admin module imports it without exporting it

from diffusion.oracle import Oracle, compare
from diffusion.system import System
from schemas.events import WriteEvent
from sdk.backend import WriteProducer
from sdk.client import SyncClient

NOW_MS = 1_700_000_000_000


PATIENCE_S = 60.0


def make_topic(bootstrap_servers: str, topic: str, partitions: int = 1) -> str:
    """Make a topic of one replica; returns its name."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    return topic


def wait_until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.1)
    return time.monotonic() - began


class World:
    """Writes go to Kafka and to the oracle; devices are compared with the oracle."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.oracle = Oracle()

    def write(self, *events: WriteEvent, settle: bool = True) -> None:
        with WriteProducer(self.system.settings.kafka.bootstrap_servers) as producer:
            for event in events:
                producer.send(event)
                self.oracle.apply(event)
        if settle:
            self.system.wait_quiet()

    @contextmanager
    def device(self, user_id: str, store: Path | str = ":memory:") -> Iterator[SyncClient]:
        with SyncClient(
            self.system.url,
            user_id=user_id,
            device_id="test",
            token=self.system.token(user_id),
            store=store,
        ) as client:
            yield client

    def differences(self, client: SyncClient, user_id: str) -> list[str]:
        return [str(one) for one in compare(self.oracle.states(user_id), client.state())]

    def fresh_differences(self, user_ids: Iterable[str]) -> list[str]:
        found: list[str] = []
        for user_id in user_ids:
            with self.device(user_id) as client:
                client.sync()
                found += [f"{user_id}: {one}" for one in self.differences(client, user_id)]
        return found
