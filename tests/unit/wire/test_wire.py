"""What every release wrote is read as it was then. What is read beside it may be new."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from sdk.client.store import Store
from tests import wire

FOLDERS = sorted((Path(wire.__file__).parent / "data").glob("wire_*"))


def cases(name: str) -> list[Any]:
    """Each entry of the file of this name, of every release."""
    return [
        pytest.param(one, id=f"{folder.name}-{number}")
        for folder in FOLDERS
        for number, one in enumerate(orjson.loads((folder / name).read_bytes()))
    ]


def covers(now: Any, then: Any) -> bool:
    """Whether all that was read then is read now; records may have got more fields since."""
    if isinstance(then, dict) and isinstance(now, dict):
        return all(name in now and covers(now[name], one) for name, one in then.items())
    if isinstance(then, list) and isinstance(now, list):
        return len(now) == len(then) and all(map(covers, now, then))
    return bool(now == then)


def unpacked(folder: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The device's store of a release, and what was read from it."""
    path = tmp_path / "device.db"
    path.write_bytes(gzip.decompress((folder / wire.DEVICE).read_bytes()))
    return path, orjson.loads((folder / "device.json").read_bytes())


def test_there_is_something_to_read() -> None:
    assert [folder.name for folder in FOLDERS][:1] == ["wire_1_0"]


@pytest.mark.parametrize("one", cases("records.json"))
def test_a_record_is_read(one: dict[str, Any]) -> None:
    assert covers(wire.read_record(one["kind"], one["value"]), one["read"])


@pytest.mark.parametrize("one", cases("tokens.json"))
def test_a_token_is_read(one: dict[str, Any]) -> None:
    assert covers(wire.read_token(one["kind"], one["text"], one["key"]), one["read"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_rows_are_read(folder: Path) -> None:
    found = orjson.loads((folder / "rows.json").read_bytes())
    now = wire.read_rows(found["writes"])
    assert {name for name, one in found["read"].items() if not covers(now[name], one)} == set()
    assert all(found["read"].values()), "something of each table"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_device_goes_on_with_its_store(folder: Path, tmp_path: Path) -> None:
    path, then = unpacked(folder, tmp_path)
    now = wire.read_device(path)
    assert {name for name, one in then.items() if not covers(now[name], one)} == set()
    store = Store(path, then["user"])
    assert store.load().page == then["stands"]["page"]
    store.close()


@pytest.mark.parametrize(
    ("now", "then", "expected"),
    [
        ({"a": 1, "new": 2}, {"a": 1}, True),
        ({"a": {"b": 1, "new": None}}, {"a": {"b": 1}}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": None}, False),
        ([{"a": 1, "new": 2}], [{"a": 1}], True),
        ([1, 2], [1], False),
        (None, {"a": 1}, False),
    ],
)
def test_what_is_read_now_covers_what_was_read_then(now: Any, then: Any, *, expected: bool) -> None:
    assert covers(now, then) is expected


def test_what_was_released_is_not_written_again(tmp_path: Path) -> None:
    wire.write(tmp_path / "wire_9_9")
    with pytest.raises(FileExistsError):
        wire.write(tmp_path / "wire_9_9")
    assert {path.name for path in (tmp_path / "wire_9_9").iterdir()} == {
        path.name for path in FOLDERS[0].iterdir()
    }
