"""What `diffusion top` shows, in 80 columns and whatever is known."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from diffusion.top_view import HISTORY, WIDTH, History, view
from infra.figures.counting import Spread
from infra.figures.figures import (
    Figures,
    Lateness,
    Policy,
    ProcessFigures,
    Store,
    Sync,
    Tap,
    Volume,
)

WORKER = ProcessFigures(
    name="stream-worker 1", program="stream-worker", state="up", address="127.0.0.1:24567",
    cores=0.93, resident_bytes=178e6, uptime_s=4_000,
)  # fmt: skip
EMPTY = Figures(
    at_ms=0, seconds=None, volume=Volume(), policy=Policy(), lateness=Lateness(), store=Store(),
    sync=Sync(), processes=(),
)  # fmt: skip
BUSY = replace(
    EMPTY,
    seconds=5.1,
    volume=Volume(
        events_per_s=1_234, marks_per_s=21_400.5, rows_per_s=1_180, marks_per_event=17.34, rows_per_event=0.95,
        saved_per_s=30, folded_per_s=4_000, coalesced_per_s=960, fan_out_users=Spread(2, 48),
        events_total=131_241, marks_total=30_167_920, rows_total=125_200, saved_total=31, folded_total=4e6,
    ),
    policy=Policy(conversations={"read": 3, "leaving": 0, "returning": 1}, switches_per_s=0.05, switches_total=213),
    lateness=Lateness(
        stream_records=20, stream_oldest_s=0.4, change_records=1_200, change_oldest_s=12.3,
        change_to_rows_s=Spread(0.12, 0.9), dead_letters_total=3,
    ),
    store=Store(reads_per_s=812, writes_per_s=300, read_s=Spread(0.0021, 0.015), write_s=Spread(0.004, 0.03)),
    sync=Sync(
        by_path={"delta": 780, "correction": 2, "full": 9}, by_reason={"fresh": 9, "digest_mismatch": 2, "ahead": 0},
        answer_s=Spread(0.002, 0.01), answer_bytes=412, request_bytes=88, connections=1_200, pokes_per_s=55,
        refused_per_s=0, failed_per_s=1.5,
    ),
    processes=(WORKER,),
)  # fmt: skip


def printed(found: Figures, history: History | None = None) -> str:
    file = io.StringIO()
    Console(file=file, width=WIDTH).print(view(found, history or History()))
    return file.getvalue()


def line(text: str, label: str) -> str:
    (found,) = [
        one for one in text.splitlines() if one.strip().startswith(label) or f"   {label}" in one
    ]
    return " ".join(found.split())


def test_what_writing_costs_comes_first() -> None:
    text = printed(BUSY)
    assert text.splitlines()[2].startswith("DIFFUSION VOLUME")
    assert line(text, "events in") == "events in 1,234 131,241"
    assert line(text, "users marked") == "users marked 21,400 30,167,920 17.34"
    assert line(text, "rows written") == "rows written 1,180 125,200 0.95"
    assert line(text, "saved by the policy") == "saved by the policy 30 31"
    assert line(text, "users of a message") == "users of a message 2 half at most, 99%: 48"


def test_the_rest_is_there() -> None:
    text = printed(BUSY)
    for part in (
        "changes to apply     1,200        12 s",
        "change to rows      120 ms 99%: 900 ms",
        "dead letters             3",
        "delta                  780",
        "digest_mismatch        2",
        "bytes of a sync      412 B     88 B up",
        "connections          1,200  55 pokes/s",
        "refused                  0  1.5 failed",
        "read-diffused                        4",
        "switches              <0.1         213",
        "reads                  812      2.1 ms",
        "stream-worker 1   up     0.93 178 MB 67 min 127.0.0.1:24567",
    ):
        assert part in text, (part, text)
    assert "ahead" not in text


def test_what_is_not_known_is_no_zero() -> None:
    text = printed(EMPTY)
    assert line(text, "events in") == "events in - -"
    assert "0 of 0 processes work" in text
    assert "first look" in text


def test_one_that_is_down_says_what_to_do() -> None:
    one = replace(WORKER, state="down", problem="Nothing answers.", advice="Start it.", cores=None)
    text = printed(replace(BUSY, processes=(WORKER, one)))
    assert "1 of 2 processes work" in text
    assert "stream-worker 1: Nothing answers. Start it." in text


def test_a_tap_and_what_is_missing_are_shown_where_they_are() -> None:
    assert "OPENIM TAP" not in printed(BUSY)
    text = printed(
        replace(BUSY, tap=Tap(records_per_s=7, lag_records=9, oldest_s=1), missing="Start it.")
    )
    assert line(text, "records") == "records 7 9 1.0 s"
    assert "Start it." in text


numbers = st.none() | st.floats(0, 1e15)


@st.composite
def anything(draw: Any) -> Figures:
    def some(kind: Any) -> Any:
        fields = {
            name: draw(numbers)
            for name, default in zip(kind.__struct_fields__, kind.__struct_defaults__, strict=True)
            if default is None
        }
        return kind(**fields)

    lines = tuple(
        replace(WORKER, **{name: draw(numbers) for name in ("cores", "resident_bytes", "uptime_s")})
        for _ in range(2)
    )
    parts = {
        "volume": Volume,
        "policy": Policy,
        "lateness": Lateness,
        "store": Store,
        "sync": Sync,
        "tap": Tap,
    }
    return replace(EMPTY, processes=lines, **{name: some(kind) for name, kind in parts.items()})


@settings(max_examples=30)
@given(anything())
def test_it_is_readable_at_80_columns_whatever_the_figures(found: Figures) -> None:
    history = History()
    history.add(found)
    history.add(found)
    lines = printed(found, history).splitlines()
    assert all(len(one.rstrip()) <= WIDTH for one in lines)
    assert (
        sum(
            one.startswith(("DIFFUSION VOLUME", "KEEPING UP", "POLICY", "PROCESSES"))
            for one in lines
        )
        == 4
    )


def test_bars_are_of_the_last_looks_the_greatest_full() -> None:
    history = History()
    assert history.bars("events") == ""
    for rate in (None, 0, 50, 100):
        history.add(replace(BUSY, volume=Volume(events_per_s=rate)))
    assert history.bars("events") == "▁▅█"
    for _ in range(HISTORY):
        history.add(replace(BUSY, volume=Volume(events_per_s=10)))
    assert history.bars("events") == "█" * HISTORY


def test_nothing_going_on_has_no_bars() -> None:
    history = History()
    for _ in range(3):
        history.add(replace(BUSY, volume=Volume(events_per_s=0)))
    assert history.bars("events") == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (0.0021, "2.1 ms"), (0.4, "400 ms"), (1.26, "1.3 s"), (40, "40 s"), (4_000, "67 min"),
     (7_200, "2 h"), (400_000, "5 d")],
)  # fmt: skip
def test_times(seconds: float, text: str) -> None:
    shown = printed(replace(BUSY, lateness=Lateness(stream_records=1, stream_oldest_s=seconds)))
    (found,) = [one for one in shown.splitlines() if one.startswith("events  ")]
    assert found[:39].rstrip().endswith(f" {text}")
