"""Series of costs, and how fast they grow: exponents, ratios, and what is flat. PURE.

A cost of one unit of work (a mark, a row, a sync that tells as many changes) is measured at sizes
that lie powers of ten apart. `cost = a * size^e` is a line in a log-log plot, and e its slope by
least squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

EXPONENT_MAX: Final = 0.1
"""A cost of one unit of work that grows no faster than this is flat. 0 is what is aimed at, and a
cost in proportion to the size has 1; even one that grew with the logarithm of the size would have
about 0.2 over the ranges that are measured."""

RATIO_MAX: Final = 1.5
"""Also flat: at no size does a unit cost more than this times what it costs at the smallest. What
is measured on a machine that does other things too may vary by a fifth, and of three or four points
one that is off tilts the line."""

POINTS_MIN: Final = 2


@dataclass(frozen=True, slots=True)
class Point:
    """Costs at one size, by their names, units last in them. A cost may be missing at a size."""

    x: int
    costs: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON, four digits of each."""
        return {"x": self.x} | {name: float(f"{one:.4g}") for name, one in self.costs.items()}


@dataclass(frozen=True, slots=True)
class Series:
    """One thing that grows, `unit`, and what it does to costs; those in `flat` may not grow.

    `expected` tells of others what they are expected to do, in words.
    """

    name: str
    unit: str
    points: tuple[Point, ...]
    flat: tuple[str, ...]
    expected: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of all costs, in the order in which they first come."""
        return list(dict.fromkeys(name for point in self.points for name in point.costs))

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Sizes and costs, where it was measured."""
        return [(point.x, point.costs[name]) for point in self.points if name in point.costs]

    @property
    def exponents(self) -> dict[str, float]:
        """Slope of each cost that was measured at two sizes or more."""
        curves = {name: self.curve(name) for name in self.names}
        return {name: exponent(curve) for name, curve in curves.items() if len(curve) >= POINTS_MIN}

    @property
    def held(self) -> dict[str, bool]:
        """Whether each cost that may not grow does not."""
        return {name: is_flat(self.curve(name)) for name in self.flat}

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "points": [point.as_json() for point in self.points],
            "exponent": {name: round(one, 3) for name, one in self.exponents.items()},
            "flat": list(self.flat),
            "expected": dict(self.expected),
        }


def exponent(curve: Sequence[tuple[int, float]]) -> float:
    """Slope of the line of least squares through a curve in log-log.

    >>> round(exponent([(10, 3.0), (100, 30.0), (1_000, 300.0)]), 6)
    1.0
    """
    assert len(curve) >= POINTS_MIN, "one point has no slope"
    places = [(math.log(x), math.log(cost)) for x, cost in curve]
    middle_x = sum(x for x, _ in places) / len(places)
    middle_y = sum(y for _, y in places) / len(places)
    return sum((x - middle_x) * (y - middle_y) for x, y in places) / sum(
        (x - middle_x) ** 2 for x, _ in places
    )


def ratio(curve: Sequence[tuple[int, float]]) -> float:
    """The greatest cost as a multiple of that at the smallest size."""
    ordered = sorted(curve)
    return max(cost for _, cost in ordered) / ordered[0][1]


def is_flat(curve: Sequence[tuple[int, float]]) -> bool:
    """Whether a cost does not grow, by its exponent or by its ratio; one point does not."""
    if len(curve) < POINTS_MIN:
        return True
    return exponent(curve) <= EXPONENT_MAX or ratio(curve) <= RATIO_MAX
