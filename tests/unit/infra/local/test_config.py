"""What the servers are told: loopback only, the ports asked for, and paths whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local.cassandra_config import render_yaml
from infra.local.cassandra_server import cassandra_plan
from infra.local.errors import DataDirError, SettingsClashError
from infra.local.kafka_server import is_formatted, kafka_plan, new_cluster_id, render_properties
from infra.local.plan import Runtime
from infra.local.settings import LocalSettings, default_cache_dir, default_data_dir

SETTINGS = LocalSettings(
    data_dir=Path('/srv/of "all" é'),
    cache_dir=Path("/srv/cache"),
    kafka_port=20_001,
    kafka_controller_port=20_002,
    cassandra_port=20_003,
    cassandra_storage_port=20_004,
    kafka_heap_mb=300,
    cassandra_heap_mb=600,
)
RUNTIME = Runtime(
    SETTINGS, Path("/java"), (Path("/srv/cache/jamm-0.4.0.jar"), Path("/srv/cache/b.jar"))
)


def test_kafka_listens_on_loopback_where_it_is_told() -> None:
    lines = dict(
        line.split("=", 1)
        for line in render_properties(SETTINGS, log_dir="kafka").splitlines()
        if not line.startswith("#")
    )
    assert lines["listeners"] == "BROKER://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert lines["controller.quorum.voters"] == "1@127.0.0.1:20002"
    assert lines["group.consumer.session.timeout.ms"] == "10000"
    assert lines["group.consumer.heartbeat.interval.ms"] == "3000"
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["log.dirs"] == "kafka"


def test_cassandra_listens_on_loopback_and_quotes_its_paths() -> None:
    text = render_yaml(SETTINGS)
    for line in (
        "listen_address: 127.0.0.1",
        "rpc_address: 127.0.0.1",
        "native_transport_port: 20003",
        "storage_port: 20004",
        "storage_compatibility_mode: NONE",
        "commitlog_sync: batch",
        "materialized_views_enabled: false",
        "user_defined_functions_enabled: false",
    ):
        assert line in text.splitlines()
    quoted = next(line for line in text.splitlines() if line.startswith("commitlog_directory"))
    path = SETTINGS.data_dir / "cassandra" / "commitlog"
    assert json.loads(quoted.split(": ", 1)[1]) == str(path)


@pytest.mark.parametrize(("plan", "heap"), [(kafka_plan, 300), (cassandra_plan, 600)])
def test_a_command_has_its_heap_its_marks_and_the_whole_class_path(plan: type, heap: int) -> None:
    made = plan(RUNTIME)
    assert made.command[0] == "/java"
    assert f"-Xmx{heap}m" in made.command
    assert set(made.server.marks) < set(made.command)
    assert "/srv/cache/jamm-0.4.0.jar:/srv/cache/b.jar" in made.command


def test_cassandra_measures_with_the_agent() -> None:
    assert "-javaagent:/srv/cache/jamm-0.4.0.jar" in cassandra_plan(RUNTIME).command


def test_cluster_ids_are_not_taken_for_options() -> None:
    ids = [new_cluster_id() for _ in range(2_000)]
    assert all(len(text) == 22 and not text.startswith("-") for text in ids)


def test_two_listeners_cannot_share_a_port() -> None:
    with pytest.raises(SettingsClashError, match="kafka_port and cassandra_port are both 20001"):
        LocalSettings(kafka_port=20_001, cassandra_port=20_001)


def test_a_cache_that_would_split_the_class_path_is_refused() -> None:
    with pytest.raises(DataDirError, match="separates the entries"):
        LocalSettings(cache_dir=Path("/srv/a:b"))


def test_directories_follow_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", "relative-and-so-ignored")
    assert default_cache_dir() == tmp_path / "c" / "write-diffusion"
    assert default_data_dir() == tmp_path / ".local/state/write-diffusion"


def test_half_formatted_storage_is_formatted_again(tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    assert not is_formatted(folder)
    folder.mkdir()
    (folder / "bootstrap.checkpoint").touch()
    assert not is_formatted(folder)
    (folder / "meta.properties").touch()
    assert is_formatted(folder)


def test_storage_with_data_is_never_formatted(tmp_path: Path) -> None:
    (tmp_path / "changes-0").mkdir()
    with pytest.raises(DataDirError, match="changes-0"):
        is_formatted(tmp_path)
