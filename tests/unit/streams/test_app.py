"""What of the Faust shell can be looked at without Faust: cutting batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streams import app


def event(size: int = 10, generation: int = 3) -> Any:
    return SimpleNamespace(message=SimpleNamespace(value=b"x" * size, generation_id=generation))


def sizes(parts: Any) -> list[list[int]]:
    return [[len(one.message.value) for one in part] for part in parts]


@pytest.mark.parametrize(
    ("records", "parts"),
    [
        ([], []),
        ([10, 10], [[10, 10]]),
        ([60, 40], [[60, 40]]),
        ([60, 41], [[60], [41]]),
        ([200], [[200]]),
        ([1, 200, 1], [[1], [200], [1]]),
    ],
)
def test_a_batch_is_cut_by_bytes_in_order(
    monkeypatch: pytest.MonkeyPatch, records: list[int], parts: list[list[int]]
) -> None:
    monkeypatch.setattr(app, "BATCH_BYTES_MAX", 100)
    assert sizes(app._cut([event(size) for size in records])) == parts


def test_a_record_without_a_value_is_cut_too() -> None:
    nothing: Any = SimpleNamespace(message=SimpleNamespace(value=None, generation_id=3))
    assert [len(part) for part in app._cut([nothing, nothing])] == [2]
