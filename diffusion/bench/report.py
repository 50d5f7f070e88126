"""Results of benchmarks, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from diffusion.bench.policy import (
    RATIO_MAX,
    RATIO_REAL_MAX,
    RATIO_STATIC_MAX,
    Costed,
)


def show_policy(found: list[Costed]) -> None:
    """Print costs as multiples of the optimum."""
    table = Table(box=None, pad_edge=False)
    table.add_column("world")
    for name in ("optimum", "policy", "write", "read", "size", "switches", "held"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            one.name,
            f"{one.optimum:,.0f} rows",
            *(
                f"{value / one.optimum:.2f}"
                for value in (one.cost, one.always_write, one.always_read, one.size_only)
            ),
            f"{one.switches:,}",
            "yes" if one.held else "NO",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Multiples of the offline optimum. Held: at most {RATIO_MAX} of it, {RATIO_REAL_MAX} on "
        f"real traces, and {RATIO_STATIC_MAX} of the better of always write and always read."
    )
