"""Message traces: gzip or plain CSV files of who wrote to whom, and when. Read here, nowhere else.

Two kinds, told apart by the header: `sender,recipient,sent_at_s` (one-to-one messages) and
`group,sender,sent_at_s`. Users and groups are numbers, times are whole seconds since 1970. A file
is read and checked as a whole before its first row is given, so that a bad line stops a run before
it began; the columns take 24 bytes a row.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import zlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple, TypeAlias

from schemas.errors import InputError
from schemas.limits import TIME_MS_MAX, TIME_MS_MIN

TRACE_ROWS_MAX: Final = 20_000_000
"""About 1 GB of columns and order; a larger trace is better cut into files."""

NUMBER_MAX: Final = 999_999_999
"""Largest user or group number: user ids made of it keep ten digits."""

_DIGITS_MAX: Final = 18
"""Any longer number is out of range, and would not fit a column."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_TIME_S_MIN: Final = TIME_MS_MIN // 1000
_TIME_S_MAX: Final = TIME_MS_MAX // 1000


class PrivateRow(NamedTuple):
    """A one-to-one message."""

    sender: int
    recipient: int
    sent_at_s: int


class GroupRow(NamedTuple):
    """A message to a group."""

    group: int
    sender: int
    sent_at_s: int


Row: TypeAlias = PrivateRow | GroupRow

_KINDS: Final[dict[tuple[str, ...], type[Row]]] = {
    PrivateRow._fields: PrivateRow,
    GroupRow._fields: GroupRow,
}


def read_trace(path: Path | str) -> Iterator[Row]:
    """Read a trace in time order; rows of one second keep the order of the file.

    Raises `InputError`, with the number of the line, for what is not such a trace.
    """
    path = Path(path)
    try:
        with _opened(path) as text:
            kind, columns = _columns(path, text)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read: {error}; give a CSV file, plain or gzip"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from error
    first, second, times = columns
    for row in sorted(range(len(times)), key=times.__getitem__):
        yield kind(first[row], second[row], times[row])


def merged(*traces: Iterable[Row]) -> Iterator[Row]:
    """Merge traces, each in time order, into one in time order."""
    return heapq.merge(*traces, key=lambda row: row.sent_at_s)


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    if packed:
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _columns(
    path: Path, text: Iterable[str]
) -> tuple[type[Row], tuple[array[int], array[int], array[int]]]:
    lines = csv.reader(text)
    header = tuple(name.strip() for name in next(lines, []))
    kind = _KINDS.get(header)
    if kind is None:
        known = " or ".join(",".join(fields) for fields in _KINDS)
        raise InputError(f"{path}, line 1: the header is {','.join(header)!r}; it must be {known}")
    first, second, times = columns = (array("q"), array("q"), array("q"))
    try:
        for fields in lines:
            if not fields:
                continue
            left, right, at_s = _numbers(kind, fields)
            first.append(left)
            second.append(right)
            times.append(at_s)
            _check_length(len(times))
    except (InputError, csv.Error) as error:
        raise InputError(f"{path}, line {lines.line_num}: {error}") from error
    return kind, columns


def _check_length(rows: int) -> None:
    if rows > TRACE_ROWS_MAX:
        raise InputError(f"more than {TRACE_ROWS_MAX:,} rows; cut the trace into several files")


def _numbers(kind: type[Row], fields: list[str]) -> tuple[int, int, int]:
    if len(fields) != len(kind._fields):
        raise InputError(f"{len(fields)} fields instead of {','.join(kind._fields)}")
    # Digits only: `int` alone would also take 1_000, +1 and digits of other scripts.
    if not all(f.isascii() and f.isdigit() and len(f) <= _DIGITS_MAX for f in fields):
        raise InputError(f"{','.join(fields)!r:.100} is not three whole numbers")
    left, right, at_s = map(int, fields)
    for name, number in zip(kind._fields[:2], (left, right), strict=True):
        if number > NUMBER_MAX:
            raise InputError(f"{name} is {number}; it must be at most {NUMBER_MAX}")
    if not _TIME_S_MIN <= at_s <= _TIME_S_MAX:
        raise InputError(f"sent_at_s is {at_s}, which is not a time in seconds since 1970")
    return left, right, at_s
