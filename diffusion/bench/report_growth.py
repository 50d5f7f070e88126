"""Results of `diffusion bench growth`, for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from diffusion.bench.growth import Outcome
from diffusion.bench.growth_fit import Series, ratio


def show_growth(found: Outcome) -> None:
    """Print a table for each series, and what was judged."""
    console = Console(highlight=False)
    for series in found.series:
        console.print(_series(series))
        console.print()
    table = _table("of one piece of work", "costs")
    for name, value in found.units.items():
        table.add_row(name, f"{value:,g}")
    console.print(table)
    console.print()
    held = _table("bound", "held")
    for name, holds in found.held.items():
        held.add_row(name, "yes" if holds else "NO")
    console.print(held)
    console.print(f"{found.seconds:,.0f} s. {found.machine}", markup=False)
    for one in found.differences:
        console.print(one, markup=False)


def _series(series: Series) -> Table:
    sizes = [f"{point.x:,}" for point in series.points]
    table = _table(series.unit, *sizes, "exponent", "most")
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


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
