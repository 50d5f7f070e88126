"""The next batch, gathered while one is worked on.

A batch waits for Cassandra and Kafka most of its time, and Faust hands over records one by one:
done in turns, each waits for the other. So the agent gathers here while the worker works. What came
meanwhile is one batch, so that batches grow with the load by themselves. Once a batch waits, the
agent does too, Faust's buffer fills, and Faust stops fetching: fewer than two batches are here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Records between one task that puts and one that takes, in order. On one loop."""

    def __init__(self, records_max: int) -> None:
        self._records_max = records_max
        self._waiting: list[T] = []
        self._came = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, records: Iterable[T]) -> None:
        """Add records; returns when fewer than a batch wait."""
        self._waiting.extend(records)
        if self._waiting:
            self._came.set()
        while len(self._waiting) >= self._records_max:
            self._room.clear()
            await self._room.wait()

    async def take(self) -> list[T]:
        """Wait for a record, then take what waits, at most a batch of it."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        batch = self._waiting[: self._records_max]
        del self._waiting[: self._records_max]
        self._room.set()
        return batch
