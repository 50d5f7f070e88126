"""The four modes: in the two between, both is done."""

from __future__ import annotations

import pytest

from schemas.heads import Mode


@pytest.mark.parametrize(
    ("mode", "number", "diffuses", "on_read_side"),
    [
        (Mode.WRITE, 0, True, False),
        (Mode.LEAVING, 1, True, True),
        (Mode.READ, 2, False, True),
        (Mode.RETURNING, 3, True, False),
    ],
)
def test_a_mode(mode: Mode, number: int, *, diffuses: bool, on_read_side: bool) -> None:
    assert (mode.value, mode.diffuses, mode.on_read_side) == (number, diffuses, on_read_side)


def test_in_no_mode_is_nothing_done() -> None:
    assert all(mode.diffuses or mode.on_read_side for mode in Mode)
