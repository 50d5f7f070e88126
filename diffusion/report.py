"""The outcome of the demonstration, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from diffusion.demo import MEMORY_BOUND_BYTES, Outcome


def show(outcome: Outcome) -> None:
    """Print what happened, three users' visits beside the ordinary cost, and the verdict."""
    console = Console(highlight=False)
    console.print(
        f"\n{outcome.events:,} events, {outcome.messages:,} of them messages, became "
        f"{outcome.changes_diffused:,} change records with {outcome.marks:,} marks, and "
        f"{outcome.rows_written:,} rows. Replayed and readable in {outcome.replay_seconds:.0f} s.\n"
    )
    console.print(_visits(outcome))
    console.print(
        "\nOrdinary: what incremental sync by comparison would have cost; its bytes are the two "
        "answers that name every conversation, gzipped, without groups and messages.\n"
    )
    memory = outcome.peak_memory_mb
    peak = max(memory, key=lambda name: memory[name])
    console.print(
        f"Largest resident memory of our processes: {memory[peak]:.0f} MB ({peak}), "
        f"bound {MEMORY_BOUND_BYTES / 2**20:.0f} MB."
    )
    console.print(
        f"Devices that were away: {outcome.old_devices_converged:,} of "
        f"{outcome.old_devices_checked:,} agree with the oracle.\n"
        f"A new device of every user: {outcome.users_converged:,} of "
        f"{outcome.users_checked:,} agree with the oracle.  ({outcome.seconds:.0f} s in all)"
    )
    for difference in outcome.differences:
        console.print(f"  {difference}", markup=False)


def _visits(outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("user and visit", "path"):
        table.add_column(name, no_wrap=True)
    for name in ("of", "changed", "trips", "bytes", "ms", "ordinary:", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for visit in outcome.visits:
        if visit.user_id != last:
            table.add_row(visit.user_id)
        table.add_row(
            f"  {visit.what}",
            visit.path,
            f"{visit.conversations:,}",
            f"{visit.changed:,}",
            str(visit.round_trips),
            f"{visit.bytes_up + visit.bytes_down:,}",
            f"{visit.milliseconds:.0f}",
            f"{visit.baseline_round_trips} trips",
            f"{visit.baseline_bytes:,}",
        )
        last = visit.user_id
    return table
