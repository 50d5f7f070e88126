"""How a metric is declared: its name as it is exported, what it counts, what its labels can say.

A declaration is the one place that names a metric. The rules below hold for all of them; one that
breaks a rule does not get past the import:

* `diffusion_<program>_<noun>_<unit>`, in base units (seconds, bytes); counters end in `_total`.
* A label has a list of values, so that none can be an id of a user, a conversation or a partition.

Every combination of labels begins at 0: of a counter that comes into being at 1, Prometheus does
not see the step, and the first dead letter would raise no alert.

A process exports what its own program counts (`registry_of`), and not the zeros of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, TypeAlias, TypeVar

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

Labels: TypeAlias = Mapping[str, tuple[str, ...]]
M = TypeVar("M", Counter, Gauge, Histogram)

SERIES_MAX: Final = 64
"""Combinations of labels of one metric: more of them is a label that is no enumeration."""

_NAME: Final = re.compile(r"diffusion_(stream|materializer|api|openim|store|process)(_[a-z]+)+")
_NO_BASE_UNIT: Final = re.compile(
    r"_(ms|us|ns|millis|milliseconds|minutes|hours|days|kb|mb|kib|mib|kilobytes|percent)(_|$)"
)
_IDS: Final = frozenset(
    {"id", "user", "device", "conversation", "group", "member", "partition", "offset", "cursor"}
)


class Program(StrEnum):
    """Who exports a metric."""

    STREAM = "stream"
    MATERIALIZER = "materializer"
    API = "api"
    OPENIM = "openim"


EVERYBODY: Final = ("store", "process")
"""Second words of names that every program exports."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric, as it is documented and exported. `buckets` are those of a histogram."""

    name: str
    kind: str
    help: str
    labels: Labels
    buckets: tuple[float, ...]
    metric: Counter | Gauge | Histogram

    @property
    def part(self) -> str:
        """The second word of the name: a program, or what is common to all."""
        return self.name.split("_")[1]

    def samples(self) -> tuple[str, ...]:
        """Names of what Prometheus stores of it."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{suffix}" for suffix in ("bucket", "count", "sum"))


_declared: dict[str, Declared] = {}

# In the text format `_created` doubles the series of counters, and Prometheus does not use it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's omission


def declared() -> Iterator[Declared]:
    """All metrics, in the order of their declarations."""
    return iter(_declared.values())


def counter(name: str, text: str, **labels: Iterable[str]) -> Counter:
    """Declare a counter; its name ends in `_total`."""
    assert name.endswith("_total"), name
    return _keep(Counter(name, text, list(labels), registry=None), name, "counter", text, labels)


def gauge(name: str, text: str, **labels: Iterable[str]) -> Gauge:
    """Declare a gauge."""
    assert not name.endswith("_total"), name
    return _keep(Gauge(name, text, list(labels), registry=None), name, "gauge", text, labels)


def histogram(
    name: str, text: str, buckets: tuple[float, ...], **labels: Iterable[str]
) -> Histogram:
    """Declare a histogram; `buckets` are upper bounds, inclusive, in the unit of the name."""
    assert buckets == tuple(sorted(set(buckets))), name
    made = Histogram(name, text, list(labels), buckets=buckets, registry=None)
    return _keep(made, name, "histogram", text, labels, buckets)


def _keep(
    metric: M,
    name: str,
    kind: str,
    text: str,
    labels: Mapping[str, Iterable[str]],
    buckets: tuple[float, ...] = (),
) -> M:
    assert _NAME.fullmatch(name), f"{name}: diffusion_<program>_<noun>_<unit>"
    assert not _NO_BASE_UNIT.search(name), f"{name}: seconds and bytes are the units"
    for label in labels:
        assert _IDS.isdisjoint(label.split("_")), f"{name}: {label} is named like an id"
    values = {label: tuple(found) for label, found in labels.items()}
    series = list(product(*values.values()))
    assert 0 < len(series) <= SERIES_MAX, f"{name}: {len(series)} series"
    if labels:
        for one in series:
            metric.labels(*one)
    # The library's own registry has all of them, and refuses a name that is there already.
    REGISTRY.register(metric)
    _declared[name] = Declared(name, kind, text, values, buckets, metric)
    return metric


def registry_of(program: Program) -> CollectorRegistry:
    """What a process of this program exports: its own, the store's, and the process's."""
    registry = CollectorRegistry()
    for one in declared():
        if one.part in {program.value, *EVERYBODY}:
            registry.register(one.metric)
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry
