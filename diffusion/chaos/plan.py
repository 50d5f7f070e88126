"""What will be done to whom, and when: drawn from a seed before anything starts. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

KAFKA: Final = "kafka"
CASSANDRA: Final = "cassandra"
SERVERS: Final = (KAFKA, CASSANDRA)

GAP_S: Final = 8.0
"""Between two faults, on the average."""

FIRST_S: Final = 5.0
LAST_S: Final = 5.0
"""No fault in the last seconds: each is to have its effect under load."""

OUTAGE_S: Final = 60.0
"""A server is away for so long, once in each round."""

ROUND_MINUTES: Final = 20.0
"""In each such part of a run, every server has an outage and a full disk."""

SHORT_MINUTES: Final = 5.0
"""A run that is shorter has neither: little else would be seen."""


class Kind(StrEnum):
    """What can be done."""

    KILL = "kill"
    """SIGKILL, and started anew: a program by its supervisor, a server at once."""
    RESTART = "restart"
    """SIGTERM, and started anew."""
    FREEZE = "freeze"
    """SIGSTOP, and SIGCONT after a while: a worker loses its partitions, and comes back as one that
    does not know."""
    OUTAGE = "outage"
    """A server is stopped, and started after a minute."""
    DISK_FULL = "disk full"
    """A server may not make any file longer; then there is room again, and it is started anew."""
    SLOW = "slow line"
    """Answers of a server take long."""
    FLAKY = "flaky line"
    """Connections to a server break, in the middle of requests and answers."""
    SILENT = "silent line"
    """Nothing gets through to a server, and nothing says so."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do. `lasts_s` is how long it holds, 0 for what is over at once."""

    at_s: float
    kind: Kind
    target: str
    lasts_s: float = 0.0

    def __str__(self) -> str:
        """Say it in a line."""
        lasts = f" for {self.lasts_s:.0f} s" if self.lasts_s else ""
        return f"{self.kind} of {self.target}{lasts}"


_OF_PROGRAMS: Final = {Kind.KILL: 6, Kind.RESTART: 2, Kind.FREEZE: 3}
_OF_SERVERS: Final = {
    Kind.KILL: 3,
    Kind.RESTART: 2,
    Kind.FREEZE: 3,
    Kind.SLOW: 3,
    Kind.FLAKY: 3,
    Kind.SILENT: 2,
}
_PROGRAM_SHARE: Final = 0.85
"""Of the faults that are not certain. A server takes long to start: where it was one of three,
something was away at almost any time, and little else was seen."""

_LASTS_S: Final = {
    # Of a program: longer than a session of Kafka's, at times; of a server: less, or nothing else
    # would be seen.
    (Kind.FREEZE, True): (1.0, 20.0),
    (Kind.FREEZE, False): (1.0, 12.0),
    (Kind.SLOW, False): (5.0, 20.0),
    (Kind.FLAKY, False): (5.0, 20.0),
    (Kind.SILENT, False): (2.0, 12.0),
    (Kind.DISK_FULL, False): (8.0, 12.0),
}


def draw(seed: int, minutes: float, programs: Sequence[str]) -> list[Fault]:
    """Faults of a run of so many minutes, in the order of their times."""
    rng = random.Random(f"chaos/{seed}")  # noqa: S311 -- a reproducible run
    end_s = minutes * 60
    found = [*_certain(rng, end_s)]
    at_s = FIRST_S
    while at_s < end_s - LAST_S:
        found.append(_any(rng, at_s, programs))
        at_s += rng.expovariate(1 / GAP_S)
    return sorted(found, key=lambda fault: fault.at_s)


def _certain(rng: random.Random, end_s: float) -> Iterator[Fault]:
    """What no run leaves to chance: every server away for long, and without room."""
    if end_s < SHORT_MINUTES * 60:
        return
    round_s = min(end_s, ROUND_MINUTES * 60)
    begin_s = 0.0
    while begin_s + round_s <= end_s:
        for part, server in enumerate(rng.sample(SERVERS, len(SERVERS))):
            # Apart from each other, so that one is seen without the other.
            middle_s = begin_s + round_s * (0.1 + 0.45 * part)
            yield Fault(middle_s + rng.uniform(0, 0.05) * round_s, Kind.OUTAGE, server, OUTAGE_S)
            low, high = _LASTS_S[Kind.DISK_FULL, False]
            at_s = middle_s + rng.uniform(0.25, 0.3) * round_s
            yield Fault(at_s, Kind.DISK_FULL, server, rng.uniform(low, high))
        begin_s += round_s


def _any(rng: random.Random, at_s: float, programs: Sequence[str]) -> Fault:
    of_program = rng.random() < _PROGRAM_SHARE
    target = rng.choice(programs if of_program else SERVERS)
    weights = _OF_PROGRAMS if of_program else _OF_SERVERS
    (kind,) = rng.choices(list(weights), weights=list(weights.values()))
    low, high = _LASTS_S.get((kind, of_program), (0.0, 0.0))
    return Fault(at_s, kind, target, rng.uniform(low, high))
