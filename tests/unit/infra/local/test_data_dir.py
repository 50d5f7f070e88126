"""The data directory: only what we made is emptied, and there must be room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from infra.local import data_dir
from infra.local.errors import BusyError, DataDirError, DiskFullError, JavaMissingError
from infra.local.file_lock import file_lock
from infra.local.java import child_environment, java_executable
from infra.local.settings import FREE_DATA_BYTES_MIN


class Usage(NamedTuple):
    """As `shutil.disk_usage` returns it."""

    total: int
    used: int
    free: int


def test_what_we_made_is_emptied_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    data_dir.prepare(folder)
    (folder / "kafka").mkdir()
    (folder / "notes.txt").touch()
    data_dir.empty(folder)
    assert not (folder / "kafka").exists()
    assert (folder / "notes.txt").exists()
    data_dir.prepare(folder)  # still ours


def test_a_directory_of_somebody_else_is_neither_used_nor_emptied(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with pytest.raises(DataDirError, match="kafka, for instance"):
        data_dir.prepare(tmp_path)
    with pytest.raises(DataDirError, match="is not emptied"):
        data_dir.empty(tmp_path)
    assert (tmp_path / "kafka").exists()


def test_a_link_is_deleted_and_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "new", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    data_dir.prepare(folder)
    (folder / "kafka").symlink_to(elsewhere)
    data_dir.empty(folder)
    assert not (folder / "kafka").exists()
    assert (elsewhere / "precious").exists()


def test_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match="cannot be used"):
        data_dir.prepare(tmp_path / "file")


def test_a_full_disk_is_noticed_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(2**40, 2**40, 100 * 2**20))
    with pytest.raises(DiskFullError, match=r"has 100 MiB free and 1024 MiB are needed"):
        data_dir.check_free_space(tmp_path / "not" / "there" / "yet", FREE_DATA_BYTES_MIN)


def test_sparse_files_count_for_what_they_take(tmp_path: Path) -> None:
    with (tmp_path / "index").open("wb") as file:
        os.truncate(file.fileno(), 10 * 2**20)
    assert data_dir.used_bytes(tmp_path) < 2**20


def test_a_lock_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    waited: list[str] = []
    with (
        file_lock(tmp_path / "lock", wait_s=0),
        pytest.raises(BusyError, match="Another process"),
        file_lock(tmp_path / "lock", wait_s=0, on_wait=lambda: waited.append("once")),
    ):
        pytest.fail("two hold the lock")
    assert waited == ["once"]
    with file_lock(tmp_path / "lock", wait_s=0):
        pass


def test_a_missing_java_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.java._PACKAGE", "no_such_java_runtime")
    with pytest.raises(JavaMissingError, match=r"The Java runtime is missing: .*run ./dev"):
        java_executable()


def test_a_debuggers_java_options_do_not_reach_the_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-agentlib:jdwp")
    monkeypatch.setenv("UNTOUCHED", "yes")
    environment = child_environment()
    assert "JAVA_TOOL_OPTIONS" not in environment
    assert environment["UNTOUCHED"] == "yes"
