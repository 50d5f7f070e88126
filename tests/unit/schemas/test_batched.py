"""Many in parts of a few."""

from __future__ import annotations

import pytest

from schemas.batched import batched


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])]
)
def test_parts_are_full_but_the_last_and_hold_all_in_order(count: int, sizes: list[int]) -> None:
    parts = list(batched(range(count), 3))
    assert [len(part) for part in parts] == sizes
    assert [one for part in parts for one in part] == list(range(count))
