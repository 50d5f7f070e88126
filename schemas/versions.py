"""Versions: the place of a change in its user's line of the change log, as one integer.

`version = epoch * 2^43 + offset`. All changes of a user are in one partition of
`diffusion.changes.v1`, so the offset orders them; the epoch orders the incarnations of that topic.
Replaying the log gives the same versions, and no counter has to be kept anywhere. Versions of a
user are monotone, not dense.

The same packing gives the *position* of a record in a write topic. A position with the place of an
event inside its record is a *stamp*: last-writer-wins cells merge by it, equal under replay.

Windows are the coarse time of the log: `[start, start + window_ms)`, start inclusive, end
exclusive.
"""

from __future__ import annotations

from typing import Final

from schemas.limits import EPOCH_MAX, EPOCH_MIN, OFFSET_BITS, OFFSET_MAX, STAMP_INDEX_BITS

BEFORE_ALL: Final = 0
"""Smaller than the version of any record, because epochs start at 1."""


def version_of(epoch: int, offset: int) -> int:
    """Pack an epoch (1 to 1,023) and an offset (0 to 2^43 - 1) into a version below 2^53.

    >>> version_of(1, 0)
    8796093022208
    """
    assert EPOCH_MIN <= epoch <= EPOCH_MAX, epoch
    assert 0 <= offset <= OFFSET_MAX, offset
    return (epoch << OFFSET_BITS) | offset


def epoch_of(version: int) -> int:
    """Read the epoch out of a version; 0 for `BEFORE_ALL`."""
    return version >> OFFSET_BITS


def offset_of(version: int) -> int:
    """Read the offset out of a version."""
    return version & OFFSET_MAX


def stamp_of(position: int, index: int) -> int:
    """Stamp of the event at `index` (0 to 511) of the record at `position`; below 2^62.

    >>> first, second = version_of(1, 0), version_of(1, 1)
    >>> stamp_of(first, 0) < stamp_of(first, 1) < stamp_of(second, 0)
    True
    """
    assert 0 <= index < 1 << STAMP_INDEX_BITS, index
    return (position << STAMP_INDEX_BITS) | index


def window_start(time_ms: int, window_ms: int) -> int:
    """Start of the window that holds `time_ms`, in milliseconds since 1970.

    >>> window_start(1_700_000_599_999, 600_000)
    1700000400000
    """
    return time_ms - time_ms % window_ms
