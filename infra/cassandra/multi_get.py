"""Reads of many keys: statements of a bounded number of keys, a few of them under way at once.

One after the other they took twice as long: 10,000 heads 780 ms, against 440 ms with four at once
and 340 ms with eight, at the same CPU time. Four, because other users wait beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from infra.cassandra.session import Row, Session

READS_AT_ONCE: Final = 4


async def read(
    session: Session, cql: str, before: Sequence[Any], keys: Sequence[str], keys_per_read: int
) -> list[Row]:
    """Rows of `keys`, in their order by statements; `cql` binds `before` and then a list of keys.

    Raises what the first statement raises that fails.
    """
    chunks = [
        list(keys[start : start + keys_per_read]) for start in range(0, len(keys), keys_per_read)
    ]
    if len(chunks) == 1:
        # As most are: no task is made for it.
        return await session.aread(cql, (*before, chunks[0]))
    rows: list[Row] = []
    for start in range(0, len(chunks), READS_AT_ONCE):
        wave = chunks[start : start + READS_AT_ONCE]
        found = await asyncio.gather(*(session.aread(cql, (*before, some)) for some in wave))
        for some in found:
            rows += some
    return rows
