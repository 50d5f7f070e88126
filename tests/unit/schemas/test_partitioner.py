"""Java's placement, by the vectors of Apache Kafka's own `UtilsTest`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import PARTITIONS_MAX
from schemas.partitioner import murmur2, partition_of

VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), VECTORS.items())
def test_murmur2_is_that_of_kafka(key: str, signed: int) -> None:
    assert murmur2(key.encode()) == signed & 0xFFFFFFFF


@pytest.mark.parametrize(("key", "signed"), VECTORS.items())
@pytest.mark.parametrize("partitions", [1, 3, 32, 1_000])
def test_a_partition_is_that_of_javas_producer(key: str, signed: int, partitions: int) -> None:
    """`Utils.toPositive(murmur2(key)) % partitions`; toPositive clears the sign bit."""
    assert partition_of(key, partitions) == (signed & 0x7FFFFFFF) % partitions


def java_murmur2(data: bytes) -> int:
    """Do the same in the order of steps of Java's code, byte by byte."""
    mask = 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    i = 0
    while len(data) - i >= 4:
        k = data[i] + (data[i + 1] << 8) + (data[i + 2] << 16) + (data[i + 3] << 24)
        k = k * 0x5BD1E995 & mask
        k = (k ^ k >> 24) * 0x5BD1E995 & mask
        h = h * 0x5BD1E995 & mask ^ k
        i += 4
    rest = len(data) - i
    if rest >= 3:
        h ^= data[i + 2] << 16
    if rest >= 2:
        h ^= data[i + 1] << 8
    if rest >= 1:
        h = (h ^ data[i]) * 0x5BD1E995 & mask
    h = (h ^ h >> 13) * 0x5BD1E995 & mask
    return h ^ h >> 15


@given(st.binary(max_size=40))
def test_murmur2_is_the_published_algorithm(data: bytes) -> None:
    assert murmur2(data) == java_murmur2(data)


@given(st.text(max_size=20), st.integers(1, PARTITIONS_MAX))
def test_a_partition_exists(key: str, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_keys_spread() -> None:
    counts = [0] * 16
    for number in range(16_000):
        counts[partition_of(f"user-{number}", 16)] += 1
    assert min(counts) > 800
    assert max(counts) < 1_200
