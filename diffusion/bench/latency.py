"""`diffusion bench latency`: how soon a write can be read, at a tenth and at half of the maximum.

On servers of its own, with one worker of each kind, all on this machine: more processes than it has
cores wait for each other, and two of each were slower. Latency is the time from the producer's
delivery report, which says that Kafka has the write, to an answer of the API that tells it to a
device with a cursor. The maximum is found first in the same run: the greatest rate at which what
waits does not grow ("sustainable throughput", Karimov et al., Benchmarking Distributed Stream Data
Processing Systems, ICDE 2018). Full speed is told beside it: messages written as fast as it goes,
by the time until all are readable. That is more, because with so much waiting the messages of a
conversation fold in large batches, and no rate that one could live with: all are late by design.
At the end, devices of users are compared with the oracle.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diffusion import verify
from diffusion.bench import children, stage
from diffusion.bench.latency_load import Mix, everything
from diffusion.bench.latency_writer import FullSpeed, Measured, Paced, Step, maximum, measure
from diffusion.bench.measure import in_mb, machine, quantile
from diffusion.console import Console
from diffusion.demo import one_of_each
from diffusion.oracle import Oracle
from infra.settings import Settings
from schemas.errors import PermanentError

P99_MAX_MS: Final = {0.1: 500.0, 0.5: 2_000.0}
"""The bound of the 99th percentile, by the share of the maximum that is written."""

PROBES_MIN: Final = 200
"""Fewer of a case would make its 99th percentile one or two probes."""

SECONDS_MAX: Final = 1_200.0
"""Tokens of the devices are good for an hour, and everything has to happen within."""

USERS_CHECKED: Final = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench latency --json` prints."""

    mix: Mix
    full_speed: FullSpeed
    steps: tuple[Step, ...]
    cases: tuple[Paced, ...]
    peak_memory_mb: dict[str, float]
    machine: str
    users_checked: int
    differences: tuple[str, ...]

    @property
    def maximum(self) -> Step:
        """The greatest rate that was sustained."""
        return maximum(self.steps)

    @property
    def missed(self) -> int:
        """Probes that were not readable in time."""
        return sum(case.missed for case in self.cases)

    @property
    def held(self) -> dict[str, bool]:
        """Each bound, and whether it holds."""
        found = {name_of(case.share): p99_ms(case) <= P99_MAX_MS[case.share] for case in self.cases}
        return found | {
            "probes": all(len(case.samples) >= PROBES_MIN for case in self.cases),
            "missed": self.missed == 0,
            "correct": not self.differences,
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "load": self.mix.in_words(),
            "full_speed": {
                "messages_per_second": round(self.full_speed.messages_per_second, 1),
                "marks_per_second": round(self.full_speed.marks_per_second, 1),
                "messages": self.full_speed.messages,
                "seconds": round(self.full_speed.seconds, 1),
            },
            "steps": [step_as_json(step) for step in self.steps],
            "maximum": step_as_json(self.maximum),
            "cases": [case_as_json(case) for case in self.cases],
            "probes": sum(len(case.samples) for case in self.cases),
            "missed": self.missed,
            "peak_memory_mb": self.peak_memory_mb,
            "machine": self.machine,
            "users_checked": self.users_checked,
            "held": self.held,
            "differences": list(self.differences[:20]),
        }


def name_of(share: float) -> str:
    """The bound of a share of the maximum."""
    return f"p99_at_{share:.0%}".removesuffix("%")


def p99_ms(case: Paced) -> float:
    """The 99th percentile of a case; without probes, no bound holds."""
    found = [one.readable_ms for one in case.samples]
    return quantile(found, 0.99) if found else float("inf")


def step_as_json(step: Step) -> dict[str, Any]:
    """A rate that was tried."""
    return {
        "messages_per_second": round(step.messages_per_second, 1),
        "marks_per_second": round(step.marks_per_second, 1),
        "behind_seconds": round(step.behind_s, 1),
        "sustained": step.sustained,
    }


def case_as_json(case: Paced) -> dict[str, Any]:
    """Percentiles of a case: from the delivery report until readable; of what comes before, from
    the call to the report; and of the time since the last answer that did not tell it.
    """
    told = {
        "load": case.share,
        "messages_per_second": round(case.messages / case.seconds, 1),
        "marks_per_second": round(case.marks / case.seconds, 1),
        "probes": len(case.samples),
        "missed": case.missed,
        "late_max_ms": round(case.late_max_ms, 1),
    }
    if not case.samples:
        return told
    readable = [one.readable_ms for one in case.samples]
    accepted = [one.accepted_ms for one in case.samples]
    resolution = [one.resolution_ms for one in case.samples]
    return told | {
        "p50_ms": round(quantile(readable, 0.5), 1),
        "p99_ms": round(quantile(readable, 0.99), 1),
        "max_ms": round(max(readable), 1),
        "accepted_p50_ms": round(quantile(accepted, 0.5), 1),
        "accepted_p99_ms": round(quantile(accepted, 0.99), 1),
        "resolution_p50_ms": round(quantile(resolution, 0.5), 1),
        "resolution_p99_ms": round(quantile(resolution, 0.99), 1),
    }


def run(
    settings: Settings, seconds: float, seed: int, console: Console, mix: Mix | None = None
) -> Outcome:
    """Measure; raises `DiffusionError` if something cannot be done."""
    if not 0 < seconds <= SECONDS_MAX:
        raise PermanentError(f"A case takes more than 0 and at most {SECONDS_MAX:,.0f} seconds.")
    with stage.own(settings, console) as (used, folder):
        return _on(used, folder, mix or Mix(), seconds, seed, console)


def _on(
    settings: Settings, folder: Path, mix: Mix, seconds: float, seed: int, console: Console
) -> Outcome:
    with one_of_each(settings, folder, console) as system:
        with console.progress("writing at full speed, for the maximum, at a tenth and half of it"):
            measured, peak = children.run(measure, settings, mix, seed, tuple(P99_MAX_MS), seconds)
        system.processes.check()
        oracle = _oracle(mix, seed, measured)
        users = sorted(oracle.users())
        some = random.Random(seed).sample(  # noqa: S311 -- a reproducible run
            users, min(USERS_CHECKED, len(users))
        )
        with console.progress("a new device of some users", total=len(some)) as update:
            verdict = verify.fresh_devices(system, oracle, some, lambda: update(advance=1))
        peaks = system.processes.peaks() | {"load and probes": peak}
    return Outcome(
        mix=mix,
        full_speed=measured.full_speed,
        steps=measured.steps,
        cases=measured.cases,
        peak_memory_mb=in_mb(peaks),
        machine=machine(),
        users_checked=verdict.checked,
        differences=tuple(verdict.differences),
    )


def _oracle(mix: Mix, seed: int, measured: Measured) -> Oracle:
    oracle = Oracle()
    oracle.replay(everything(mix, seed, measured.messages, measured.probed))
    return oracle
