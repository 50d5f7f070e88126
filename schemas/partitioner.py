"""Where a key lives: murmur2 of its UTF-8 bytes, as Java's Kafka clients place it.

Pinned, because a user's changes form one line of versions only while every producer, ever, agrees
on the partition. librdkafka's default partitioner (CRC32) differs, so producers here always name
the partition themselves.

The algorithm is MurmurHash2 (A. Appleby, public domain) with Kafka's seed; the vectors in the tests
are those of Apache Kafka's own `UtilsTest`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_R: Final = 24
_MASK: Final = 0xFFFFFFFF

PARTITION_CACHE_KEYS: Final = 50_000
"""Keys whose partition is remembered, and hashing costs 5 us. Each takes 250 bytes with its place
in the table, so 12 MB; more would take memory from every process, and those that write least."""


def murmur2(data: bytes) -> int:
    """Hash bytes to an unsigned 32-bit integer, as Kafka's `Utils.murmur2` does."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for index in range(0, whole, 4):
        k = int.from_bytes(data[index : index + 4], "little")
        k = (k * _M) & _MASK
        k ^= k >> _R
        k = (k * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if whole < length:
        h ^= int.from_bytes(data[whole:], "little")
        h = (h * _M) & _MASK
    h ^= h >> 13
    h = (h * _M) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=PARTITION_CACHE_KEYS)
def partition_of(key: str, partitions: int) -> int:
    """Partition of a key among `partitions`, 0 inclusive to `partitions` exclusive."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
