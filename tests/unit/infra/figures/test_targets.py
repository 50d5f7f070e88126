"""Lists of processes: those of Prometheus, by a path or a pattern, and bounded."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from diffusion.targets import addresses, listed
from infra.figures.targets import FILE_BYTES_MAX, FILES_MAX, TARGETS_MAX, Target, find, names, read
from infra.settings import MaterializerSettings, Settings, StreamSettings
from schemas.errors import PermanentError

SETTINGS = Settings(
    stream=StreamSettings(metrics_port=9100), materializer=MaterializerSettings(metrics_port=9110)
)


def group(job: str, *targets: str, **labels: str) -> dict[str, object]:
    return {"targets": list(targets), "labels": {"job": job, **labels}}


def test_what_diffusion_targets_writes_is_read() -> None:
    found = addresses(SETTINGS, {"stream-worker": 2, "materializer": 1}, api=True)
    assert read(orjson.dumps(listed(found, api_tls=True))) == [
        Target("stream-worker", "127.0.0.1:9100"),
        Target("stream-worker", "127.0.0.1:9101"),
        Target("materializer", "127.0.0.1:9110"),
        Target("api", "127.0.0.1:18080", "https"),
    ]


def test_where_it_is_asked() -> None:
    assert Target("api", "[::1]:18080", "https").url == "https://[::1]:18080/metrics"


def test_jobs_of_others_are_passed_by() -> None:
    assert read(orjson.dumps([group("kafka", "kafka:9308"), {"targets": ["x:1"]}])) == []


@pytest.mark.parametrize("text", [b"- targets: [a]", b"{}", b'[{"targets": "a:1"}]', b"[\xff]"])
def test_what_is_no_list_is_a_sentence(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    path.write_bytes(text)
    with pytest.raises(PermanentError, match=r"targets\.json cannot be used: it is no list of"):
        find(str(path))


def test_files_of_a_pattern_are_one_list_each_address_once(tmp_path: Path) -> None:
    for name, job, address in (
        ("api-1", "diffusion-api", "b:1"),
        ("api-2", "diffusion-api", "a:1"),
        ("api-3", "diffusion-api", "a:1"),
        ("stream-worker-1", "diffusion-stream", "z:1"),
    ):
        (tmp_path / f"{name}.json").write_bytes(orjson.dumps([group(job, address)]))
    found = find(str(tmp_path / "*.json"))
    assert found == [Target("stream-worker", "z:1"), Target("api", "a:1"), Target("api", "b:1")]
    assert names(found) == ["stream-worker", "api 1", "api 2"]


def test_a_pattern_may_find_nothing_and_a_path_may_not(tmp_path: Path) -> None:
    assert find(str(tmp_path / "*.json")) == []
    assert find(str(tmp_path / "nowhere" / "*.json")) == []
    with pytest.raises(PermanentError, match="there is no such file"):
        find(str(tmp_path / "targets.json"))


def test_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    many = [f"host:{number}" for number in range(1, TARGETS_MAX + 2)]
    path.write_bytes(orjson.dumps([group("diffusion-api", *many[:-1])]))
    assert len(find(str(path))) == TARGETS_MAX
    path.write_bytes(orjson.dumps([group("diffusion-api", *many)]))
    with pytest.raises(PermanentError, match="65 processes, and 64 are shown"):
        find(str(path))
    path.write_bytes(b" " * (FILE_BYTES_MAX + 1))
    with pytest.raises(PermanentError, match="more than 262,144 bytes"):
        find(str(path))
    for number in range(FILES_MAX + 1):
        (tmp_path / f"{number}.list").touch()
    with pytest.raises(PermanentError, match="257 files"):
        find(str(tmp_path / "*.list"))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host:",
        ":1",
        "host:0",
        "host:65536",
        "a b:1",
        "user@host:1",
        "host:1/x",
        "::1:9",
    ],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(PermanentError, match=r"is no host:port"):
        read(orjson.dumps([group("diffusion-api", address)]))


@pytest.mark.parametrize("address", ["host-1.im.svc:9100", "10.0.0.5:65535", "[fd00::5]:9110"])
def test_an_address_may_be_a_name_or_a_number(address: str) -> None:
    assert read(orjson.dumps([group("diffusion-api", address)])) == [Target("api", address)]
