"""What `diffusion top` shows: figures made a table of 80 columns, and nothing asked or waited for.

What it is for comes first, what writing costs; then whether it keeps up, what devices get, and the
processes. A figure that is not known is a dash, which is not a zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.clock import clock_text
from infra.figures.counting import Spread
from infra.figures.figures import Figures, ProcessFigures

WIDTH: Final = 80
"""Columns it needs, and takes."""

HISTORY: Final = 24
"""Looks that a line of bars goes back."""

LATE_S: Final = 10.0
"""Age at which what waits is shown as late: `infra/dashboards/rules.yml` warns at more."""

_BARS: Final = "▁▂▃▄▅▆▇█"
_HALF: Final = (WIDTH - 2) // 2
_HEADING: Final = "bold cyan"
_UNKNOWN: Final = "-"


class History:
    """The last values of the rates that are drawn."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {}

    def add(self, found: Figures) -> None:
        """Take a look; a rate that is not known leaves no bar."""
        volume, sync = found.volume, found.sync
        rates = {
            "events": volume.events_per_s,
            "marks": volume.marks_per_s,
            "rows": volume.rows_per_s,
            "saved": volume.saved_per_s,
            "folded": volume.folded_per_s,
            "coalesced": volume.coalesced_per_s,
            **{path: sync.by_path.get(path) for path in ("delta", "correction", "full")},
        }
        for name, value in rates.items():
            if value is not None:
                self._values.setdefault(name, deque(maxlen=HISTORY)).append(value)

    def bars(self, name: str) -> str:
        """The values as bars, the greatest one full; nothing of fewer than two."""
        values = self._values.get(name, ())
        top = max(values, default=0.0)
        if len(values) < 2 or top <= 0:
            return ""
        return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)


def view(found: Figures, history: History) -> RenderableType:
    """All of it, in `WIDTH` columns."""
    halves = Table.grid(padding=(0, 2, 0, 0))
    halves.add_column(width=_HALF, no_wrap=True)
    halves.add_column(width=_HALF, no_wrap=True)
    left = Group(_lateness(found), Text(), _policy(found))
    right = Group(_syncs(found, history), Text(), _store(found))
    halves.add_row(left, right)
    parts: list[RenderableType] = [_title(found), Text(), _volume(found, history), Text(), halves]
    if found.tap is not None:
        parts.append(_tap(found))
    parts += [Text(), _processes(found.processes)]
    parts += [advice for one in found.processes if (advice := _advice(one))]
    if found.missing:
        parts.append(Text(found.missing, style="yellow"))
    return Group(*parts)


def _title(found: Figures) -> Text:
    up = sum(one.state == "up" for one in found.processes)
    text = Text("write-diffusion", style="bold")
    style = "green" if up == len(found.processes) > 0 else "bold red"
    text.append(f"   {up} of {len(found.processes)} processes work", style=style)
    since = f"   rates of the last {found.seconds:.0f} s" if found.seconds else "   first look"
    text.append(since, style="dim")
    clock = clock_text(found.at_ms)
    text.append(clock.rjust(WIDTH - len(text)), style="dim")
    return text


def _volume(found: Figures, history: History) -> Table:
    volume = found.volume
    table = _table("DIFFUSION VOLUME", "a second", "", "since start", "for an event")
    table.columns[0].width = 21
    table.columns[2].width = HISTORY
    lines = (
        ("events in", "events", volume.events_per_s, volume.events_total, None),
        ("users marked", "marks", volume.marks_per_s, volume.marks_total, volume.marks_per_event),
        ("rows written", "rows", volume.rows_per_s, volume.rows_total, volume.rows_per_event),
        ("saved by the policy", "saved", volume.saved_per_s, volume.saved_total, None),
        ("folded into one mark", "folded", volume.folded_per_s, volume.folded_total, None),
        ("coalesced to one row", "coalesced", volume.coalesced_per_s, volume.coalesced_total, None),
    )
    for label, name, rate, total, each in lines:
        table.add_row(
            label,
            _number(rate),
            Text(history.bars(name), style="blue"),
            _number(total),
            "" if each is None else f"{each:.2f}" if each < 100 else _number(each),
        )
    wide = volume.fan_out_users
    if wide.half is not None:
        most = Text(f"half at most, 99%: {_number(wide.most)}", style="dim")
        table.add_row("users of a message", _number(wide.half), most, "", "")
    return table


def _lateness(found: Figures) -> Table:
    late = found.lateness
    table = _half("KEEPING UP", "waiting", "oldest")
    for label, records, oldest_s in (
        ("events", late.stream_records, late.stream_oldest_s),
        ("changes to apply", late.change_records, late.change_oldest_s),
    ):
        style = "bold red" if (oldest_s or 0.0) > LATE_S else ""
        table.add_row(label, _number(records), Text(_time(oldest_s), style=style))
    table.add_row(
        "change to rows", _time(late.change_to_rows_s.half), _most_time(late.change_to_rows_s)
    )
    table.add_row("change to poke", _time(late.poke_s.half), _most_time(late.poke_s))
    dead = late.dead_letters_total
    style = "bold red" if late.dead_letters_per_s else "yellow" if dead else ""
    table.add_row(Text("dead letters", style=style), Text(_number(dead), style=style), "")
    return table


def _syncs(found: Figures, history: History) -> Table:
    sync = found.sync
    table = _half("SYNCS", "a second", "")
    for path in ("delta", "correction", "full"):
        bars = Text(history.bars(path)[-11:], style="blue")
        table.add_row(path, _number(sync.by_path.get(path)), bars)
    for reason, rate in sorted(sync.by_reason.items(), key=lambda one: -one[1])[:2]:
        if rate:
            table.add_row(Text(f"  {reason}", style="dim"), Text(_number(rate), style="dim"), "")
    table.add_row("time to answer", _time(sync.answer_s.half), _most_time(sync.answer_s))
    table.add_row("bytes of a sync", _size(sync.answer_bytes), f"{_size(sync.request_bytes)} up")
    table.add_row("connections", _number(sync.connections), f"{_number(sync.pokes_per_s)} pokes/s")
    wrong = f"{_number(sync.failed_per_s)} failed"
    style = "bold red" if sync.failed_per_s else ""
    table.add_row("refused", _number(sync.refused_per_s), Text(wrong, style=style))
    return table


def _policy(found: Figures) -> Table:
    policy = found.policy
    table = _half("POLICY", "a second", "in all")
    reading = sum(policy.conversations.values()) if policy.conversations else None
    table.add_row("read-diffused", "", _number(reading))
    for mode, count in sorted(policy.conversations.items()):
        if count:
            table.add_row(Text(f"  {mode}", style="dim"), "", Text(_number(count), style="dim"))
    table.add_row("switches", _number(policy.switches_per_s), _number(policy.switches_total))
    return table


def _store(found: Figures) -> Table:
    store = found.store
    table = _half("CASSANDRA", "a second", "half")
    for label, rate, spread in (
        ("reads", store.reads_per_s, store.read_s),
        ("writes", store.writes_per_s, store.write_s),
    ):
        table.add_row(label, _number(rate), _time(spread.half))
        table.add_row(Text("  99%", style="dim"), "", Text(_time(spread.most), style="dim"))
    style = "bold red" if store.failures_per_s else ""
    table.add_row("failures", Text(_number(store.failures_per_s), style=style), "")
    return table


def _tap(found: Figures) -> Table:
    assert found.tap is not None
    table = _table("OPENIM TAP", "a second", "waiting", "oldest")
    tap = found.tap
    table.add_row(
        "records", _number(tap.records_per_s), _number(tap.lag_records), _time(tap.oldest_s)
    )
    return table


def _processes(processes: Iterable[ProcessFigures]) -> Table:
    table = _table("PROCESSES", "state", "cores", "memory", "up for", "at")
    table.columns[0].width = 17
    table.columns[1].justify = table.columns[-1].justify = "left"
    styles = {"up": "green", "stopped": "bold yellow", "down": "bold red"}
    for one in processes:
        table.add_row(
            one.name,
            Text(one.state, style=styles[one.state]),
            _UNKNOWN if one.cores is None else f"{one.cores:.2f}",
            _size(one.resident_bytes),
            _time(one.uptime_s),
            Text(one.address),
        )
    return table


def _advice(one: ProcessFigures) -> Text | None:
    if not one.problem:
        return None
    return Text(f"{one.name}: {one.problem} {one.advice}", style="yellow")


def _half(*headings: str) -> Table:
    """Of three columns, as wide as all of them, so that what stands below one another lines up."""
    table = _table(*headings)
    for column, width in zip(table.columns, (17, 8, 11), strict=True):
        column.width = width
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style=_HEADING)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    return table


def _most_time(spread: Spread) -> Text:
    return Text("" if spread.most is None else f"99%: {_time(spread.most)}", style="dim")


def _number(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    if 0 < abs(value) < 10 and value != round(value):
        return f"{value:.1f}" if abs(value) >= 0.1 else "<0.1"
    for above, unit, text in (
        (1e14, 1e12, "{:,.0f} T"),
        (1e12, 1e12, "{:.1f} T"),
        (1e9, 1e9, "{:.1f} G"),
    ):
        if value >= above:
            return text.format(value / unit)
    return f"{value:,.0f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    steps: Sequence[tuple[float, float, str]] = (
        (0.01, 0.001, "{:.1f} ms"),
        (1.0, 0.001, "{:.0f} ms"),
        (10.0, 1.0, "{:.1f} s"),
        (100.0, 1.0, "{:.0f} s"),
        (6_000.0, 60.0, "{:.0f} min"),
        (200_000.0, 3_600.0, "{:.0f} h"),
    )
    for below, unit, text in steps:
        if seconds < below:
            return "0" if seconds == 0 else text.format(seconds / unit)
    return f"{seconds / 86_400:.0f} d"


def _size(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    for below, unit, text in (
        (1_000, 1, "{:.0f} B"),
        (1e6, 1e3, "{:.1f} KB"),
        (1e9, 1e6, "{:.0f} MB"),
    ):
        if value < below:
            return text.format(value / unit)
    return f"{value / 1e9:.1f} GB"
