"""Many records, in as many processes as there are cores, and what came of them.

A record that breaks a law is written out as hexadecimal digits, with its seed and number, and can
be run alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from diffusion.fuzz import records
from diffusion.fuzz.laws import LAWS, judge
from diffusion.fuzz.records import Specimen
from diffusion.fuzz.ways import Ways
from diffusion.pool import spawned
from infra.clock import monotonic_s
from infra.metrics import peak_resident_bytes

RECORDS_PER_TASK: Final = 1_000
SHOWN_MAX: Final = 20
SHOWN_CHARS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that broke a law."""

    seed: int
    number: int
    law: str
    seen: str
    specimen: Specimen

    def as_json(self) -> dict[str, Any]:
        """Plain values; the bytes in hexadecimal digits."""
        return {
            "seed": self.seed,
            "number": self.number,
            "law": self.law,
            "seen": self.seen,
            "topic": self.specimen.topic,
            "kind": self.specimen.kind,
            "value": None if self.specimen.value is None else self.specimen.value.hex(),
            "before": [one.hex() for one in self.specimen.before],
        }


@dataclass(slots=True)
class Found:
    """What came of some records. Memory in bytes, times in seconds; they are told, not judged."""

    records: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Records by how they were made."""
    sent_bytes: int = 0
    accepted: int = 0
    letters: int = 0
    marks: int = 0
    statements: int = 0
    change_bytes: int = 0
    letter_bytes: int = 0
    slowest_s: float = 0.0
    slowest: int = -1
    """The number of the record that took longest."""
    peak_bytes: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Take in what came of others."""
        for name in ("records", "sent_bytes", "accepted", "letters", "marks", "statements",
                     "change_bytes", "letter_bytes"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kinds.update(other.kinds)
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.failures += other.failures

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "records": self.records,
            "kinds": dict(sorted(self.kinds.items())),
            "sent_mb": round(self.sent_bytes / 2**20, 1),
            "accepted": self.accepted,
            "dead_lettered": self.letters,
            "marks": self.marks,
            "statements": self.statements,
            "change_mb": round(self.change_bytes / 2**20, 1),
            "letter_mb": round(self.letter_bytes / 2**20, 1),
            "slowest_ms": round(self.slowest_s * 1_000, 1),
            "slowest": self.slowest,
            "peak_mb": round(self.peak_bytes / 2**20, 1),
            "seconds": round(self.seconds, 1),
            "broken": {law: sum(one.law == law for one in self.failures) for law in LAWS},
            "failures": [one.as_json() for one in self.failures[:SHOWN_MAX]],
            "held": not self.failures,
        }


def fuzz(
    seed: int,
    first: int,
    count: int,
    *,
    minutes: float | None = None,
    on_records: Callable[[int], None] = lambda _: None,
) -> Found:
    """Run the records of these numbers, or as many as `minutes` allow."""
    began_s = monotonic_s()
    found = Found()
    if count <= RECORDS_PER_TASK:
        found.add(some(seed, first, count))
    else:
        with spawned() as pool:
            waiting = [
                pool.submit(some, seed, begin, min(RECORDS_PER_TASK, first + count - begin))
                for begin in range(first, first + count, RECORDS_PER_TASK)
            ]
            for done in as_completed(waiting):
                found.add(done.result())
                on_records(found.records)
                if minutes is not None and monotonic_s() - began_s > minutes * 60:
                    pool.shutdown(cancel_futures=True)
                    break
    found.failures.sort(key=lambda one: one.number)
    found.seconds = monotonic_s() - began_s
    return found


def some(seed: int, first: int, count: int) -> Found:
    """Run the records of these numbers here, one after the other."""
    logging.disable(logging.CRITICAL)  # what goes wrong on purpose is no news
    found, ways = Found(), Ways()
    for number in range(first, first + count):
        _one(found, ways, seed, number)
    ways.close()
    logging.disable(logging.NOTSET)
    found.peak_bytes = peak_resident_bytes()
    return found


def _one(found: Found, ways: Ways, seed: int, number: int) -> None:
    specimen = records.specimen(seed, number)
    began_s = monotonic_s()
    course, broken = judge(ways, specimen)
    took_s = monotonic_s() - began_s
    if took_s > found.slowest_s:
        found.slowest_s, found.slowest = took_s, number
    found.records += 1
    found.kinds[specimen.kind] += 1
    found.sent_bytes += len(specimen.value or b"")
    found.accepted += course.accepted
    found.letters += len(course.letters)
    found.marks += course.marks
    found.statements += course.statements
    found.change_bytes += sum(map(len, course.changes))
    found.letter_bytes += sum(map(len, course.letters))
    found.failures += [Failure(seed, number, law, seen, specimen) for law, seen in broken]


def write_out(failures: list[Failure], folder: Path) -> None:
    """Write each failing record to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in failures:
        path = folder / f"record-{one.seed}-{one.number}.json"
        path.write_bytes(orjson.dumps(one.as_json(), option=orjson.OPT_INDENT_2))


def show(found: Found) -> None:
    """Print what came of it."""
    console = Console(highlight=False)
    told = found.as_json()
    console.print(
        f"{found.records:,} records, {told['sent_mb']:,} MB, in {found.seconds:.0f} s: "
        f"{found.accepted:,} events accepted, {found.letters:,} dead letters, "
        f"{found.marks:,} marks.\nThe slowest took {told['slowest_ms']} ms (record "
        f"{found.slowest}); largest resident memory of a process {told['peak_mb']} MB."
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("law")
    table.add_column("broken", justify="right")
    for law, count in told["broken"].items():
        table.add_row(f"{law}: {LAWS[law]}", f"{count:,}")
    console.print(table)
    for one in found.failures[:SHOWN_MAX]:
        console.print(
            f"record {one.number} ({one.specimen.kind}): {one.law}: {one.seen}", markup=False
        )


def show_outcome(title: str, told: dict[str, Any]) -> None:
    """Print what came of a run on servers, a line for each thing that was counted."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("what")
    table.add_column("count")
    for name, value in told.items():
        parts = value.items() if isinstance(value, dict) else ()
        shown = ", ".join(f"{key}: {count}" for key, count in parts) or str(value)
        table.add_row(name.replace("_", " "), shown[:SHOWN_CHARS_MAX])
    Console(highlight=False).print(table)
