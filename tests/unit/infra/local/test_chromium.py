"""Finding a browser: on the path, in the cache, or a sentence. Fetching it needs a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.chromium import PACKAGES, browser
from infra.local.errors import BrowserMissingError
from tests.unit.infra.local.test_prometheus import apt, program


def test_that_of_the_machine_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = program(tmp_path / "bin/chromium")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    got = browser(tmp_path / "cache")
    assert (got.program, got.environment) == (found, {})
    assert not (tmp_path / "cache").exists()


def test_then_that_of_the_cache_with_its_libraries_and_fonts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = program(tmp_path / "chromium/usr/lib/chromium/chromium-headless-shell")
    libraries = tmp_path / "chromium/usr/lib/x86_64-linux-gnu"
    libraries.mkdir()
    got = browser(tmp_path)
    assert got.program == found
    assert got.environment["LD_LIBRARY_PATH"] == str(libraries)
    fonts = Path(got.environment["FONTCONFIG_FILE"]).read_text()
    assert f"<dir>{tmp_path}/chromium/usr/share/fonts</dir>" in fonts


def test_without_apt_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(BrowserMissingError, match="no Debian"):
        browser(tmp_path)


def test_what_apt_says_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    apt(monkeypatch, tmp_path, apt_get="echo E: no network >&2; exit 100")
    with pytest.raises(BrowserMissingError, match="E: no network"):
        browser(tmp_path)
    assert not (tmp_path / "chromium").exists()
    assert not list(tmp_path.glob("staging-*"))


def test_packages_are_fetched_and_none_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    apt(monkeypatch, tmp_path, apt_get=f'echo "$*" >> {said}')
    with pytest.raises(BrowserMissingError, match="another place"):
        browser(tmp_path)
    update, install = said.read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith(f"--download-only install {' '.join(PACKAGES)}")
