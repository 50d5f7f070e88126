"""A straight line through measurements, and how much of its slope may be noise. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

POINTS_MIN: Final = 3
"""Two points lie on their line whatever they are worth."""

HOUR_S: Final = 3_600.0
CORRELATION_MAX: Final = 0.99
"""Of neighbours: beyond it a run is too short to say anything, and the noise is ten times so great.
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """`level` is the mean; `per_hour` what it grows by, give or take `noise_per_hour`."""

    level: float
    per_hour: float
    noise_per_hour: float


def fit(points: Sequence[tuple[float, float]]) -> Drift:
    """Least squares through (seconds, value), in order of time; at least `POINTS_MIN` of them.

    The noise is the standard error of the slope. Measurements of one process hang together: memory
    that has just been taken is still there in the next one. So the error is widened as for fewer,
    independent ones, by the correlation of neighbouring residuals (n (1 - r) / (1 + r) of them).
    """
    assert len(points) >= POINTS_MIN, points
    count = len(points)
    middle_s = sum(at_s for at_s, _ in points) / count
    level = sum(value for _, value in points) / count
    spread = sum((at_s - middle_s) ** 2 for at_s, _ in points)
    slope = sum((at_s - middle_s) * (value - level) for at_s, value in points) / spread
    rest = [value - level - slope * (at_s - middle_s) for at_s, value in points]
    squares = sum(one * one for one in rest)
    error = math.sqrt(squares / (count - 2) / spread)
    together = sum(a * b for a, b in pairwise(rest))
    correlation = min(max(together / squares, 0.0), CORRELATION_MAX) if squares else 0.0
    widened = error * math.sqrt((1 + correlation) / (1 - correlation))
    return Drift(level, slope * HOUR_S, widened * HOUR_S)
