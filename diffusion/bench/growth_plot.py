"""Draw what `diffusion bench growth` measured: four panels, one a series, into one picture.

From the JSON, so that it can be drawn again without measuring. Needs the extra `plot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

WIDTH_IN: Final = 12.0
HEIGHT_IN: Final = 9.0
DPI: Final = 100
"""1,200 points wide."""

COLORS: Final = ("#1f5fa8", "#c8551b", "#2f8f4e", "#7d4aa0", "#8a8a8a")
"""Told apart also by who sees no red; the markers differ, too."""

MARKERS: Final = ("o", "s", "^", "D", "v")
READ: Final = "read_cpu_us_per_message"
"""Drawn as where the line of a message falls to."""

HEADROOM: Final = 2.5
"""Multiple of the greatest cost that the axis reaches: the legend is above the lines."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What is drawn of a series: which costs, each with its label, and the axes in words."""

    title: str
    x: str
    y: str
    costs: Mapping[str, str]
    scale: Mapping[str, float]


PANELS: Final = {
    "members": Panel(
        "A message to a group",
        "members of the group",
        "processor time, \N{MICRO SIGN}s",
        {
            "cpu_us_per_message": "per message, stream and materializer",
            "cpu_us_per_mark": "per member told, stream and materializer",
            "stream_cpu_us_per_mark": "per member told, stream stage alone",
            "cassandra_us_per_mark": "per member told, Cassandra",
        },
        {},
    ),
    "users": Panel(
        "Rows and syncs of many users",
        "users in the index",
        "processor time, \N{MICRO SIGN}s",
        {
            "sync_20_cpu_ms": "sync, 20 changed, API",
            "sync_0_cpu_ms": "sync, nothing changed, API",
            "materializer_cpu_us_per_row": "row, materializer",
            "cassandra_us_per_row": "row, Cassandra",
        },
        {"sync_0_cpu_ms": 1_000.0, "sync_20_cpu_ms": 1_000.0},
    ),
    "conversations": Panel(
        "One user with many conversations",
        "conversations of the user",
        "processor time, \N{MICRO SIGN}s",
        {
            "sync_20_cpu_ms": "sync, 20 changed, API",
            "sync_0_cpu_ms": "sync, nothing changed, API",
            "write_cassandra_us_per_row": "another row, Cassandra",
        },
        {"sync_0_cpu_ms": 1_000.0, "sync_20_cpu_ms": 1_000.0},
    ),
    "windows": Panel(
        "One user whose changes are kept for long",
        "windows of 10 minutes in the index (6: an hour; 1,008: a week)",
        "processor time, \N{MICRO SIGN}s",
        {
            "sync_half_cpu_ms": "sync, half of all changed since, API",
            "sync_20_cpu_ms": "sync, 20 changed, API",
            "sync_0_cpu_ms": "sync, nothing changed, API",
            "sync_half_cpu_us_per_row": "half of all, per row read, API",
            "write_cassandra_us_per_row": "another row, Cassandra",
        },
        {"sync_0_cpu_ms": 1_000.0, "sync_20_cpu_ms": 1_000.0, "sync_half_cpu_ms": 1_000.0},
    ),
}


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw `Outcome.as_json` as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI)
    for series, ax in zip(found["series"], axes.flat, strict=True):
        _panel(ax, series, PANELS[series["name"]], found["members_max"])
    figure.suptitle(
        "What one unit of work costs as the system grows (in brackets the exponent: 0 is flat, "
        "1 is in proportion)",
        fontsize=12,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of the program: the same figures make the same file.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _panel(ax: Any, series: Mapping[str, Any], panel: Panel, members_max: int) -> None:
    for place, (name, label) in enumerate(panel.costs.items()):
        points = [
            (one["x"], one[name] * panel.scale.get(name, 1.0))
            for one in series["points"]
            if name in one
        ]
        slope = series["exponent"].get(name)
        if name == "cpu_us_per_message":
            read = [(one["x"], one[READ]) for one in series["points"] if READ in one]
            look = {"color": COLORS[place], "marker": MARKERS[place], "mfc": "white", "ls": ":"}
            ax.plot(*zip(points[-1], *read, strict=True), **look)
        ax.plot(
            *zip(*points, strict=True),
            color=COLORS[place],
            marker=MARKERS[place],
            label=f"{label} ({slope:+.2f})",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 2.5, high * HEADROOM ** len(panel.costs) ** 0.5)
    ax.set_title(panel.title, fontsize=12, loc="left", fontweight="bold")
    ax.set_xlabel(panel.x)
    ax.set_ylabel(panel.y)
    ax.set_xticks([one["x"] for one in series["points"]], minor=False)
    ax.minorticks_off()
    ax.tick_params(labelsize=9)
    ax.xaxis.set_major_formatter(_thousands)
    ax.yaxis.set_major_formatter(_thousands)
    ax.grid(visible=True, which="major", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(b=True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(fontsize=9, frameon=False, loc="upper left")
    if series["name"] == "members":
        ax.axvline(members_max, color="#999999", linestyle="--", linewidth=1)
        ax.text(
            members_max * 0.9,
            ax.get_ylim()[0] * 1.3,
            "on the right READ: one head, nobody is told",
            fontsize=9,
            color="#666666",
            ha="right",
        )


def _thousands(value: float, _place: object = None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
