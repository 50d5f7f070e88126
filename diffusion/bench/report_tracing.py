"""The result of the benchmark of tracing, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from diffusion.bench.report import print_held
from diffusion.bench.tracing import Outcome

WAYS = {
    "off": "no ids, no spans",
    "ids": "writes have ids, no spans",
    "sampled": "1 % sampled",
    "all": "100 % sampled",
}


def show_tracing(found: Outcome) -> None:
    """Print what each way costs, beside none."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for title in ("CPU ms", "ratio", "a second", "rounds, CPU ms"):
        table.add_column(title, justify="right")
    for one in found.costs:
        unit = "a thousand events" if one.what == "stream" else "a sync"
        table.add_row(
            f"{unit}, {WAYS[one.way]}",
            f"{one.cpu_ms:,.2f}",
            f"{one.ratio:.3f}",
            f"{one.per_second:,.0f}",
            " ".join(f"{round_:,.2f}" for round_ in one.rounds),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(f"Spans of {found.spans_bytes:,} bytes were sent.")
    console.print(found.machine, markup=False)
    print_held(console, found.held, found.wrong)
