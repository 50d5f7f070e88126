"""From a row of the index to the writes behind it, by versions alone."""

from __future__ import annotations

import pytest

from diffusion.row_trace import GONE, OTHER_LOG, WrittenBy, at, places, show, step
from infra.kafka.peek import Peeked
from infra.settings import Settings
from schemas.errors import PermanentError
from schemas.rows import ChangeRow
from schemas.trace_context import Origin, TraceContext
from schemas.versions import version_of

SAMPLED = Origin(TraceContext("a" * 32, "b" * 16, 1), "im.conversation-writes.v1/3/12")
ROWS = [
    ChangeRow(2_000, "sg_1", message_version=version_of(2, 90), read_version=version_of(2, 70)),
    ChangeRow(2_000, "sg_2", message_version=version_of(2, 99)),
    ChangeRow(1_000, "sg_1", read_version=version_of(2, 60), state_version=version_of(1, 500)),
]


def test_the_newest_change_of_each_kind_is_found_and_its_place() -> None:
    found = places(ROWS, "sg_1", 7, 2)
    assert [(one.kind, one.partition, one.offset, one.readable) for one in found] == [
        ("message", 7, 90, True),
        ("read", 7, 70, True),
        ("state", 7, 500, False),
    ]
    assert places(ROWS, "sg_3", 7, 2) == []


def test_a_place_is_read_unless_its_log_is_gone() -> None:
    message, read, state = places(ROWS, "sg_1", 7, 2)
    asked: list[tuple[int, int]] = []

    def peek(partition: int, offset: int) -> Peeked | None:
        asked.append((partition, offset))
        return Peeked(5, b"", (SAMPLED,)) if offset == 90 else None

    found = step(message, peek)
    assert (found.record, found.appended_at_ms) == ("diffusion.changes.v1/7/90", 5)
    assert found.written_by == (WrittenBy("a" * 32, str(SAMPLED.context), True, SAMPLED.source),)
    assert step(read, peek).lost == GONE
    assert step(state, peek).lost == OTHER_LOG
    assert asked == [(7, 90), (7, 70)], "an offset of another log is another record"


def test_a_person_is_shown_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    message, read, _ = places(ROWS, "sg_1", 7, 2)
    unsampled = Origin(TraceContext("c" * 32, "d" * 16), "")
    show(
        [
            step(message, lambda *_: Peeked(5, b"", (SAMPLED, unsampled))),
            step(read, lambda *_: Peeked(5, b"", ())),
            step(read, lambda *_: None),
        ]
    )
    said = capsys.readouterr().out
    assert "a" * 32 in said
    assert SAMPLED.source in said
    assert "its writes had no id" in said
    assert GONE in said
    show([])
    assert "no row of this conversation" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "3/",
        "x/4",
        "other/3/4",
        "3/4/5/6",
        "3/9223372036854775808",
        "9999999999/1",
        "9" * 5_000 + "/1",
        "\u0663/1",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(PermanentError, match="is no place: give PARTITION/OFFSET"):
        at(Settings(), text)
