"""Programs of this machine are found by what they wrote, as long as they run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from diffusion.announced import announced, folder_of, is_here, pattern_of
from infra.figures.targets import Target, find
from infra.settings import Settings
from schemas.errors import PermanentError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    local = Settings().local.model_copy(update={"data_dir": tmp_path / "servers"})
    return Settings().model_copy(update={"local": local})


def changed(settings: Settings, section: str, **values: Any) -> Settings:
    own = getattr(settings, section).model_copy(update=values)
    return settings.model_copy(update={section: own})


@pytest.mark.parametrize(
    ("kind", "section"),
    [("stream-worker", "stream"), ("materializer", "materializer"), ("openim-tap", "openim")],
)
def test_a_worker_is_given_a_port_and_found_there_until_it_ends(
    settings: Settings, kind: str, section: str
) -> None:
    with announced(kind, changed(settings, section, metrics_port=0)) as used:
        port = getattr(used, section).metrics_port
        assert port
        assert find(pattern_of(settings)) == [Target(kind, f"127.0.0.1:{port}")]
    assert find(pattern_of(settings)) == []


def test_a_port_that_is_set_stays(settings: Settings) -> None:
    own = changed(settings, "stream", metrics_port=9100, metrics_host="::1")
    with announced("stream-worker", own) as used:
        assert used == own
        assert find(pattern_of(settings)) == [Target("stream-worker", "[::1]:9100")]


def test_an_api_is_told_of_all(settings: Settings) -> None:
    with announced("stream-worker", settings) as worker, announced("api", settings) as used:
        assert used.api.figures_targets == pattern_of(settings)
        assert find(used.api.figures_targets) == [
            Target("stream-worker", f"127.0.0.1:{worker.stream.metrics_port}"),
            Target("api", f"127.0.0.1:{settings.api.port}"),
        ]


def test_an_api_that_was_told_already_is_left_alone(settings: Settings) -> None:
    with announced("api", changed(settings, "api", figures_targets="targets.json")) as used:
        assert used.api.figures_targets == "targets.json"


def test_one_that_speaks_tls_says_so(settings: Settings, tmp_path: Path) -> None:
    with announced("api", changed(settings, "api", tls_cert_file=tmp_path / "cert.pem")):
        (found,) = find(pattern_of(settings))
    assert found.url.startswith("https://")


def test_what_a_killed_one_left_goes_when_another_of_its_kind_comes(settings: Settings) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    folder = folder_of(settings)
    folder.mkdir()
    text = '[{"targets": ["127.0.0.1:1"], "labels": {"job": "diffusion-stream"}}]'
    left = folder / f"stream-worker-{gone.pid}.json"
    left.write_text(text)
    alive = folder / f"stream-worker-{os.getppid()}.json"
    alive.write_text(text.replace(":1", ":2"))
    with announced("materializer", settings):
        assert left.exists()
    with announced("stream-worker", settings):
        assert not left.exists()
        assert alive.exists()


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("kafka", {"bootstrap_servers": "kafka-1:9092"}),
        ("kafka", {"security_protocol": "SSL"}),
        ("cassandra", {"contact_points": "10.0.0.5"}),
        ("cassandra", {"tls": True}),
        ("local", {"manage": False}),
    ],
)
def test_beside_others_servers_nothing_is_announced(
    settings: Settings, section: str, values: dict[str, Any]
) -> None:
    theirs = changed(settings, section, **values)
    assert is_here(settings)
    assert not is_here(theirs)
    with announced("stream-worker", theirs) as used:
        assert used is theirs
        assert not folder_of(theirs).exists()
    with pytest.raises(PermanentError, match="diffusion targets"):
        pattern_of(theirs)
    assert pattern_of(theirs, "mine.json") == "mine.json"
    assert pattern_of(changed(theirs, "api", figures_targets="set.json")) == "set.json"


def test_a_folder_that_cannot_be_written_stops_nobody(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    folder_of(settings).write_text("a file is in the way")
    with announced("materializer", settings) as used:
        assert used.materializer.metrics_port
    assert "will not find this materializer" in caplog.text
