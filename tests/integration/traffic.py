"""Load for whoever watches: a backend that writes, and devices that come and ask, until it is ended."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffusion.system import System
from schemas import ids
from schemas.events import MembersJoined, Message, Read, WriteEvent
from schemas.limits import ROOT_BYTES
from sdk.backend import WriteProducer
from sdk.client import SyncClient
from tests.integration.conftest import MEMBERS_MAX
from tests.integration.test_connect import phone

USERS = 60
GROUPS = (8, 12, 20, 25, 30, MEMBERS_MAX - 2, MEMBERS_MAX + 12)
"""Sizes; the last is too large to be diffused."""

EVENTS_PER_S = 400
WAVE_S = 40
"""The rate goes up and down by a half, as it would over a day, only faster."""

STEP_S = 0.1
DEVICES = 6


class Traffic:
    """One world of its own: users, chats of two, and groups."""

    def __init__(self, system: System, unique: Callable[[str], str], seed: int = 1) -> None:
        self._system = system
        self._random = random.Random(seed)
        self._users = [unique(f"user{number:02}") for number in range(USERS)]
        self._groups = {
            ids.group(unique(f"group{size}")): tuple(self._random.sample(self._users, size))
            for size in GROUPS
        }
        self._quiet = unique("quiet")
        self._quiet_group = ids.group(unique("quiet-group"))
        self._last: Counter[str] = Counter()
        self._ended = threading.Event()
        self._failed: list[BaseException] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write and sync meanwhile; an error of either is raised at the end."""
        work = [self._write, self._connected, *([self._devices] * DEVICES)]
        threads = [threading.Thread(target=self._guarded, args=(one,)) for one in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
        if self._failed:
            raise self._failed[0]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised where the load is ended
            self._failed.append(error)

    def _write(self) -> None:
        with WriteProducer(self._system.settings.kafka.bootstrap_servers) as producer:
            producer.send(MembersJoined(self._quiet_group, (self._quiet,), 0, _now_ms()))
            for group, members in self._groups.items():
                producer.send(MembersJoined(group, members, 0, _now_ms()))
            while not self._ended.wait(STEP_S):
                wave = 1 + 0.5 * math.sin(time.monotonic() * 2 * math.pi / WAVE_S)
                for _ in range(round(EVENTS_PER_S * STEP_S * wave)):
                    producer.send(self._event())

    def _event(self) -> WriteEvent:
        draw = self._random
        if draw.random() < 0.25 and self._last:
            chat = draw.choice(list(self._last))
            reader = draw.choice(self._groups.get(chat) or self._users)
            return Read(reader, chat, self._last[chat])
        if draw.random() < 0.6:
            first, second = draw.sample(self._users, 2)
            chat, members = ids.one_to_one(first, second), (first, second)
            self._last[chat] += 1
            return Message(chat, self._last[chat], first, _now_ms(), members)
        group = draw.choice(list(self._groups))
        self._last[group] += 1
        return Message(group, self._last[group], draw.choice(self._groups[group]), _now_ms())

    def _devices(self) -> None:
        """Devices that ask again and again, and now and then a new one."""
        draw = random.Random(threading.get_ident())
        while not self._ended.is_set():
            user = draw.choice(self._users)
            with SyncClient(
                self._system.url,
                user_id=user,
                device_id="test",
                token=self._system.token(user),
                store=":memory:",
            ) as client:
                for _ in range(draw.randint(5, 25)):
                    client.sync()
                    if self._ended.wait(draw.uniform(0.05, 0.4)):
                        return

    def _connected(self) -> None:
        """Two on connections: one who is told of much, and one of nothing, but who holds something
        wrong: his digest is that of no conversations.
        """
        with phone(self._system, self._users[0]) as busy, phone(self._system, self._quiet) as wrong:
            while not self._ended.wait(0.4):
                busy.sync()
                wrong.sync()
                wrong.sync(root=bytes(ROOT_BYTES))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
