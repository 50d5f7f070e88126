"""The outcome of a run, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from diffusion.chaos.run import STALL_MAX_S, Outcome


def show(outcome: Outcome) -> None:
    """Print the faults, how long each kind took to get over, and the verdict."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("fault")
    for name in ("times", "readable after, median", "longest"):
        table.add_column(name, justify="right")
    for kind, count in outcome.faults_by_kind.items():
        found = outcome.recoveries.get(kind)
        times = (f"{found['median_s']:.1f} s", f"{found['longest_s']:.1f} s") if found else ("", "")
        table.add_row(kind, str(count), *times)
    console.print(table)
    console.print(
        f"\n{outcome.faults} faults in {outcome.minutes:g} minutes; programs were started anew "
        f"{outcome.restarts} times. Longest wait of a write while nothing was wrong: "
        f"{outcome.longest_stall_s:.1f} s (bound {STALL_MAX_S:.0f} s)."
    )
    console.print(
        f"{outcome.events:,} events, {outcome.undelivered} undelivered, {outcome.dead_letters} "
        f"dead letters; {outcome.syncs:,} syncs meanwhile, {outcome.syncs_refused:,} refused."
    )
    console.print(
        f"Devices: {outcome.devices_converged:,} of {outcome.devices:,} agree with the oracle, of "
        f"{outcome.users:,} users. Lost {outcome.lost}, resurrected {outcome.resurrected}, "
        f"regressed {outcome.regressed}.  ({outcome.seconds:.0f} s in all)"
    )
    for line in (*outcome.not_carried_out, *outcome.differences):
        console.print(f"  {line}", markup=False)
