"""The result of a long run, for a person."""

from __future__ import annotations

from rich.console import Console

from diffusion.bench.report import print_held, table_of
from diffusion.bench.soak import DRIFT_MAX, DRIFT_SPAN_S, MEMORY_MAX_MB, Outcome


def show_soak(found: Outcome) -> None:
    """Print the memory of each process, and what it went through."""
    table = table_of(
        "resident memory, MB", "start", "end", "most", "slope an hour", "noise", "bound"
    )
    for one in found.processes:
        table.add_row(
            one.name,
            *(f"{value:.1f}" for value in (one.start_mb, one.end_mb, one.peak_mb)),
            f"{one.slope_mb_per_hour:+.1f}",
            f"{one.noise_mb_per_hour:.1f}",
            f"{one.drift_max_mb_per_hour:.1f}",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{found.conversations:,} conversations of {found.users:,} users in {found.minutes:.1f} "
        f"minutes, {found.events:,} events. The slope is that of the second half; bounds are "
        f"{MEMORY_MAX_MB:.0f} MB, and {DRIFT_MAX:.0%} more in {DRIFT_SPAN_S / 60:.0f} minutes."
    )
    lags = ", ".join(f"{name} {most:,}" for name, most in found.lag_max.items())
    console.print(f"Most that waited: {lags}. {found.restarts} restarts.")
    console.print(f"{found.users_checked:,} users were compared with the oracle.")
    console.print(found.machine, markup=False)
    print_held(console, found.held, found.differences)
