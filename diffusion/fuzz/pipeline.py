"""Hostile records through real Kafka, a real stream worker and a real materializer.

What each record must come to is taken from the same record run over models (`ways`), which was
compared with the contract; here the metrics of the processes and the topics of dead letters must
say the same.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from diffusion.dlq import DeadLetters
from diffusion.fuzz.laws import judge
from diffusion.fuzz.records import CHANGES, CONVERSATIONS, USERS, specimen
from diffusion.fuzz.ways import Ways
from diffusion.system import System
from infra.clock import monotonic_s
from infra.kafka.delivery import Delivery

RECORD_BYTES_MAX: Final = 1_000_000
"""What Kafka takes as a record; larger ones no backend can send."""

SETTLE_S: Final = 20.0
POLL_S: Final = 0.2
RECONSIDER: Final = "reconsider"

RECORDS_AT_ONCE: Final = 200
"""Handed over before they are waited for."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Events and change records taken, and dead letters by the topic that they came from."""

    events: int
    """But for `reconsider`, which the engine's own sweep writes too."""
    changes: int
    """Hostile ones; those of the stream stage are not counted."""
    letters: dict[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of records through real servers, and what had to."""

    records: int
    too_large: int
    """Records that Kafka does not take; they are no part of the rest."""
    expected: Counts
    by_metrics: Counts
    in_topics: dict[str, int]
    """Dead letters that are in the topics of dead letters, of this run."""
    restarts: int
    seconds: float

    @property
    def held(self) -> bool:
        """Whether everything agrees, and no process ended."""
        agree = self.expected == self.by_metrics and self.in_topics == self.expected.letters
        return agree and not self.restarts

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "held": self.held}


def run(system: System, seed: int, first: int, count: int) -> Outcome:
    """Send the records of these numbers, and wait until all of them are dealt with."""
    began_s = monotonic_s()
    letters = DeadLetters(system.settings.kafka)
    try:
        waiting = _in_topics(letters)
        before, restarts = _by_metrics(system), system.processes.restarts()
        expected, too_large = _produced(system, seed, range(first, first + count))
        system.wait_quiet()
        by_metrics = _settled(system, before, expected)
        in_topics = _less(_in_topics(letters), waiting)
    finally:
        letters.close()
    return Outcome(
        records=count - too_large,
        too_large=too_large,
        expected=expected,
        by_metrics=by_metrics,
        in_topics=in_topics,
        restarts=system.processes.restarts() - restarts,
        seconds=monotonic_s() - began_s,
    )


def _settled(system: System, before: Counts, expected: Counts) -> Counts:
    """What was counted since; looked at again for a while, because a sweep may be on its way."""
    until_s = monotonic_s() + SETTLE_S
    while True:
        after = _by_metrics(system)
        found = Counts(
            after.events - before.events,
            after.changes - before.changes,
            _less(after.letters, before.letters),
        )
        if found == expected or monotonic_s() > until_s:
            return found
        time.sleep(POLL_S)


def _produced(system: System, seed: int, numbers: range) -> tuple[Counts, int]:
    """Send records; what must come of them, and how many were too large to be sent."""
    ways, delivery = Ways(), Delivery(system.settings.kafka, "diffusion-fuzz")
    accepted = dict.fromkeys((CONVERSATIONS, USERS, CHANGES), 0)
    letters = dict(accepted)
    too_large = 0
    for number in numbers:
        record = specimen(seed, number)
        if len(record.value or b"") > RECORD_BYTES_MAX:
            too_large += 1
            continue
        course, _ = judge(ways, record)
        accepted[record.topic] += course.accepted - course.kinds[RECONSIDER]
        letters[record.topic] += len(course.letters)
        value: Any = record.value  # None is a record too
        delivery.produce(record.topic, 0, value)
        if number % RECORDS_AT_ONCE == 0:
            delivery.flush()
    delivery.flush()
    ways.close()
    events = accepted[CONVERSATIONS] + accepted[USERS]
    return Counts(events, accepted[CHANGES], letters), too_large


def _by_metrics(system: System) -> Counts:
    def counted(name: str, **labels: str) -> int:
        return int(system.processes.counted(f"diffusion_{name}_total", labels))

    letters = {
        topic: counted("stream_dead_letters", topic=topic) for topic in (CONVERSATIONS, USERS)
    } | {CHANGES: counted("materializer_dead_letters")}
    # What the materializer takes is what the stream stage wrote, and what came from here.
    hostile = counted("materializer_records") - letters[CHANGES] - counted("stream_changes")
    events = counted("stream_events") - counted("stream_events", type=RECONSIDER)
    return Counts(events, hostile, letters)


def _in_topics(letters: DeadLetters) -> dict[str, int]:
    return {name: letters.line(name).end for name in (CONVERSATIONS, USERS, CHANGES)}


def _less(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after}
