"""Real Kafka and real Cassandra, on ports and in a directory of their own.

The tests of this module share one pair of servers and run in order: starting them is what takes
the time. Each leaves them running, but for the last.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from cassandra.cluster import Cluster
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # the admin module imports it without exporting it

from infra.local.errors import DataDirError, PortsChangedError, PortTakenError
from infra.local.ports import free_ports
from infra.local.servers import LocalServers, LocalSettings

TOPIC = "survivors"
BOTH = ("kafka", "cassandra")
LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1"}


def _settings(data_dir: Path) -> LocalSettings:
    kafka, controller, cassandra, storage = free_ports(4)
    return LocalSettings(
        data_dir=data_dir,
        kafka_port=kafka,
        kafka_controller_port=controller,
        cassandra_port=cassandra,
        cassandra_storage_port=storage,
    )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    # A path with a space and an accent: both servers are told it in several quotings.
    local = LocalServers(_settings(tmp_path_factory.mktemp("servers") / "données de test"))
    local.up()
    yield local
    local.down()


@dataclass
class Rows:
    """A table of numbers, and which of them were acknowledged."""

    session: Any
    acknowledged: set[int]

    def write_until(self, stop: threading.Event) -> None:
        """Insert ascending numbers, some at a time, until told to stop or refused."""
        insert = self.session.prepare("INSERT INTO survivors.rows (number) VALUES (?)")
        number = 0
        while not stop.is_set():
            numbers = range(number, number + 50)
            futures = [(one, self.session.execute_async(insert, (one,))) for one in numbers]
            number += 50
            for one, future in futures:
                try:
                    future.result()
                except Exception:  # noqa: BLE001  # the node is gone, as the test wants it
                    stop.set()
                else:
                    self.acknowledged.add(one)


def _pids(servers: LocalServers) -> dict[str, int | None]:
    return {status.name: status.pid for status in servers.status()}


def _session(servers: LocalServers) -> tuple[Any, Any]:
    cluster = Cluster(["127.0.0.1"], port=servers.settings.cassandra_port, protocol_version=5)
    return cluster, cluster.connect()


def _bootstrap(servers: LocalServers) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": f"127.0.0.1:{servers.settings.kafka_port}"}


def _produce(servers: LocalServers, values: list[bytes]) -> None:
    admin = AdminClient(_bootstrap(servers))
    for created in admin.create_topics([NewTopic(TOPIC, 1, 1)]).values():
        created.result(timeout=30)
    producer = Producer({**_bootstrap(servers), "acks": "all"})
    for value in values:
        producer.produce(TOPIC, value)
    assert producer.flush(30) == 0


def _consume(servers: LocalServers, count: int) -> list[bytes | str | None]:
    consumer = Consumer(
        {**_bootstrap(servers), "group.id": "reader", "enable.auto.commit": "false"}
    )
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    try:
        messages = consumer.consume(count, timeout=60)
        return [message.value() for message in messages if message.error() is None]
    finally:
        consumer.close()


def test_both_run_and_say_so(servers: LocalServers) -> None:
    statuses = servers.status()
    assert [(status.name, status.state) for status in statuses] == [
        ("kafka", "running"),
        ("cassandra", "running"),
    ]
    for status in statuses:
        assert status.pid is not None
        assert status.uptime_s is not None
        assert status.data_bytes > 0
        assert status.version
        assert status.log.exists()


def test_a_second_up_finds_what_is_there(servers: LocalServers) -> None:
    before = _pids(servers)
    said: list[tuple[str, str]] = []
    other = LocalServers(servers.settings, on_progress=lambda *words: said.append(words))
    assert {status.name: status.pid for status in other.up()} == before
    assert {(name, "is running already") for name in BOTH} <= set(said)


def test_everything_listens_on_loopback_only(servers: LocalServers) -> None:
    ports = set()
    for pid in _pids(servers).values():
        for connection in psutil.Process(pid).net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in LOOPBACK
                ports.add(connection.laddr.port)
    settings = servers.settings
    assert ports == {
        settings.kafka_port,
        settings.kafka_controller_port,
        settings.cassandra_port,
        settings.cassandra_storage_port,
    }


def test_a_taken_port_is_a_sentence_and_starts_nothing(
    servers: LocalServers, tmp_path: Path
) -> None:
    settings = replace(_settings(tmp_path / "other"), kafka_port=servers.settings.kafka_port)
    other = LocalServers(settings)
    pid = _pids(servers)["kafka"]
    words = rf"Port {settings.kafka_port}, which Kafka needs, is taken by .*process {pid}"
    with pytest.raises(PortTakenError, match=words):
        other.up()
    assert [status.state for status in other.status()] == ["foreign", "stopped"]
    assert other.down()
    assert _pids(servers)["kafka"] == pid


def test_a_running_server_is_not_moved_to_another_port(servers: LocalServers) -> None:
    moved = LocalServers(_settings(servers.settings.data_dir))
    with pytest.raises(PortsChangedError, match="diffusion down"):
        moved.up()


def test_what_was_acknowledged_survives_sigkill(servers: LocalServers) -> None:
    values = [b"record %d" % number for number in range(1_000)]
    cluster, session = _session(servers)
    session.execute(
        "CREATE KEYSPACE survivors WITH replication ="
        " {'class': 'SimpleStrategy', 'replication_factor': 1}"
    )
    session.execute("CREATE TABLE survivors.rows (number int PRIMARY KEY)")
    rows, stop = Rows(session, set()), threading.Event()
    writer = threading.Thread(target=rows.write_until, args=(stop,))
    writer.start()
    _produce(servers, values)
    # In the middle of writing: what is acknowledged last is what is lost first.
    for name in BOTH:
        servers.kill(name)
    writer.join()
    cluster.shutdown()
    assert [status.state for status in servers.status()] == ["stopped", "stopped"]
    assert rows.acknowledged

    servers.up()
    assert _consume(servers, len(values)) == values
    cluster, session = _session(servers)
    found = {row.number for row in session.execute("SELECT number FROM survivors.rows")}
    cluster.shutdown()
    assert rows.acknowledged <= found


def test_one_is_started_again_beside_the_other(servers: LocalServers) -> None:
    before = _pids(servers)
    servers.kill("kafka")
    servers.start("kafka")
    after = _pids(servers)
    assert after["cassandra"] == before["cassandra"]
    assert after["kafka"] not in {None, before["kafka"]}


def test_a_lost_pid_file_does_not_lose_the_server(servers: LocalServers) -> None:
    before = _pids(servers)
    for file in (servers.settings.data_dir / "run").iterdir():
        file.unlink()
    assert _pids(servers) == before
    servers.up()
    assert _pids(servers) == before


def test_data_moves_to_other_ports(servers: LocalServers) -> None:
    servers.down()
    moved = LocalServers(_settings(servers.settings.data_dir))
    try:
        moved.up()
        assert len(_consume(moved, 1_000)) == 1_000
        cluster, session = _session(moved)
        assert session.execute("SELECT count(*) FROM survivors.rows").one()[0] > 0
        cluster.shutdown()
    finally:
        moved.down()


def test_fresh_forgets_all_and_down_leaves_nothing(servers: LocalServers) -> None:
    servers.up(fresh=True)
    assert TOPIC not in AdminClient(_bootstrap(servers)).list_topics(timeout=30).topics
    pids = _pids(servers)
    assert [status.state for status in servers.down()] == ["stopped", "stopped"]
    assert not any(pid is not None and psutil.pid_exists(pid) for pid in pids.values())
    for port in (servers.settings.kafka_port, servers.settings.cassandra_port):
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataDirError, match=r"thesis\.tex"):
        LocalServers(_settings(tmp_path)).up(fresh=True)
