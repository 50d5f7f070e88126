"""The version of a row of the change index."""

from __future__ import annotations

import pytest

from schemas.rows import ChangeRow


@pytest.mark.parametrize(
    ("message", "read", "state", "newest"),
    [(0, 0, 0, 0), (3, 0, 0, 3), (0, 3, 0, 3), (0, 0, 3, 3), (3, 2, 1, 3), (1, 2, 3, 3)],
)
def test_a_row_is_as_new_as_its_newest_change(
    message: int, read: int, state: int, newest: int
) -> None:
    row = ChangeRow(0, "sg_1", message_version=message, read_version=read, state_version=state)
    assert row.version == newest
