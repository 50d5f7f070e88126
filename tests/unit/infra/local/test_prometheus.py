"""Finding a Prometheus: on the path, in the cache, or a sentence. Fetching it needs a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local import prometheus
from infra.local.errors import PrometheusMissingError
from infra.local.prometheus import VERSION, tools


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_that_of_the_machine_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = [program(tmp_path / "bin" / name) for name in ("prometheus", "promtool")]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    got = tools(tmp_path / "cache")
    assert [got.prometheus, got.promtool] == found
    assert not (tmp_path / "cache").exists()


def test_then_that_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    folder = tmp_path / f"prometheus-{VERSION}/usr/bin"
    found = [program(folder / name) for name in ("prometheus", "promtool")]
    got = tools(tmp_path)
    assert [got.prometheus, got.promtool] == found


def test_without_apt_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(PrometheusMissingError, match="no Debian"):
        tools(tmp_path)


def apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **scripts: str) -> None:
    """Programs of a Debian, as scripts."""
    for name, script in {"dpkg": "echo amd64", "dpkg-deb": "true", **scripts}.items():
        path = program(tmp_path / "bin" / name.replace("_", "-"))
        path.write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")


def test_another_package_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    apt(monkeypatch, tmp_path, apt_get="echo other > prometheus_1_amd64.deb")
    with pytest.raises(PrometheusMissingError, match="another one: sha256"):
        tools(tmp_path)
    assert not (tmp_path / f"prometheus-{VERSION}").exists()
    assert not list(tmp_path.glob("staging-*"))


def test_what_apt_says_is_told_and_our_own_lists_are_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    apt(monkeypatch, tmp_path, apt_get=f'echo "$*" >> {said}; echo E: no network >&2; exit 100')
    with pytest.raises(PrometheusMissingError, match="E: no network"):
        tools(tmp_path)
    first, second = said.read_text().splitlines()
    assert first == f"-q download prometheus={VERSION}"
    assert second.startswith("-q -o Dir::State=")
    assert second.endswith("update")


def test_a_package_for_another_machine_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    apt(monkeypatch, tmp_path, dpkg="echo riscv64", apt_get="exit 1")
    with pytest.raises(PrometheusMissingError, match="riscv64 is not known"):
        tools(tmp_path)
    assert "riscv64" not in prometheus.SHA256
