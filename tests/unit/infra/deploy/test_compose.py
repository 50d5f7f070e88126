"""`compose.yaml` fits the specification, and says of our programs what is so.

Docker runs none of it here: `docs/deploy.md` says what was not tried.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft7Validator

from diffusion.cli import app
from diffusion.targets import JOBS, listed
from infra.figures.targets import find
from infra.local.lock import ROOTS
from infra.settings import PREFIX, load
from tests.unit.infra.deploy.support import DEPLOY, ROOT, document, schema

COMPOSE: Any = document(DEPLOY / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("write-diffusion:")}
PROGRAMS = {name: one for name, one in OURS.items() if name != "migrate"}
SECRET = "x" * 32


def ours(service: Any) -> dict[str, str]:
    named = {
        name: value for name, value in service["environment"].items() if name.startswith(PREFIX)
    }
    return {name: SECRET if value.startswith("${") else value for name, value in named.items()}


def test_it_is_a_compose_file() -> None:
    Draft7Validator(schema("compose-spec")).validate(COMPOSE)


def test_the_schema_would_find_a_wrong_name() -> None:
    wrong = {"services": {"api": {"imaeg": "x"}}}
    assert not Draft7Validator(schema("compose-spec")).is_valid(wrong)


def test_images_have_versions() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"])


def test_servers_are_those_that_the_tests_run() -> None:
    tested = {group: coordinates[0].rsplit(":", 1)[1] for group, coordinates in ROOTS.items()}
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{tested['kafka']}"
    assert SERVICES["cassandra"]["image"] == f"cassandra:{tested['cassandra']}"


@pytest.mark.parametrize("name", OURS)
def test_its_settings_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ours(OURS[name]).items():
        monkeypatch.setenv(variable, value)
    settings = load()
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.cassandra.hosts == ["cassandra"]


@pytest.mark.parametrize("name", OURS)
def test_a_program_is_a_command_and_may_write_only_tmp(name: str) -> None:
    service = OURS[name]
    assert service["command"][0] in app
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "volumes" not in service
    assert [one.split(":")[0] for one in service["tmpfs"]] == ["/tmp"]


def port(name: str) -> int:
    settings = ours(PROGRAMS[name])
    variables = {
        "stream-worker": "STREAM_METRICS",
        "materializer": "MATERIALIZER_METRICS",
        "api": "API",
    }
    assert settings[f"{PREFIX}{variables[name]}_HOST"] == "0.0.0.0"
    return int(settings[f"{PREFIX}{variables[name]}_PORT"])


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_asked_at_its_own_port_and_starts_after_the_tables(name: str) -> None:
    (asked,) = re.findall(r":(\d+)/readyz", " ".join(PROGRAMS[name]["healthcheck"]["test"]))
    assert int(asked) == port(name)
    assert PROGRAMS[name]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"}
    }
    assert PROGRAMS[name]["command"] == [name]


def test_only_the_machine_itself_reaches_what_is_published() -> None:
    for service in SERVICES.values():
        assert all(one.startswith("127.0.0.1:") for one in service.get("ports", ()))


def test_prometheus_has_all_programs_as_targets() -> None:
    found = {name: [f"{name}:{port(name)}"] for name in JOBS if name in PROGRAMS}
    assert json.loads((DEPLOY / "targets.json").read_text()) == listed(found)


def test_the_page_is_told_of_the_same() -> None:
    settings = ours(OURS["api"])
    (mounted,) = SERVICES["api"]["configs"]
    assert mounted["target"] == settings[f"{PREFIX}API_FIGURES_TARGETS"]
    source = DEPLOY / COMPOSE["configs"][mounted["source"]]["file"]
    assert [one.program for one in find(str(source))] == ["stream-worker", "materializer", "api"]


def test_every_file_that_is_mounted_is_there() -> None:
    mounted = [
        one.split(":")[0]
        for service in SERVICES.values()
        for one in service.get("volumes", ())
        if one.startswith(".")
    ]
    assert len(mounted) == 6
    for name in mounted:
        assert (DEPLOY / name).is_file(), name
    assert (DEPLOY / COMPOSE["x-program"]["build"]["context"]).resolve() == ROOT


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    (provider,) = document(DEPLOY / "grafana" / "dashboards.yml")["providers"]
    folder = provider["options"]["path"]
    assert any(f":{folder}/" in one for one in SERVICES["grafana"]["volumes"])
    (source,) = document(DEPLOY / "grafana" / "datasource.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["type"] == "prometheus"


def test_the_api_is_given_longer_than_its_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ours(OURS["api"]).items():
        monkeypatch.setenv(variable, value)
    given = int(OURS["api"]["stop_grace_period"].removesuffix("s"))
    assert given > 2 * load().api.drain_s
