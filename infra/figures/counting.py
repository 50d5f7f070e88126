"""What several looks at the counters of several processes say together.

A counter grows from 0 while its process runs. Its rate is what came between two looks at the same
process, over the time between them; a process that was started anew in between has counted again
from 0, so that what it says now is what came since. No rate is ever negative, and a process that
was seen once only has none yet.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

Labels: TypeAlias = Mapping[str, str]
Samples: TypeAlias = Mapping[str, Sequence[tuple[Labels, float]]]
"""Name of a sample, as in the text format -> its values, with the labels of each."""

START: Final = "process_start_time_seconds"
"""Tells a process from the one that had its place before."""

WINDOW_S: Final = 5.0
"""Rates are those of the last so many seconds. Batches come once a second or less often, so that
from one second to the next the lines would jump."""

FRESH: Final = 3
"""After so many windows without a look, what was seen before tells nothing of now."""

LOOKS_MAX: Final = 32
"""Of one process that are kept: more often than that within a window nobody looks."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a process said, and when, in seconds of a clock that never goes back."""

    at_s: float
    samples: Samples


@dataclass(frozen=True, slots=True)
class Pair:
    """A process now, and as it was before, if it was seen."""

    now: Seen
    before: Seen | None

    @property
    def restarted(self) -> bool:
        """Whether another process has its place."""
        return self.before is not None and _only(self.now, START) != _only(self.before, START)


class Memory:
    """The last looks at each process, by where it is."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._looks: dict[str, deque[Seen]] = {}

    def take(self, seen: Mapping[str, Seen]) -> list[Pair]:
        """Remember a look at all processes that answered; forget those that are not there."""
        for place in self._looks.keys() - seen.keys():
            del self._looks[place]
        return [self._pair(place, one) for place, one in seen.items()]

    def _pair(self, place: str, now: Seen) -> Pair:
        looks = self._looks.setdefault(place, deque(maxlen=LOOKS_MAX))
        if looks and looks[-1].at_s < now.at_s - FRESH * self._window_s:
            looks.clear()
        # One older than the window is kept as long as there is no other.
        while len(looks) > 1 and looks[1].at_s <= now.at_s - self._window_s:
            looks.popleft()
        before = looks[0] if looks else None
        looks.append(now)
        return Pair(now, before)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a histogram's observations: what half of them, and 99 of 100, are at most."""

    half: float | None = None
    most: float | None = None


class Window:
    """All processes together. What nobody has counted, or not twice yet, is None."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._pairs = tuple(pairs)

    @property
    def seconds(self) -> float | None:
        """How long the rates look back, at most."""
        spans = [one.now.at_s - one.before.at_s for one in self._pairs if one.before is not None]
        return max(spans, default=None)

    def rate(self, name: str, **labels: str) -> float | None:
        """A counter a second, of all samples with these labels."""
        rates = self._rates(name, lambda has: labels.items() <= has.items())
        return None if rates is None else sum(rate for _, rate in rates)

    def rates(self, name: str, label: str) -> dict[str, float]:
        """A counter a second, by the values of a label."""
        found: dict[str, float] = defaultdict(float)
        for has, rate in self._rates(name, lambda has: label in has) or ():
            found[has[label]] += rate
        return dict(found)

    def sum(self, name: str) -> float | None:
        """Sum of a gauge, or of what counters have come to since their processes started."""
        values = self._values(name)
        return sum(values) if values else None

    def sums(self, name: str, label: str) -> dict[str, float]:
        """The same, by the values of a label."""
        found: dict[str, float] = defaultdict(float)
        for pair in self._pairs:
            for has, value in pair.now.samples.get(name, ()):
                found[has.get(label, "")] += value
        return dict(found)

    def max(self, name: str) -> float | None:
        """The greatest value of a gauge."""
        return max(self._values(name), default=None)

    def mean(self, histogram: str) -> float | None:
        """Mean of what a histogram observed lately; None if it was nothing."""
        total, count = self.rate(f"{histogram}_sum"), self.rate(f"{histogram}_count")
        return total / count if total is not None and count else None

    def spread(self, histogram: str, **labels: str) -> Spread:
        """Median and 99th percentile of what a histogram observed lately."""
        below: dict[float, float] = defaultdict(float)
        rates = self._rates(f"{histogram}_bucket", lambda has: labels.items() <= has.items())
        for has, rate in rates or ():
            below[float(has["le"])] += rate
        return Spread(_quantile(0.5, below), _quantile(0.99, below))

    def _values(self, name: str) -> list[float]:
        return [value for pair in self._pairs for _, value in pair.now.samples.get(name, ())]

    def _rates(
        self, name: str, chosen: Callable[[Labels], bool]
    ) -> list[tuple[Labels, float]] | None:
        found: list[tuple[Labels, float]] = []
        measured = False
        for pair in self._pairs:
            if pair.before is None or name not in pair.now.samples:
                continue
            span_s = pair.now.at_s - pair.before.at_s
            if span_s <= 0:
                continue
            measured = True
            earlier = {} if pair.restarted else _by_labels(pair.before, name)
            for has, value in pair.now.samples[name]:
                if chosen(has):
                    found.append((has, _increase(earlier.get(_key(has), 0.0), value) / span_s))
        return found if measured else None


def _increase(before: float, now: float) -> float:
    """Of a counter; one that is smaller than it was has begun anew."""
    return now - before if now >= before else now


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _by_labels(seen: Seen, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {_key(labels): value for labels, value in seen.samples.get(name, ())}


def _only(seen: Seen, name: str) -> float | None:
    return next((value for _, value in seen.samples.get(name, ())), None)


def _quantile(share: float, below: Mapping[float, float]) -> float | None:
    """As Prometheus' `histogram_quantile`: evenly spread within a bucket; the greatest bound for
    what lies beyond it. `below` has, for each upper bound, how much is at most that.
    """
    total = below.get(inf, 0.0)
    if total <= 0:
        return None
    rank, low, under = share * total, 0.0, 0.0
    for bound, count in sorted(below.items()):
        if count >= rank and bound != inf:
            inside = count - under
            return low + (bound - low) * (rank - under) / inside if inside > 0 else bound
        if bound != inf:
            low, under = bound, count
    return low
