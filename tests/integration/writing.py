"""Writes that flow while processes come and go."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Self

from schemas import ids
from schemas.errors import DiffusionError
from schemas.events import MembersJoined, Message, Read
from sdk.backend import WriteProducer
from tests.integration.support import NOW_MS, World

USERS = 40
READERS = USERS // 2
WRITES_PER_SECOND = 200


class Writing:
    """Messages of half of the members of groups and reads of the others, at a steady pace, until it
    is told to end. Each read makes one change record, so that what is done twice can be counted.
    """

    def __init__(self, world: World, unique: Callable[[str], str]) -> None:
        self.world = world
        self.users = [unique(f"user{number:02}") for number in range(USERS)]
        self.readers = self.users[READERS:]
        self.rooms = [ids.group(unique(f"room{number}")) for number in range(16)]
        self.written = 0
        self.reads = 0
        self.error: DiffusionError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self.world.write(
            *(MembersJoined(room, tuple(self.users), 0, NOW_MS) for room in self.rooms)
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with WriteProducer(self.world.system.settings.kafka.bootstrap_servers) as producer:
                for number in itertools.count():
                    room = self.rooms[number % len(self.rooms)]
                    seq = number // len(self.rooms) + 1
                    sender = self.users[number % READERS]
                    reader = self.readers[number % READERS]
                    message = Message(room, seq, sender, NOW_MS + seq)
                    for event in (message, Read(reader, room, seq)):
                        producer.send(event)
                        self.world.oracle.apply(event)
                        self.written += 1
                    self.reads += 1
                    if self._stop.wait(2 / WRITES_PER_SECOND):
                        return
        except DiffusionError as error:  # told by the test, in its own thread
            self.error = error
