"""A worker that stands still while there is work ends itself, and its supervisor starts it anew.

What the program knows of itself is not asked: a consumer that no longer fetches believes that there
is nothing to fetch. Kafka is, by a client and a thread of its own: how far the group has committed
the partitions of this worker, and where they end.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from infra.clock import monotonic_s
from infra.ending import end_at_once
from infra.kafka.admin import Admin
from infra.settings import KafkaSettings
from schemas.errors import DiffusionError

log = logging.getLogger("diffusion.standstill")

LOOK_S: Final = 10.0
"""Between two looks, each two or three small requests."""

MARKERS_MAX: Final = 1
"""A producer that uses transactions leaves a marker behind its last record, which nobody takes and
which therefore is never committed: one record behind is no work."""

PASSED_BATCHES: Final = 20
"""So many batches without a record of a partition that has some: it is not in anybody's turn."""


class Place(NamedTuple):
    """A partition: how far it is committed, and where it ends."""

    committed: int
    end: int


class Done(NamedTuple):
    """Numbers of a worker that only grow: batches finished; writes and records acknowledged."""

    batches: int
    acknowledged: int


@dataclass(slots=True)
class _Stood:
    committed: int
    since_s: float
    batches: int


class Judge:
    """Decides by looks, pure: give it the time, the places and the work; it says what is wrong.

    A worker stands still if for `patience_s` nothing was committed of a partition that has records,
    and meanwhile either nothing at all was acknowledged, or many batches went past that partition.
    A long batch (thousands join a large group) does neither.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._stood: dict[tuple[str, int], _Stood] = {}
        self._acknowledged = -1
        self._acknowledged_s = 0.0

    def look(self, now_s: float, places: Mapping[tuple[str, int], Place], done: Done) -> str | None:
        """Why the worker is to end, or None; places by topic and partition."""
        if done.acknowledged != self._acknowledged:
            self._acknowledged, self._acknowledged_s = done.acknowledged, now_s
        self._stood = {
            name: self._stood_at(name, place, now_s, done)
            for name, place in places.items()
            if place.end - place.committed > MARKERS_MAX
        }
        for (topic, partition), stood in self._stood.items():
            for_s = now_s - stood.since_s
            if for_s < self._patience_s:
                continue
            where = f"partition {partition} of {topic} stands at {stood.committed} for {for_s:.0f}s"
            if now_s - self._acknowledged_s >= self._patience_s:
                return f"{where}, and nothing was written meanwhile"
            if done.batches - stood.batches >= PASSED_BATCHES:
                return f"{where}, while {done.batches - stood.batches} batches went past it"
        return None

    def forget(self) -> None:
        """Kafka could not be asked: what was seen before says nothing about what comes."""
        self._stood.clear()
        self._acknowledged = -1

    def _stood_at(self, name: tuple[str, int], place: Place, now_s: float, done: Done) -> _Stood:
        known = self._stood.get(name)
        if known is not None and known.committed == place.committed:
            return known
        return _Stood(place.committed, now_s, done.batches)


class Watchdog:
    """Looks again and again, in a thread of its own, and ends the process when the judge says so.

    `assigned`: partitions by topic, as the worker knew them last, or None while it stands on
    purpose. Where it has none, all of the group's are looked at: one that cannot join while the
    group stands still is started anew too.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        assigned: Callable[[], Mapping[str, Iterable[int]] | None],
        done: Callable[[], Done],
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._assigned = assigned
        self._done = done

    def start(self, patience_s: float) -> None:
        """Begin; 0 for never."""
        if patience_s:
            judge = Judge(patience_s)
            threading.Thread(
                target=self._watch, args=(judge,), name="standstill", daemon=True
            ).start()

    def _watch(self, judge: Judge) -> None:
        pause = threading.Event()
        with Admin(self._kafka) as admin:
            while not pause.wait(LOOK_S):
                try:
                    places = self._places(admin)
                except DiffusionError:
                    judge.forget()
                    continue
                why = judge.look(monotonic_s(), places, self._done())
                if why is not None:
                    _end(why)

    def _places(self, admin: Admin) -> dict[tuple[str, int], Place]:
        found: dict[tuple[str, int], Place] = {}
        for topic, partitions in (self._assigned() or {}).items():
            ends = admin.end_offsets(topic)
            mine = sorted(partitions) or sorted(ends)
            committed = admin.committed_of(self._group, topic, mine)
            for partition in mine:
                at = Place(committed.get(partition, 0), ends.get(partition, 0))
                found[topic, partition] = at
        return found


def _end(why: str) -> NoReturn:
    log.critical("This worker stands still: %s. It ends, to be started anew.", why)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    end_at_once()
