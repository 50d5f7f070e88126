"""The cache: what is there and right is used, all else is fetched, and nothing wrong gets in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from infra.local import jars
from infra.local.errors import JarDownloadError, JarMismatchError
from infra.local.jar_lock import Jar


def _jar(name: str, content: bytes) -> Jar:
    return Jar("org.example", name, "1.0", "", hashlib.sha256(content).hexdigest())


ONE, TWO = _jar("one", b"one"), _jar("two", b"two")


class Repository:
    """A repository of a few files; `failures` makes the first fetches of each break off."""

    contents: dict[str, bytes]
    failures: int
    fetched: list[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, jar: Jar) -> Path:
        """As MavenRepository.fetch."""
        path = self.folder / jar.file_name
        if path.exists():  # as jgo: half a file counts as the file
            return path
        type(self).fetched.append(jar.artifact)
        content = self.contents[jar.artifact]
        if self.fetched.count(jar.artifact) <= self.failures:
            path.write_bytes(content[:1])
            raise JarDownloadError(jar.coordinate, "connection lost")
        path.write_bytes(content)
        return path

    def forget(self, jar: Jar) -> None:
        """As MavenRepository.forget."""
        (self.folder / jar.file_name).unlink(missing_ok=True)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> type[Repository]:
    Repository.contents = {"one": b"one", "two": b"two"}
    Repository.failures = 0
    Repository.fetched = []
    monkeypatch.setattr(jars, "MavenRepository", Repository)
    monkeypatch.setattr(jars, "DOWNLOAD_PAUSE_S", 0)
    return Repository


def test_what_is_cached_is_not_fetched_again(tmp_path: Path, repository: type[Repository]) -> None:
    first = jars.class_path([ONE, TWO], tmp_path)
    repository.fetched.clear()
    assert jars.class_path([ONE, TWO], tmp_path) == first
    assert repository.fetched == []
    assert [path.read_bytes() for path in first] == [b"one", b"two"]


def test_a_torn_file_in_the_cache_is_fetched_again(
    tmp_path: Path, repository: type[Repository]
) -> None:
    path = jars.class_path([ONE], tmp_path)[0]
    path.write_bytes(b"on")
    assert jars.class_path([ONE], tmp_path) == (path,)
    assert path.read_bytes() == b"one"
    assert repository.fetched == ["one", "one"]


def test_another_file_under_the_name_is_refused_in_one_sentence(
    tmp_path: Path, repository: type[Repository]
) -> None:
    repository.contents["two"] = b"something else"
    with pytest.raises(JarMismatchError, match=r"org.example:two:1.0 is not the file"):
        jars.class_path([ONE, TWO], tmp_path)
    assert not TWO.path_in(tmp_path / "jars").exists()


def test_a_download_that_breaks_off_is_tried_again(
    tmp_path: Path, repository: type[Repository]
) -> None:
    repository.failures = jars.DOWNLOAD_ATTEMPTS - 1
    assert jars.class_path([ONE], tmp_path)[0].read_bytes() == b"one"


def test_a_download_that_keeps_failing_is_a_sentence_and_keeps_the_rest(
    tmp_path: Path, repository: type[Repository]
) -> None:
    jars.class_path([ONE], tmp_path)
    repository.failures = jars.DOWNLOAD_ATTEMPTS
    repository.fetched.clear()
    with pytest.raises(JarDownloadError, match=r"Could not download org.example:two:1.0"):
        jars.class_path([ONE, TWO], tmp_path)
    assert set(repository.fetched) == {"two"}
    assert ONE.path_in(tmp_path / "jars").exists()


def test_nothing_is_left_of_a_download(tmp_path: Path, repository: type[Repository]) -> None:
    (tmp_path / "staging-of-a-killed-process").mkdir(parents=True)
    jars.class_path([ONE], tmp_path)
    assert repository.fetched == ["one"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jars", "lock"]
