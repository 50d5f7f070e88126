"""Results of `diffusion bench growth`, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from diffusion.bench.growth import Outcome
from diffusion.bench.growth_fit import Series, ratio
from diffusion.bench.report import print_held, table_of


def show_growth(found: Outcome) -> None:
    """Print a table for each series, and what was judged."""
    console = Console(highlight=False)
    for series in found.series:
        console.print(_series(series))
        console.print()
    table = table_of("of one piece of work", "costs")
    for name, value in found.units.items():
        table.add_row(name, f"{value:,g}")
    console.print(table)
    console.print()
    console.print(f"{found.seconds:,.0f} s. {found.machine}", markup=False)
    print_held(console, found.held, found.differences)


def _series(series: Series) -> Table:
    sizes = [f"{point.x:,}" for point in series.points]
    table = table_of(series.unit, *sizes, "exponent", "most")
    exponents = series.exponents
    for name in series.names:
        curve = series.curve(name)
        slope = f"{exponents[name]:+.2f}" if name in exponents else ""
        costs = [
            "-" if name not in point.costs else _of(point.costs[name]) for point in series.points
        ]
        judged = " *" if name in series.flat else ""
        table.add_row(f"{name}{judged}", *costs, slope, f"{ratio(curve):.2f}")
    table.caption = "*: may not grow. Most: the greatest, as a multiple of the first."
    table.caption_justify = "left"
    return table


def _of(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
