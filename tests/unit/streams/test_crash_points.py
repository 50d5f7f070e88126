"""Crashes at every write and every record of a scripted course, and the interleavings that once lost
something, each by name.
"""

from __future__ import annotations

from typing import Any

import pytest

from diffusion.oracle import Oracle, compare
from schemas.events import ConversationSettings, MembersJoined, MembersLeft, Message, Read
from schemas.heads import Mode
from streams.activity import Costs
from streams.policy import Rules
from tests.unit.streams.support import GROUP, WINDOW_MS, ordinary, sizes
from tests.unit.streams.world import Device, World

HOUR_MS = 3_600_000
USERS = ("ann", "bob", "cid", "dee")
RULES = sizes(3, 1)


class Course:
    """A world, its oracle, and devices that check themselves."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.world = World(rules)
        self.oracle = Oracle()
        self.devices = {user: Device(user) for user in USERS}

    def write(self, *events: Any) -> None:
        self.oracle.replay(events)
        self.world.write(*events)

    def finish(self, *, commit: bool = True) -> None:
        self.world.settle()
        if commit:
            self.world.commit(self.world.conversations)
            self.world.commit(self.world.users)

    def kill(self) -> None:
        """The worker dies after its effects and before its offsets are committed."""
        self.world.conversations.worker = None

    def later(self, ms: int = HOUR_MS) -> None:
        self.world.now_ms += ms

    def sync(self) -> None:
        for device in self.devices.values():
            while self.world.sync(device):
                pass

    def check(self) -> None:
        """Everything done, every device and a fresh one has what the oracle says."""
        self.finish()
        self.later(2_000)
        self.sync()
        for user in USERS:
            fresh = Device(user)
            while self.world.sync(fresh):
                pass
            for device in (self.devices[user], fresh):
                expected = self.oracle.states(user)
                assert [str(one) for one in compare(expected, device.states)] == []

    def message(self, seq: int, sender: str = "ann") -> Message:
        return Message(GROUP, seq, sender, self.world.now_ms)

    def joined(self, *users: str, seq: int = 0) -> MembersJoined:
        return MembersJoined(GROUP, users, seq, self.world.now_ms)

    def left(self, *users: str, seq: int = 0) -> MembersLeft:
        return MembersLeft(GROUP, users, seq, self.world.now_ms, "quit")

    def mode(self) -> Mode:
        return Mode(self.world.cells.table("conversation_heads")[GROUP,].get("mode", 0))


def override(how: Any) -> ConversationSettings:
    return ConversationSettings(GROUP, how)


def course_of_everything(course: Course) -> list[Any]:
    """Joins, messages, both switches, a leave: one batch."""
    return [
        course.joined("ann", "bob"),
        course.message(1),
        override("always_read"),
        course.message(2, "bob"),
        course.joined("cid", seq=2),
        course.left("bob", seq=2),
        course.message(3),
        override("always_write"),
        course.message(4, "cid"),
    ]


@pytest.mark.parametrize("where", ["cells", "link"])
@pytest.mark.parametrize("after", range(14))
@pytest.mark.parametrize("batch", [1, 4, 9])
def test_a_worker_killed_anywhere_loses_nothing(where: str, after: int, batch: int) -> None:
    course = Course()
    course.write(*course_of_everything(course))
    for _ in range(4):  # the same place of every batch, until there is none
        course.world.step(course.world.conversations, batch, (where, after))
        course.sync()
    course.check()


@pytest.mark.parametrize("before", [Mode.WRITE, Mode.READ])
@pytest.mark.parametrize("where", ["cells", "link", "zombie"])
@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("synced", [True, False])
def test_a_switch_killed_anywhere_loses_no_message(
    before: Mode, where: str, after: int, synced: bool
) -> None:
    there, back = "always_read", "always_write"
    course = Course()
    course.write(course.joined("ann", "bob", "cid"))
    if before is Mode.READ:
        there, back = back, there
        course.write(override(back))
    course.finish()
    assert course.mode() is before
    course.sync()
    course.later()
    course.write(course.message(1), override(there), course.message(2))
    course.world.step(course.world.conversations, 3, (where, after))
    if synced:
        course.finish()
        course.sync()
    course.later()
    course.write(course.message(3, "bob"))
    course.check()
    course.later()
    course.write(override(back), course.message(4, "cid"))
    course.check()


def test_a_replay_that_switches_at_an_older_event_still_puts_members_on_the_read_side() -> None:
    """The batch [read, write, read] on a READ conversation returns it (fence at the second event)
    and is then replayed on a WRITE one, which leaves at the first. Were fences ordered by the event
    they come from, the older "out" would stand above the newer "in", and nobody would look.
    """
    course = Course()
    course.write(course.joined("ann", "bob"), override("always_read"))
    course.finish()
    course.sync()
    course.later()
    course.write(override("always_read"), override("always_write"), override("always_read"))
    course.finish(commit=False)
    assert course.mode() is Mode.WRITE
    course.kill()
    course.finish()
    assert course.mode() is Mode.READ
    course.later()
    course.sync()
    course.later()
    course.write(course.message(1, "bob"))
    course.check()


def test_a_replay_whose_sizes_take_another_way_still_puts_members_on_the_read_side() -> None:
    """Sizes depend on the way: replayed on the members of later, the group passes `members_max` and
    stays between the bounds, where it had returned the first time.
    """
    crowd = [f"user{n}" for n in range(8)]
    course = Course(sizes(8, 4))
    course.write(course.joined("ann", "bob", "cid", "dee", *crowd[:6]))  # 10: READ
    course.write(course.left(*crowd[:4]))  # 6: stays READ
    course.finish()
    assert course.mode() is Mode.READ
    course.later()
    course.sync()
    course.write(course.joined(*crowd[:4]))  # 10
    course.finish(commit=False)
    course.write(course.left(*crowd[:6]))  # 4: WRITE
    course.finish(commit=False)
    assert course.mode() is Mode.WRITE
    course.write(course.joined(*crowd[6:]))  # 6
    course.finish(commit=False)
    course.kill()
    for _ in range(3):
        course.world.step(course.world.conversations, 1)
    course.finish()
    assert course.mode() is Mode.READ, "else this test shows nothing"
    course.later()
    course.sync()
    course.later()
    course.write(course.message(1, "bob"))
    course.check()


def test_a_marker_of_somebody_who_never_belonged_shows_him_nothing() -> None:
    course = Course()
    course.write(course.joined("bob"), course.message(5, "bob"))
    course.sync()
    course.write(Read("ann", GROUP, 3))
    course.check()
    assert course.devices["ann"].states == {}


def test_a_marker_before_the_join_counts_from_the_join_on() -> None:
    """The two write topics have no order between them."""
    course = Course()
    course.write(course.joined("bob"), course.message(1, "bob"), Read("ann", GROUP, 1))
    course.finish()
    course.sync()
    course.write(course.joined("ann", seq=1))
    course.check()
    assert course.devices["ann"].states[GROUP].read_seq == 1


def test_a_broker_whose_clock_is_behind_hides_no_change() -> None:
    """The next change of a user may lie in the window before that of his cursor."""
    course = Course()
    course.write(course.joined("ann", "bob"), course.message(1))
    course.finish()
    course.sync()
    course.world.skew_ms = -30_000
    course.write(course.message(2))
    course.check()


def test_a_materializer_that_lagged_for_hours_hides_no_change() -> None:
    """A row lives from when it was written, into the window of when its record was appended."""
    course = Course()
    course.write(course.joined("ann", "bob"), course.message(1))
    course.finish()
    course.sync()
    course.later()
    course.write(course.message(2))
    while course.world.step(course.world.conversations, 9):
        pass
    course.later(10 * HOUR_MS)  # nothing is materialized meanwhile
    course.sync()
    course.later(165 * HOUR_MS)
    course.check()
    assert {len(device.resets) for device in course.devices.values()} == {1}


def test_a_replaced_worker_and_its_successor_decide_alike_on_what_was_counted_in_the_window() -> (
    None
):
    """The replaced one held the conversation since the window's first message; the successor reads
    it anew. Did he count the next message as another row, he would stay in READ where the other
    returned: the late fence takes everybody out of the read side, and nobody looks any more.
    """
    look = Costs(
        row_cost=1.0, mark_cost=0.05, check_cost=1.0, sync_rate=0.0016, window_ms=WINDOW_MS
    )
    course = Course(ordinary(small_members=1, dwell_s=0, costs=look))
    course.write(course.joined("ann", "bob", "cid"), override("always_read"))
    course.finish()
    course.write(course.message(1))
    course.finish()
    course.sync()
    course.later(4 * WINDOW_MS)
    course.write(course.message(2))
    course.finish()  # owes now less than a switch and a row of each member, but more than a switch
    course.later(1_000)
    course.write(course.message(3), override("auto"))
    course.world.step(course.world.conversations, 9, ("zombie", 0))
    course.world.step(course.world.conversations, 9)
    course.world.zombie(None)
    assert course.mode() is Mode.WRITE, "else this test shows nothing"
    course.finish()
    course.sync()
    course.later()
    course.write(course.message(4, "bob"))
    course.check()
