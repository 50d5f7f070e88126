"""Writes while it goes on: a backend's events of every kind, and messages that probe.

A *probe* is a chat of two whose next message is due every second, and a device that asks for it
again and again. There are enough of them that every partition of both stages has one, so that none
can stand still unseen.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from diffusion.oracle import Oracle
from diffusion.simulation.backend import Backend, Cast
from diffusion.writing import producer_for
from infra.clock import now_ms
from infra.settings import KafkaSettings
from schemas import ids
from schemas.events import Message, WriteEvent
from schemas.partitioner import partition_of
from sdk.backend import ProducerSettings

USERS: Final = 300
GROUPS: Final = 40
CHANNELS: Final = 3
"""Notification conversations, which are read by number and never listed."""

PAIRS: Final = 120
JOINS_MAX: Final = 25
LEAVES_MAX: Final = 6
WRITES_PER_SECOND: Final = 40.0
DELIVERY_TIMEOUT_S: Final = 600.0
"""A backend keeps what Kafka does not take: longer than any outage here."""


class Writer:
    """Gives each event to Kafka and to the oracle, in one order. Thread-safe."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.oracle = Oracle()
        self.written = 0
        self.undelivered = 0
        self._lock = threading.Lock()
        options = ProducerSettings(delivery_timeout_s=DELIVERY_TIMEOUT_S)
        self._producer = producer_for(kafka, settings=options, on_error=self._on_error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()

    def write(self, event: WriteEvent) -> None:
        """Accept one event."""
        with self._lock:
            self._producer.send(event)
            self.oracle.apply(event)
            self.written += 1

    def flush(self) -> None:
        """Wait until Kafka has all of it; raises `DeliveryError`."""
        self._producer.flush(DELIVERY_TIMEOUT_S)

    def _on_error(self, events: Sequence[WriteEvent], _reason: str) -> None:
        self.undelivered += len(events)


def cast() -> Cast:
    """Who writes: some hundred people in chats of two, groups of all sizes, and channels."""
    users = tuple(f"u{number:03}" for number in range(USERS))
    groups = tuple(f"sg_{number}" for number in range(GROUPS))
    channels = tuple(f"n_{number}" for number in range(CHANNELS))
    pairs = tuple((users[number], users[-1 - number]) for number in range(PAIRS))
    return Cast(users, groups + channels, pairs, JOINS_MAX, LEAVES_MAX)


class Load:
    """Writes at a steady pace, in a thread of its own, from `with` until its end."""

    def __init__(self, writer: Writer, seed: int) -> None:
        rng = random.Random(f"load/{seed}")  # noqa: S311 -- a reproducible run
        self._backend = Backend(rng, now_ms, writer.write, cast())
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-load")
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._backend.begin()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.halt()

    def halt(self) -> None:
        """Write no more."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ending.wait(1 / WRITES_PER_SECOND):
                self._backend.act()
            self._backend.finish()
        except Exception as error:  # noqa: BLE001  # told by who waits for the end
            self.error = error


@dataclass(slots=True)
class Probe:
    """A chat of two, how far it is written, and how far it was read."""

    user_id: str
    other: str
    written: int = 0
    told: int = 0
    stalled_s: float = 0.0
    """So long has the next message waited while no fault held."""
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = ids.one_to_one(self.user_id, self.other)

    def next(self) -> Message:
        """The next message."""
        self.written += 1
        return Message(
            self.name, self.written, self.other, now_ms(), tuple(sorted((self.user_id, self.other)))
        )


def probes(write_partitions: int, change_partitions: int) -> list[Probe]:
    """One for each partition of the write topic, and of the change log."""
    found: list[Probe] = []
    for count, of in ((write_partitions, _conversation), (change_partitions, _user)):
        missing = set(range(count)) - {partition_of(of(probe), count) for probe in found}
        number = 0
        while missing:
            probe = Probe(f"probe{number}", f"echo{number}")
            number += 1
            if (place := partition_of(of(probe), count)) in missing and probe not in found:
                missing.remove(place)
                found.append(probe)
    return found


def _conversation(probe: Probe) -> str:
    return probe.name


def _user(probe: Probe) -> str:
    return probe.user_id
