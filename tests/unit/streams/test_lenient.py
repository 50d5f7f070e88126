"""A record whose header has a name that is no text is read like any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

from streams import lenient
from streams.lenient import Batches, Fetched

TP = TopicPartition("t", 3)

GZIP = 1


class NoText(str):
    """A name that is written as bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff" * len(self)


def batch(first: int, *names: str, codec: int = 0) -> bytes:
    """A batch of a record for each name of a header."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 1_000_000)
    for number, name in enumerate(names):
        builder.append(number, None, b"key", b"%d" % (first + number), [(name, b"1"), ("b", None)])
    built = builder.build()
    built[:8] = first.to_bytes(8, "big")  # the base offset, which is the broker's to give
    return bytes(built)


def read(data: bytes, since: int = 0, kind: Any = Fetched) -> Any:
    return kind(TP, Batches(data), None, since, None, None, True, READ_COMMITTED)


@pytest.mark.parametrize("codec", [0, GZIP])
def test_all_records_come_once_in_order_with_what_is_wrong_in_a_name_replaced(codec: int) -> None:
    data = batch(0, "a", "a", codec=codec) + batch(2, "a", NoText("aa"), "c", codec=codec)
    data += batch(5, "d", NoText("e"), codec=codec)
    fetched = read(data)
    found, places = [], []
    for record in fetched:
        found.append((record.offset, record.value, record.headers[0]))
        places.append(fetched.next_fetch_offset)
    names = ["a", "a", "a", "\ufffd\ufffd", "c", "d", "\ufffd"]
    assert found == [(at, b"%d" % at, (name, b"1")) for at, name in enumerate(names)]
    assert places == [1, 2, 3, 4, 5, 6, 7]
    assert fetched.next_fetch_offset == 7


def test_aiokafka_alone_stops_there() -> None:
    with pytest.raises(UnicodeDecodeError):
        list(read(batch(0, "a", NoText("a")), kind=PartitionRecords))


def test_a_fetch_that_begins_within_a_batch_has_none_again() -> None:
    data = batch(0, "a", "a", NoText("a"), "a")
    assert [record.offset for record in read(data, since=2)] == [2, 3]


def test_what_is_damaged_is_told_as_before() -> None:
    damaged = bytearray(batch(0, NoText("a")))
    damaged[-1] ^= 1
    with pytest.raises(fetcher.Errors.CorruptRecordException):
        list(read(bytes(damaged)))


@pytest.fixture
def installed() -> Iterator[None]:
    before = fetcher.MemoryRecords, fetcher.PartitionRecords
    lenient.install()
    yield
    fetcher.MemoryRecords, fetcher.PartitionRecords = before


def test_installed_twice_it_is_what_fetchers_use(installed: None) -> None:
    lenient.install()
    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (Batches, Fetched)
    found = fetcher.PartitionRecords(
        TP, fetcher.MemoryRecords(batch(0, NoText("a"))), [], 0, None, None, True, READ_COMMITTED
    )
    assert [record.value for record in found] == [b"0"]
