"""From a write to a device, on real Kafka and Cassandra."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path

from diffusion import verify
from diffusion.system import System
from diffusion.trace import read_trace
from diffusion.workload import workload
from infra.kafka.admin import Admin
from schemas import ids
from schemas.events import (
    ConversationDeleted,
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    UserConversationSettings,
)
from schemas.topics import CHANGES, WRITE_TOPICS
from sdk.backend import WriteProducer
from sdk.client import SyncClient
from tests.integration.conftest import MEMBERS_MAX, MEMBERS_RETURN
from tests.integration.support import NOW_MS, World

DATA = Path(__file__).parents[1] / "data"

Unique = Callable[[str], str]


def message(conversation: str, seq: int, sender: str, *members: str) -> Message:
    return Message(conversation, seq, sender, NOW_MS + seq, members or None)


def test_a_message_reaches_both_sides_and_a_read_marker_only_the_reader(
    system: System, unique: Unique
) -> None:
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    with world.device(ann) as phone, world.device(bob) as other:
        assert phone.sync().path == "full"
        other.sync()
        world.write(message(chat, 1, ann, ann, bob), message(chat, 2, ann, ann, bob))
        assert phone.sync().path == "delta"
        assert other.sync().path == "delta"
        assert (phone.unread_total(), other.unread_total()) == (0, 2)
        world.write(Read(bob, chat, 2))
        assert phone.sync().path == "nothing"
        report = other.sync()
        assert (report.path, report.entries, other.unread_total()) == ("delta", 1, 0)
        assert world.differences(phone, ann) == world.differences(other, bob) == []


def test_settings_and_modules_reach_every_device_of_their_user(
    system: System, unique: Unique
) -> None:
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    with world.device(ann) as phone, world.device(ann) as tablet:
        phone.sync()
        world.write(
            message(chat, 1, bob, ann, bob),
            UserConversationSettings(ann, chat, pinned=True),
            UserConversationSettings(ann, chat, muted=True),
            UserConversationSettings(ann, chat, pinned=False),
            ModuleChanged(ann, "friends", bob, "insert", 7),
        )
        phone.sync()
        tablet.sync()
        for device in (phone, tablet):
            view = device.conversation(chat)
            assert view is not None
            assert (view.pinned, view.muted, view.unread) == (False, True, 1)
            assert world.differences(device, ann) == []
        items = [(item.op, item.item_id) for item in phone.pending_items()]
        # The full correction of the new device asked for a refresh of all modules first.
        assert items == [("refresh", ""), ("insert", bob)]


def test_a_deleted_conversation_returns_only_by_a_newer_message(
    system: System, unique: Unique
) -> None:
    world, ann, bob = World(system), unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    with world.device(ann) as phone:
        world.write(message(chat, 1, bob, ann, bob), ConversationDeleted(ann, chat, 1, NOW_MS + 5))
        phone.sync()
        assert phone.conversations() == []
        # The backend repeats an old message: nothing may come back by it.
        world.write(message(chat, 1, bob, ann, bob))
        phone.sync()
        assert phone.conversations() == []
        world.write(message(chat, 2, bob, ann, bob))
        phone.sync()
        assert [view.conversation_id for view in phone.conversations()] == [chat]
        assert world.differences(phone, ann) == []


def test_a_group_that_outgrows_the_policy_and_comes_back_loses_nothing(
    system: System, unique: Unique
) -> None:
    world, room = World(system), ids.group(unique("room"))
    users = [unique(f"u{number:02}") for number in range(MEMBERS_MAX + 5)]
    founders, late = users[: MEMBERS_MAX - 2], users[MEMBERS_MAX - 2 :]
    world.write(MembersJoined(room, tuple(founders), 0, NOW_MS), message(room, 1, founders[0]))
    away, watching = users[1], users[2]
    with world.device(away) as sleeper, world.device(watching) as phone:
        sleeper.sync()
        phone.sync()
        # In one batch: messages before, in and after the switch to the read side.
        world.write(
            message(room, 2, founders[0]),
            MembersJoined(room, tuple(late), 2, NOW_MS + 2),
            message(room, 3, late[0]),
        )
        phone.sync()
        assert world.differences(phone, watching) == []
        world.write(message(room, 4, founders[3]))
        phone.sync()
        assert world.differences(phone, watching) == []
        leavers = tuple(users[MEMBERS_RETURN - 1 :])
        world.write(MembersLeft(room, leavers, 4, NOW_MS + 4, "kick"), message(room, 5, users[4]))
        phone.sync()
        assert world.differences(phone, watching) == []
        world.write(message(room, 6, users[4]))
        phone.sync()
        sleeper.sync()
        assert world.differences(phone, watching) == []
        assert world.differences(sleeper, away) == []
    assert world.fresh_differences(users) == []


def test_an_override_switches_both_ways(system: System, unique: Unique) -> None:
    world, room = World(system), ids.group(unique("room"))
    ann, bob = unique("ann"), unique("bob")
    with world.device(bob) as phone:
        phone.sync()
        world.write(MembersJoined(room, (ann, bob), 0, NOW_MS), message(room, 1, ann))
        world.write(ConversationSettings(room, "always_read"))
        phone.sync()
        world.write(message(room, 2, ann))
        assert phone.sync().entries == 1
        assert world.differences(phone, bob) == []
        world.write(ConversationSettings(room, "auto"), message(room, 3, ann))
        phone.sync()
        assert world.differences(phone, bob) == []
    assert world.fresh_differences([ann, bob]) == []


def test_processes_killed_in_the_middle_of_a_replay_lose_nothing(system: System) -> None:
    """Both stages are killed with SIGKILL while writes go on; every user ends as the oracle says."""
    world = World(system)
    private = workload(islice(read_trace(DATA / "private_messages.csv.gz"), 6_000), seed=7)
    groups = workload(islice(read_trace(DATA / "group_messages.csv.gz"), 3_000), seed=7, groups=2)
    events = list(chain(private, groups))
    slices = [
        events[start : start + len(events) // 10 + 1]
        for start in range(0, len(events), len(events) // 10 + 1)
    ]
    victims = {2: "stream-worker-1", 3: "materializer-1", 5: "stream-worker-2", 6: "materializer-2"}
    restarts = system.processes.restarts()
    kafka, admin = system.settings.kafka, Admin(system.settings.kafka)
    lagging = {
        "s": (kafka.stream_group, [topic.name for topic in WRITE_TOPICS]),
        "m": (kafka.materializer_group, [CHANGES.name]),
    }
    devices: dict[str, SyncClient] = {}
    with WriteProducer(system.settings.kafka.bootstrap_servers) as producer:
        for number, some in enumerate(slices):
            victim = victims.get(number)
            for place, timed in enumerate(some):
                producer.send(timed.event)
                world.oracle.apply(timed.event)
                if victim is None or place % 25:
                    continue
                # Killed between two writes, at a moment when its stage has work to do.
                producer.flush()
                if admin.lag(*lagging[victim[0]]) > 0:
                    system.processes.kill(victim)
                    victim = None
            assert victim is None, f"{victim} was never seen behind"
            producer.flush()
            time.sleep(0.5)
            if number == 4:
                for user_id in list(world.oracle.users())[:40]:
                    devices[user_id] = SyncClient(
                        system.url,
                        user_id=user_id,
                        device_id="away",
                        token=system.token(user_id),
                        store=":memory:",
                    )
                    devices[user_id].sync()
    system.wait_quiet()
    assert system.processes.restarts() >= restarts + len(victims)
    for user_id, device in devices.items():
        device.sync()
        assert world.differences(device, user_id) == [], user_id
        device.close()
    verdict = verify.fresh_devices(system, world.oracle, sorted(world.oracle.users()))
    assert verdict.differences == []
    assert verdict.converged == verdict.checked > 700
