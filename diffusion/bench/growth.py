"""`diffusion bench growth`: how costs grow, with members, users, conversations and windows.

Four series, each on servers of its own, one after the other in one run. In each one thing grows by
powers of ten and the work stays the same: as many members told, as many rows, syncs that tell as
many changes. So a cost of one unit of that work should be the same at every size: its exponent is
fitted over the sizes and judged (`growth_fit`). Costs are processor time of the programs that do
the work, and of Cassandra; times are told beside them. In the end what devices are told, and what
is in the index, is compared with what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from diffusion.bench import (
    growth_conversations,
    growth_members,
    growth_users,
    growth_windows,
    stage,
    stage_one,
)
from diffusion.bench.growth_fit import Series
from diffusion.bench.measure import machine
from diffusion.console import Console
from diffusion.migrate import migrate
from infra.clock import monotonic_s
from infra.settings import Settings

NAMES: Final = ("members", "users", "conversations", "windows")

Measured: TypeAlias = tuple[Series, list[str], dict[str, float]]
"""A series, what was found wrong, and costs of one piece of work by their names."""

STREAM_EVENTS: Final = 60_000
"""Messages of one-to-one chats through a stream worker, Faust and all, for what one costs."""

READ_MARKS_MAX: Final = 1.0
"""Members told of a message to a group that is READ: its sender, that he has read it."""

DIFFERENCES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench growth --json` prints. `units` are costs of one piece of work, for
    whoever plans how many machines it takes.
    """

    series: tuple[Series, ...]
    units: dict[str, float]
    members_max: int
    seconds: float
    machine: str
    differences: tuple[str, ...]

    @property
    def held(self) -> dict[str, bool]:
        """Each bound, and whether it holds."""
        found = {
            f"{series.name}: {name}": holds
            for series in self.series
            for name, holds in series.held.items()
        }
        found["members: READ tells nobody"] = all(
            marks <= READ_MARKS_MAX
            for series in self.series
            for _, marks in series.curve("read_marks_per_message")
        )
        return found | {"correct": not self.differences}

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "series": [one.as_json() for one in self.series],
            "units": self.units,
            "members_max": self.members_max,
            "held": self.held,
            "seconds": round(self.seconds),
            "machine": self.machine,
            "differences": list(self.differences[:DIFFERENCES_SHOWN]),
        }


def run(settings: Settings, seed: int, console: Console) -> Outcome:
    """Measure everything; raises `DiffusionError` if something cannot be done."""
    began_s = monotonic_s()
    found = [measure(name, settings, seed, console) for name in NAMES]
    return outcome(settings, found, monotonic_s() - began_s)


def measure(name: str, settings: Settings, seed: int, console: Console) -> Measured:
    """Measure one series on servers of its own."""
    if name == "conversations":
        settings = stage.shortened(settings, growth_conversations.WINDOW_MINUTES)
    with stage.own(settings, console) as (own, folder):
        migrate(own, console.say)
        match name:
            case "members":
                series, wrong = growth_members.measure(own, folder, seed, console)
                return series, wrong, stream_units(own, folder, seed)
            case "users":
                return growth_users.measure(own, folder, seed, console)
            case "conversations":
                return *growth_conversations.measure(own, folder, seed, console), {}
            case _:
                return *growth_windows.measure(own, folder, console), {}


def outcome(settings: Settings, found: Sequence[Measured], seconds: float) -> Outcome:
    """Put the series together."""
    return Outcome(
        series=tuple(series for series, _, _ in found),
        units={name: value for _, _, units in found for name, value in units.items()},
        members_max=settings.policy.members_max,
        seconds=seconds,
        machine=machine(),
        differences=tuple(one for _, wrong, _ in found for one in wrong),
    )


def stream_units(settings: Settings, folder: Path, seed: int) -> dict[str, float]:
    """What a stream worker, as it is in service, spends on a message to one other person."""
    stage_one.fill(settings, 0, STREAM_EVENTS, seed)
    taken = stage_one.take(settings, STREAM_EVENTS, folder)
    return {
        "stream_cpu_us_per_chat_message": round(taken.cpu_ms * 1_000 / taken.events, 1),
        "stream_chat_messages_per_second": round(taken.events / taken.seconds),
    }
