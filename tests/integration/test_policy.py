"""The policy on real servers: a huge group becomes busy, is read, and comes back without a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from diffusion import explain
from diffusion.demo import own_servers
from diffusion.local import managed
from diffusion.system import System, running
from infra.settings import PolicySettings, Settings
from schemas import ids
from schemas.events import MembersJoined, Message
from sdk.backend import WriteProducer
from tests.integration.support import NOW_MS, World

MEMBERS = 5_000
MESSAGES_PER_SECOND = 20

POLICY = PolicySettings(
    # Members who sync every five seconds: what takes an hour by default takes twenty seconds here.
    sync_rate_per_hour=720,
    dwell_seconds=2,
    sweep_seconds=1,
)

PATIENCE_S = 120.0


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[System]:
    settings = own_servers(Settings(policy=POLICY), tmp_path / "servers")
    local = managed(settings)
    assert local is not None
    local.up()
    try:
        with running(
            settings, logs=tmp_path, stream_workers=2, materializers=1, report=print
        ) as system:
            yield system
    finally:
        local.down()


class Group:
    """A group that somebody writes to at a steady rate."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.id = ids.group("plaza")
        self.members = [f"user-{number:04}" for number in range(MEMBERS)]
        self._seqs = count(1)
        self.sent = 0

    def found(self) -> None:
        joins = [
            MembersJoined(self.id, tuple(self.members[start : start + 1_000]), 0, NOW_MS)
            for start in range(0, MEMBERS, 1_000)
        ]
        self.world.write(*joins)

    def mode(self) -> str:
        return explain.run(self.world.system.settings, self.id).mode

    def talk(self, seconds: float) -> None:
        """Write for so long, at the rate; the pace is the clock's, not the machine's."""
        with WriteProducer(self.world.system.settings.kafka.bootstrap_servers) as producer:
            started = time.monotonic()
            for number in range(int(seconds * MESSAGES_PER_SECOND)):
                seq = next(self._seqs)
                sender = self.members[seq % 10]
                event = Message(self.id, seq, sender, NOW_MS + seq)
                producer.send(event)
                self.world.oracle.apply(event)
                self.sent += 1
                due = started + (number + 1) / MESSAGES_PER_SECOND
                time.sleep(max(0.0, due - time.monotonic()))


def until(condition: Callable[[], bool], what: str, between: Callable[[], None]) -> float:
    """Wait for a condition, doing something between two looks; seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE_S, what
        between()
    return time.monotonic() - started


def marks(system: System, kind: str) -> float:
    return system.processes.counted("diffusion_stream_marks_total", {"kind": kind})


def test_a_huge_group_is_read_while_it_is_busy_and_comes_back_by_itself(busy: System) -> None:
    world = World(busy)
    group = Group(world)
    group.found()
    watched = [group.members[number] for number in (0, 17, 4_999)]
    with ExitStack() as stack:
        devices = {user: stack.enter_context(world.device(user)) for user in watched}

        def everybody_agrees() -> None:
            for user, device in devices.items():
                device.sync()
                assert world.differences(device, user) == [], user

        everybody_agrees()
        assert group.mode() == "write"
        until(lambda: group.mode() == "read", "the group goes to READ", lambda: group.talk(1))
        busy.wait_quiet()
        everybody_agrees()

        before = {kind: marks(busy, kind) for kind in ("message", "state", "read")}
        already = group.sent
        for _ in range(5):
            group.talk(1)
            busy.wait_quiet()
            everybody_agrees()
        written = {kind: marks(busy, kind) - before[kind] for kind in before}
        messages = group.sent - already
        print(f"read: {messages} messages to {MEMBERS} members, marks {written}")
        # Nobody is told of a message but by the head; that the sender has read it is his alone.
        assert written == {"message": 0, "state": 0, "read": messages}

        waited_s = until(
            lambda: group.mode() == "write",
            "the group returns without a message",
            lambda: time.sleep(0.5),
        )
        print(f"returned {waited_s:.0f} s after the last message")
        busy.wait_quiet()
        everybody_agrees()

        before_message = marks(busy, "message")
        group.talk(1 / MESSAGES_PER_SECOND)
        busy.wait_quiet()
        for user, device in devices.items():
            report = device.sync()
            assert (report.path, report.reason, report.enqueued) == ("delta", None, 1)
            assert world.differences(device, user) == []
        assert marks(busy, "message") - before_message == MEMBERS
    # Devices that were never there agree too, whoever's they are.
    assert world.fresh_differences(group.members[:5] + group.members[-5:]) == []
