"""Reading traces: both kinds, both packings, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path

import pytest

from diffusion import trace
from diffusion.trace import GroupRow, PrivateRow, Row, merged, read_trace
from schemas.errors import InputError
from tests.unit.diffusion.support import GROUPS, PRIVATE

HEAD = "sender,recipient,sent_at_s\n"


def written(folder: Path, text: str | bytes, *, packed: bool = False) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path = folder / "trace.csv"
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (HEAD, []),
        (HEAD + "1,2,1082040961\n", [PrivateRow(1, 2, 1082040961)]),
        (HEAD + "1,2,1082040961", [PrivateRow(1, 2, 1082040961)]),
        (HEAD + "\n1,2,1082040961\n\n", [PrivateRow(1, 2, 1082040961)]),
        (HEAD.replace("\n", "\r\n") + "1,2,1082040961\r\n", [PrivateRow(1, 2, 1082040961)]),
        ("group,sender,sent_at_s\n7,8,1082040961\n", [GroupRow(7, 8, 1082040961)]),
        (
            "group,sender,sent_at_s\n1,1,1000000060\n1,2,1000000000\n2,3,1000000060\n",
            [GroupRow(1, 2, 1000000000), GroupRow(1, 1, 1000000060), GroupRow(2, 3, 1000000060)],
        ),
    ],
)
def test_rows_come_in_time_order(
    tmp_path: Path, text: str, rows: list[Row], *, packed: bool
) -> None:
    assert list(read_trace(written(tmp_path, text, packed=packed))) == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the header is ''; it must be sender,recipient,sent_at_s or group,sender,"),
        ("a,b\n1,2\n", "line 1: the header is 'a,b'"),
        (HEAD + "1,2\n", "line 2: 2 fields instead of sender,recipient,sent_at_s"),
        (HEAD + "1,2,3,4\n", "line 2: 4 fields"),
        (HEAD + "1,2,1082040961\n\n1,x,1082040962\n", "line 4: '1,x,1082040962' is not three"),
        (HEAD + "-1,2,1082040961\n", "line 2: '-1,2,1082040961' is not three whole numbers"),
        (HEAD + "1_0,2,1082040961\n", "line 2: '1_0,2,1082040961' is not three whole numbers"),
        (HEAD + "1,2.0,1082040961\n", "line 2: '1,2.0,1082040961' is not three whole numbers"),
        (HEAD + f"1,2,{'9' * 5000}\n", "line 2: "),
        (HEAD + "1,1000000000,1082040961\n", "line 2: recipient is 1000000000; it must be at most"),
        (HEAD + "1,2,5\n", "line 2: sent_at_s is 5, which is not a time in seconds"),
        (HEAD + "1,2,1082040961000\n", "line 2: sent_at_s is 1082040961000, which is not a time"),
        (HEAD + "1,2,1082040961\n" + "x" * 200_000 + "\n", "line 3: field larger than"),
    ],
    ids=lambda text: str(text)[:40],
)
def test_a_bad_line_is_named_before_any_row_is_given(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as refused:
        next(read_trace(path))
    assert str(refused.value).startswith(f"{path}, {said}")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: .*No such file"):
        next(read_trace(tmp_path / "nothing.csv"))
    with pytest.raises(InputError, match="cannot be read"):
        next(read_trace(tmp_path))
    damaged = PRIVATE.read_bytes()[:5_000]
    with pytest.raises(InputError, match="cannot be read: Compressed file ended"):
        next(read_trace(written(tmp_path, damaged)))
    changed = bytearray(PRIVATE.read_bytes())
    changed[3_000:3_100] = bytes(100)
    with pytest.raises(InputError, match=r"cannot be read|line \d+|not a CSV file"):
        next(read_trace(written(tmp_path, bytes(changed))))
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        next(read_trace(written(tmp_path, HEAD.encode() + b"1,\xff,2\n")))


def test_a_trace_may_not_be_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "TRACE_ROWS_MAX", 2)
    path = written(tmp_path, HEAD + "1,2,1082040961\n" * 3)
    with pytest.raises(InputError, match="line 4: more than 2 rows"):
        next(read_trace(path))


def test_merging_keeps_time_order() -> None:
    private = [PrivateRow(1, 2, 1), PrivateRow(1, 2, 5)]
    groups = [GroupRow(1, 1, 2), GroupRow(1, 1, 5), GroupRow(1, 1, 9)]
    assert [row.sent_at_s for row in merged(private, groups)] == [1, 2, 5, 5, 9]


def test_the_real_traces_are_what_they_are_said_to_be() -> None:
    private = list(read_trace(PRIVATE))
    assert len(private) == 59_835
    people = {row.sender for row in private}
    assert len(people | {row.recipient for row in private if isinstance(row, PrivateRow)}) == 1_899
    groups = list(read_trace(GROUPS))
    assert len(groups) == 225_480
    assert len({row.group for row in groups if isinstance(row, GroupRow)}) == 182
    assert len({row.sender for row in groups}) == 18_087
    for rows in (private, groups):
        assert all(before.sent_at_s <= after.sent_at_s for before, after in pairwise(rows))
