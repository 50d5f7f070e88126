"""Records whose headers have names that are no text, which aiokafka does not read.

By Kafka's protocol such a name is UTF-8, and no broker looks. aiokafka raises, which ends the
worker, and its successor at the same record: whoever may write could stop a partition for good. So
a fetch with such a record is read once more by aiokafka's own code in Python, with what is wrong in
a name replaced: the record is as good as any.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex, overload

from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

log = logging.getLogger("diffusion.streams")


class _Lenient(bytearray):
    """Bytes, of which every part can be made text."""

    @overload
    def __getitem__(self, at: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> _Lenient: ...
    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Lenient(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return bytes(self).decode(encoding, errors)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Lenient(self._buffer)


class _LenientBatches(_MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self, *_: Any) -> Any:
        batch = self._next_slice
        # Kafka's form 2, as what has headers; aiokafka reads no fetch of several forms.
        self._cache_next()
        return _LenientBatch(batch)


class Batches(MemoryRecords):  # type: ignore[misc]
    """`aiokafka.record.memory_records.MemoryRecords` that can be read again."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class Fetched(PartitionRecords):  # type: ignore[misc]
    """`aiokafka.consumer.fetcher.PartitionRecords` that reads on where a name is no text."""

    next_fetch_offset: int

    def __init__(self, tp: Any, records: Batches, aborted: Sequence[Any], *more: Any) -> None:
        super().__init__(tp, records, aborted, *more)
        self._aborted = aborted

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            log.warning("a header's name is no UTF-8; it is read with what is wrong replaced")
            since = self.next_fetch_offset
            again = PartitionRecords(
                self._tp,
                _LenientBatches(self._records.data),
                self._aborted,
                since,
                self._key_deserializer,
                self._value_deserializer,
                self._check_crcs,
                self._isolation_level,
            )
            for record in again:
                # It begins at the first batch of the fetch, and skips only in that.
                if record.offset >= since:
                    self.next_fetch_offset = again.next_fetch_offset
                    yield record
            self.next_fetch_offset = again.next_fetch_offset


def install() -> None:
    """Have aiokafka's fetchers of this process read like this; again, it changes nothing."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = Fetched
