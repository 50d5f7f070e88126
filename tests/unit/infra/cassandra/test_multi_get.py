"""Multi-gets: every key once, so many a statement, so many statements at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from infra.cassandra import multi_get
from infra.cassandra.multi_get import READS_AT_ONCE
from infra.cassandra.session import StoreUnavailable


class Reads:
    """Answers a statement with its keys, later the more are under way."""

    def __init__(self, failing: str = "") -> None:
        self.statements: list[tuple[Any, ...]] = []
        self.under_way = self.most = 0
        self._failing = failing

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.statements.append(tuple(values))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001 * (10 - self.under_way))
        self.under_way -= 1
        if self._failing in values[-1]:
            raise StoreUnavailable("away")
        return [(key,) for key in values[-1]]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 40, 41, 95])
def test_every_key_is_read_once_in_order(count: int) -> None:
    reads, keys = Reads(), [f"k{number}" for number in range(count)]
    rows = asyncio.run(multi_get.read(reads, "cql", ("user",), keys, 10))  # type: ignore[arg-type]
    assert [row[0] for row in rows] == keys
    assert len(reads.statements) == -(-count // 10)
    assert all(user == "user" and len(some) <= 10 for user, some in reads.statements)
    assert reads.most == min(READS_AT_ONCE, -(-count // 10))


def test_what_a_statement_raises_is_raised() -> None:
    reads, keys = Reads(failing="k57"), [f"k{number}" for number in range(60)]
    with pytest.raises(StoreUnavailable):
        asyncio.run(multi_get.read(reads, "cql", (), keys, 10))  # type: ignore[arg-type]
