"""Servers go away and come back: nothing needs a hand, and what cannot be read stops the worker."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from diffusion.demo import own_servers
from diffusion.dlq import DeadLetters
from diffusion.local import managed
from diffusion.processes import worker
from diffusion.system import System, environment_of, running
from infra.kafka.admin import Admin
from infra.kafka.dead_share import EVENTS_MIN
from infra.local.servers import LocalServers
from infra.settings import Settings
from schemas import ids
from schemas.errors import RetryableError
from schemas.events import MembersJoined, Message
from schemas.topics import USER_WRITES
from sdk.backend import WriteProducer
from tests.integration.support import NOW_MS, World, wait_until

USERS = tuple(f"user{number}" for number in range(20))
ROOM = ids.group("room")
WRITES = 3_000
GROWTH_MAX_BYTES = 40 * 2**20
"""What waits for a server waits in Kafka: a batch or two, and buffers of fixed size, are here."""

BROKEN = 400
"""Events of a backend of another version."""

WORKERS = ("stream-worker-1", "materializer-1")


@dataclass
class Place:
    world: World
    servers: LocalServers
    seq: int = 0

    @property
    def system(self) -> System:
        return self.world.system

    def readiness(self, name: str) -> tuple[int, str]:
        return self.ask(name, "/readyz")

    def ask(self, name: str, path: str) -> tuple[int, str]:
        url = self.system.processes.url(name).replace("/metrics", path)
        try:
            with urllib.request.urlopen(url, timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def messages(self, count: int) -> list[Message]:
        self.seq += count
        seqs = range(self.seq - count + 1, self.seq + 1)
        return [Message(ROOM, seq, USERS[seq % len(USERS)], NOW_MS + seq) for seq in seqs]

    def resident(self, name: str) -> int:
        rss: int = psutil.Process(self.system.processes.pid(name)).memory_info().rss
        return rss


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("outages")
    settings = own_servers(Settings(), folder / "data")
    servers = managed(settings)
    assert servers is not None
    servers.up()
    try:
        with running(
            settings, logs=folder / "logs", stream_workers=1, materializers=1, report=print
        ) as system:
            place = Place(World(system), servers)
            place.world.write(MembersJoined(ROOM, USERS, 0, NOW_MS), *place.messages(50))
            yield place
    finally:
        servers.down()


def test_cassandra_goes_away_and_comes_back(place: Place) -> None:
    world, processes = place.world, place.system.processes
    with world.device(USERS[0]) as phone:
        phone.sync()
        restarts = processes.restarts()
        before = {name: place.resident(name) for name in WORKERS}
        place.servers.kill("cassandra")
        for name in WORKERS:
            status, text = place.readiness(name)
            assert (status, text.partition(":")[0]) == (503, "cassandra")
            assert place.ask(name, "/healthz")[0] == 200
        assert place.readiness("api")[0] == 503
        assert place.ask("api", "/healthz")[0] == 200
        with pytest.raises(RetryableError):
            phone.sync()
        world.write(*place.messages(WRITES), settle=False)
        processes.kill("materializer-1")
        wait_until(lambda: processes.restarts() == restarts + 1, "it is started anew")
        place.servers.start("cassandra")
        world.system.wait_quiet()
        for name in (*WORKERS, "api"):
            wait_until(lambda name=name: place.readiness(name)[0] == 200, f"{name} is ready")
        phone.sync()
        assert world.differences(phone, USERS[0]) == []
    assert processes.restarts() == restarts + 1, "nobody but who was killed was started anew"
    assert place.resident(WORKERS[0]) - before[WORKERS[0]] < GROWTH_MAX_BYTES
    assert world.fresh_differences(USERS) == []


def test_kafka_goes_away_and_comes_back(place: Place) -> None:
    world, processes = place.world, place.system.processes
    kafka = place.system.settings.kafka
    with world.device(USERS[1]) as phone, WriteProducer(kafka.bootstrap_servers) as writes:
        phone.sync()
        place.servers.kill("kafka")
        for name in WORKERS:
            status, text = place.readiness(name)
            assert (status, text.partition(":")[0]) == (503, "kafka")
            assert place.ask(name, "/healthz")[0] == 200
        assert place.readiness("api") == (200, "ok")
        assert phone.sync().path == "nothing"
        assert world.fresh_differences(USERS[:3]) == []
        for message in place.messages(WRITES):
            writes.send(message)
            world.oracle.apply(message)
        place.servers.start("kafka")
        writes.flush()
        world.system.wait_quiet()
        for name in WORKERS:
            wait_until(lambda name=name: place.readiness(name)[0] == 200, f"{name} is ready")
        processes.check()
        phone.sync()
        assert world.differences(phone, USERS[1]) == []
    assert world.fresh_differences(USERS) == []


def test_a_topic_that_cannot_be_read_stops_the_worker_and_is_not_emptied_into_dead_letters(
    place: Place, tmp_path: Path
) -> None:
    kafka, processes = place.system.settings.kafka, place.system.processes
    letters = DeadLetters(kafka)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number in range(BROKEN):
        producer.produce(USER_WRITES.name, b'{"type":"from the future"}', partition=number % 8)
    producer.flush(30)
    restarts = processes.restarts()
    wait_until(lambda: place.readiness(WORKERS[0])[0] == 503, "the worker stops")
    said = f"events of {USER_WRITES.name} cannot be read"
    assert said in place.readiness(WORKERS[0])[1]
    assert said in processes.log(WORKERS[0]).read_text()
    assert place.ask(WORKERS[0], "/healthz")[0] == 200
    aside = letters.line(USER_WRITES.name).waiting
    assert aside < EVENTS_MIN
    with Admin(kafka) as admin:
        assert admin.lag(kafka.stream_group, [USER_WRITES.name]) >= BROKEN - EVENTS_MIN
    assert processes.restarts() == restarts, "started anew it would put some aside each time"

    processes.retire(WORKERS[0])
    told = environment_of(place.system.settings) | {"DIFFUSION_STREAM_DEAD_SHARE_MAX": "1"}
    processes.start(worker("stream-worker", "told", 0, environment=told, log=tmp_path / "told.log"))
    place.world.write(*place.messages(5))
    assert letters.line(USER_WRITES.name).waiting == BROKEN
    letters.close()
    assert place.world.fresh_differences(USERS[:3]) == []
