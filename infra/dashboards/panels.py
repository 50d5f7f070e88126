"""What a panel of the dashboard is, and the expressions that most of them are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Query:
    """An expression of Prometheus, and the name of its lines."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time, for somebody who has not read the code: the title says what the number is,
    the text what it should look like. `unit` is Grafana's name of it. A quiet one is well at zero.
    """

    title: str
    text: str
    unit: str
    queries: tuple[Query, ...]
    stacked: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


OURS: Final = 'job=~"diffusion-.+"'
"""Selects what the process library exports of our programs (`diffusion targets` names the jobs)."""


def rate(metric: str, by: str = "", selector: str = "") -> str:
    """A counter a second, over all processes, or a line for each value of labels."""
    grouped = f" by ({by})" if by else ""
    chosen = f"{{{selector}}}" if selector else ""
    return f"sum{grouped} (rate({metric}{chosen}[$__rate_interval]))"


def each(metric: str, label: str, selector: str = "") -> tuple[Query]:
    """A counter a second, a line for each value of a label."""
    return (Query(rate(metric, label, selector), f"{{{{{label}}}}}"),)


def spread(metric: str, name: str = "", by: str = "") -> tuple[Query, Query]:
    """Median and 99th percentile of a histogram; `name` before them, or the value of `by`."""
    before = f"{{{{{by}}}}} " if by else f"{name} " if name else ""
    buckets = rate(f"{metric}_bucket", f"le, {by}" if by else "le")
    return (
        Query(f"histogram_quantile(0.5, {buckets})", f"{before}half at most"),
        Query(f"histogram_quantile(0.99, {buckets})", f"{before}99 of 100 at most"),
    )
