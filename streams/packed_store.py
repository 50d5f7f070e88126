"""Packed conversations by id, within a bound; the oldest are let go first.

PURE. They lie in generations: what is put goes into the youngest, and when all are over the bound
the oldest goes as a whole. One table of everything would be rebuilt, in 20 ms, whenever the holes
of those that went fill it: in a run of a million conversations it grew by 8 MB when nothing was
kept any longer, and was as large as all tables of generations are together.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from streams.packed import OVERHEAD_BYTES

GENERATIONS: Final = 16
"""A sixteenth is let go at a time. An id that is not here is looked for in each: half a
microsecond, where reading a conversation takes Cassandra three reads."""

GENERATIONS_MAX: Final = 2 * GENERATIONS
"""Of what is asked for again and again, generations are left that are nearly empty. What nobody
asked for while twice the bound was put goes with them."""


class PackedStore:
    """Holds at most `bytes_max`, counted with what a place in a table takes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._generations: deque[_Generation] = deque()

    def __len__(self) -> int:
        return sum(len(one.packed) for one in self._generations)

    def __contains__(self, conversation_id: str) -> bool:
        return any(conversation_id in one.packed for one in self._generations)

    @property
    def size(self) -> int:
        """Bytes that all of them take."""
        return sum(one.bytes for one in self._generations)

    def put(self, conversation_id: str, packed: bytes) -> None:
        """Keep it, as the youngest; it must not be here already."""
        if not self._generations or self._generations[-1].bytes * GENERATIONS >= self._bytes_max:
            self._generations.append(_Generation())
        self._generations[-1].put(conversation_id, packed)
        while self.size > self._bytes_max or len(self._generations) > GENERATIONS_MAX:
            self._generations.popleft()

    def take(self, conversation_id: str) -> bytes | None:
        """Give it, and keep it no longer; None if it is not here."""
        for generation in reversed(self._generations):
            packed = generation.take(conversation_id)
            if packed is not None:
                return packed
        return None

    def clear(self) -> None:
        """Forget all."""
        self._generations.clear()


class _Generation:
    __slots__ = ("bytes", "packed")

    def __init__(self) -> None:
        self.packed: dict[str, bytes] = {}
        self.bytes = 0

    def put(self, conversation_id: str, packed: bytes) -> None:
        self.packed[conversation_id] = packed
        self.bytes += _size(conversation_id, packed)

    def take(self, conversation_id: str) -> bytes | None:
        packed = self.packed.pop(conversation_id, None)
        if packed is not None:
            self.bytes -= _size(conversation_id, packed)
        return packed


def _size(conversation_id: str, packed: bytes) -> int:
    return len(conversation_id) + len(packed) + OVERHEAD_BYTES
