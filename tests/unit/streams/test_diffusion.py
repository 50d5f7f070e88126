"""Diffusion: what each event tells whom, in what order, and what a batch leaves behind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.changes import (
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.codec import encode_change
from schemas.conversations import NO_CAP
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    Reconsider,
    UserConversationSettings,
)
from schemas.heads import Activity, Mode, ModeReason
from schemas.limits import SEQ_MAX, USERS_PER_CHANGE_MAX
from schemas.partitioner import partition_of
from schemas.versions import stamp_of, version_of
from streams import policy
from streams.diffusion import Diffusion, needs_members
from streams.effects import Effects
from streams.policy import WRITE_MEMBERS_MAX, Rules
from tests.unit.streams.support import (
    COSTS,
    GROUP,
    PARTITIONS,
    RULES,
    T0,
    conversation,
    diffuse,
    lively,
    ordinary,
    sizes,
    stamp,
    told,
)

TRIO = ("ann", "bob", "cid")
MEMBER = Membership(member=True, user_max_seq=NO_CAP, at_ms=T0)
WIDE = sizes(10_000, 9_999)
ORDINARY = ordinary()


def message(seq: int, sender: str = "ann", members: tuple[str, ...] | None = None) -> Message:
    return Message(GROUP, seq, sender, T0 + seq, members)


def joined(*users: str, seq: int = 0, history: bool = True) -> MembersJoined:
    return MembersJoined(GROUP, users, seq, T0, history)


def left(*users: str, seq: int = 0) -> MembersLeft:
    return MembersLeft(GROUP, users, seq, T0, "quit")


def own(event: Any, at: int = 1) -> tuple[int, Any]:
    """The one change of a user-keyed event, and its partition."""
    diffusion = Diffusion({}, PARTITIONS, RULES)
    diffusion.user_event(event, stamp(at))
    (found,) = diffusion.finish().changes
    return found


# Messages.


def test_a_message_is_told_to_every_member_once() -> None:
    effects = diffuse(conversation(TRIO), [message(1)])
    assert sorted(told(effects, MessageChange)) == sorted(TRIO)
    assert all(len(changes) == 1 for changes in told(effects, MessageChange).values())


def test_a_message_raises_the_head_whatever_the_mode() -> None:
    for mode in Mode:
        effects = diffuse(conversation(TRIO, mode=mode, mode_epoch=int(mode)), [message(7)])
        assert effects.messages == {GROUP: (7, T0 + 7)}


def test_the_sender_is_named_only_in_the_record_of_his_partition() -> None:
    users = [f"user{n}" for n in range(40)]
    effects = diffuse(conversation(users), [message(1, "user7")], WIDE)
    named = [change.users for _, change in effects.changes if change.sender_id is not None]
    assert len(named) == 1
    assert "user7" in named[0]


def test_a_sender_who_is_no_member_is_told_nothing_and_named_nowhere() -> None:
    effects = diffuse(conversation(TRIO), [message(1, "robot")])
    assert "robot" not in told(effects, MessageChange)
    assert all(change.sender_id is None for _, change in effects.changes)


@pytest.mark.parametrize("mode", Mode)
def test_a_message_that_comes_behind_its_senders_leave_is_read_by_him_all_the_same(
    mode: Mode,
) -> None:
    """In every mode: that the members are not known in one of them must show nowhere."""
    held = conversation(TRIO, mode=mode, mode_epoch=int(mode))
    effects = diffuse(held, [left("ann", seq=2), message(2, "ann")])
    assert told(effects, ReadChange)["ann"] == [ReadChange(GROUP, ("ann",), 2)]
    assert "ann" not in told(effects, MessageChange)


def test_a_message_of_a_conversation_without_members_is_its_head_only() -> None:
    effects = diffuse(conversation(()), [message(1)])
    assert effects.changes == []
    assert effects.messages == {GROUP: (1, T0 + 1)}


def test_messages_together_are_told_as_the_last_and_each_sender_has_read_his_own() -> None:
    sent = [message(5, "ann"), message(3, "bob"), message(4, "bob"), message(2, "robot")]
    effects = diffuse(conversation(TRIO), sent)
    assert effects.messages == {GROUP: (5, T0 + 5)}
    for user in TRIO:
        (change,) = told(effects, MessageChange)[user]
        assert (change.max_seq, change.active_at_ms) == (5, T0 + 5)
    senders = {
        change.sender_id for _, change in effects.changes if isinstance(change, MessageChange)
    }
    assert senders - {None} == {"ann"}
    reads = told(effects, ReadChange)
    assert {user: [one.read_seq for one in found] for user, found in reads.items()} == {"bob": [4]}
    assert effects.folded_marks == 3 * len(TRIO)


def test_who_joins_or_leaves_between_two_messages_is_told_of_those_of_his_time() -> None:
    effects = diffuse(
        conversation(TRIO),
        [message(1), left("bob", seq=1), message(2), joined("eve", seq=2), message(3)],
    )
    told_to = {
        user: [change.max_seq for change in found]
        for user, found in told(effects, MessageChange).items()
    }
    assert told_to["bob"] == [1]
    assert told_to["eve"] == [3]
    assert told_to["ann"] == [1, 2, 3]


def test_an_old_message_leaves_the_head_alone() -> None:
    effects = diffuse(conversation(TRIO, max_seq=9), [message(8)])
    assert effects.messages == {}


def test_a_replay_writes_the_head_again() -> None:
    """The write before the crash may have reached one replica only; and on the read side a head is
    news by the time of its last write.
    """
    effects = diffuse(conversation(None, max_seq=9, mode=Mode.READ, mode_epoch=2), [message(9)])
    assert effects.messages == {GROUP: (9, T0 + 9)}


def test_a_change_names_at_most_so_many_users_and_only_of_its_partition() -> None:
    users = [f"user{n:05}" for n in range(USERS_PER_CHANGE_MAX * 2 + 10)]
    effects = diffuse(conversation(users), [message(1)], WIDE, partitions=1)
    sizes = [len(change.users) for _, change in effects.changes]
    assert sizes == [USERS_PER_CHANGE_MAX, USERS_PER_CHANGE_MAX, 10]
    assert sorted(told(effects, MessageChange)) == users


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=60), st.integers(1, 7))
def test_users_are_told_in_their_own_partition(users: set[str], partitions: int) -> None:
    effects = diffuse(conversation(sorted(users)), [message(1)], WIDE, partitions)
    for partition, change in effects.changes:
        assert {partition_of(user, partitions) for user in change.users} == {partition}
    assert len(effects.changes) <= partitions, "at most one record a partition"
    assert set(told(effects, MessageChange)) == users


# One-to-one.


def test_a_message_admits_whom_it_names_and_tells_them_of_it() -> None:
    effects = diffuse(conversation(()), [message(1, "ann", ("ann", "bob"))])
    for user in ("ann", "bob"):
        state, heard = told(effects, StateChange)[user][0], told(effects, MessageChange)[user][0]
        assert state.membership == Membership(member=True, user_max_seq=NO_CAP, at_ms=T0 + 1)
        place = [change for _, change in effects.changes if user in change.users]
        assert place == [state, heard], "who is told of a message knows the conversation by then"
    assert set(effects.members) == {(GROUP, "ann"), (GROUP, "bob")}
    assert effects.counts == {GROUP: (2, stamp(1))}


def test_known_sides_are_not_admitted_again() -> None:
    effects = diffuse(conversation(("ann", "bob")), [message(1, "ann", ("ann", "bob"))])
    assert told(effects, StateChange) == {}
    assert effects.members == {}


def test_who_left_is_not_brought_back_by_an_old_message() -> None:
    """The backend repeats what it said before the leave: nothing may resurrect by it."""
    course = [message(1, "ann", ("ann", "bob")), left("bob", seq=1)]
    again = message(1, "ann", ("ann", "bob"))
    effects = diffuse(conversation(()), [*course, again])
    assert told(effects, StateChange)["bob"][-1].membership == Membership(
        member=False, user_max_seq=1, at_ms=T0
    )
    assert effects.members[GROUP, "bob"][0] is False
    back = diffuse(conversation(()), [*course, again, joined("bob", seq=1)])
    assert back.members[GROUP, "bob"][0] is True


def test_only_the_stranger_is_admitted() -> None:
    effects = diffuse(conversation(("ann",)), [message(1, "ann", ("ann", "bob"))])
    assert set(told(effects, StateChange)) == {"bob"}


# Membership.


def test_who_joins_is_a_member_and_sees_the_history() -> None:
    state = told(diffuse(conversation(TRIO), [joined("dee", seq=4)]), StateChange)["dee"][0]
    assert state.membership == MEMBER
    assert state.min_seq is None
    assert state.stamp == stamp(1)


def test_who_joins_without_history_begins_after_the_last_message() -> None:
    effects = diffuse(conversation(TRIO), [joined("dee", seq=4, history=False)])
    assert told(effects, StateChange)["dee"][0].min_seq == 5


def test_no_sequence_follows_the_last_one() -> None:
    effects = diffuse(conversation(TRIO), [joined("dee", seq=SEQ_MAX, history=False)])
    assert told(effects, StateChange)["dee"][0].min_seq == SEQ_MAX


def test_what_grows_above_the_hard_bound_while_it_leaves_is_told_by_its_head_alone() -> None:
    crowd = [f"u{number:05}" for number in range(WRITE_MEMBERS_MAX)]
    rules = sizes(WRITE_MEMBERS_MAX, WRITE_MEMBERS_MAX - 1)
    events = [message(1, sender=crowd[0]), joined("late"), message(2, sender=crowd[0]),
              joined("later"), message(3, sender="late")]  # fmt: skip
    group = conversation(crowd)
    effects = diffuse(group, events, rules)
    assert effects.closed[GROUP].mode is Mode.READ
    messages = told(effects, MessageChange)
    assert {change.max_seq for changes in messages.values() for change in changes} == {1}
    assert set(messages) == set(crowd)
    assert effects.messages[GROUP][0] == 3, "the head tells it"
    sides = told(effects, StateChange)
    assert all(sides[user][-1].read_side for user in (*crowd, "late", "later")), (
        "and all look at it"
    )
    reads = told(effects, ReadChange)
    assert [one.read_seq for one in reads[crowd[0]]] == [2]
    assert [one.read_seq for one in reads["late"]] == [3]


def test_joining_is_told_to_nobody_else() -> None:
    assert set(told(diffuse(conversation(TRIO), [joined("dee")]), StateChange)) == {"dee"}


def test_leaving_caps_what_is_seen_and_ends_the_diffusion() -> None:
    effects = diffuse(conversation(TRIO), [message(4), left("bob", seq=4), message(5)])
    (state,) = told(effects, StateChange)["bob"]
    assert state.membership == Membership(member=False, user_max_seq=4, at_ms=T0)
    assert [change.max_seq for change in told(effects, MessageChange)["bob"]] == [4]
    assert effects.members == {(GROUP, "bob"): (False, stamp(2))}
    assert effects.counts == {GROUP: (2, stamp(2))}


def test_who_comes_back_hears_again_and_has_no_cap() -> None:
    effects = diffuse(
        conversation(TRIO), [left("bob", seq=4), message(5), joined("bob", seq=5), message(6)]
    )
    assert told(effects, StateChange)["bob"][-1].membership == MEMBER
    assert [change.max_seq for change in told(effects, MessageChange)["bob"]] == [6]
    assert effects.members == {(GROUP, "bob"): (True, stamp(3))}


def test_a_user_named_twice_is_told_once() -> None:
    effects = diffuse(conversation(TRIO), [joined("dee", "dee")])
    assert len(told(effects, StateChange)["dee"]) == 1


# The read side.


def test_a_read_conversation_diffuses_nothing_but_the_senders_own_marker() -> None:
    effects = diffuse(conversation(None, mode=Mode.READ, mode_epoch=2), [message(7, "bob")])
    assert [change for _, change in effects.changes] == [ReadChange(GROUP, ("bob",), 7)]


def test_saved_marks_count_the_others() -> None:
    read = conversation(None, mode=Mode.READ, mode_epoch=2)
    read.head = conversation(TRIO, mode=Mode.READ, mode_epoch=2).head
    assert diffuse(read, [message(7), message(8)]).saved_marks == 4


@pytest.mark.parametrize("mode", Mode)
def test_who_joins_a_switched_conversation_learns_its_side(mode: Mode) -> None:
    events = [joined("dee")]
    effects = diffuse(conversation(TRIO, mode=mode, mode_epoch=4 + mode), events)
    state = told(effects, StateChange)["dee"][0]
    assert state.read_side is mode.on_read_side
    assert state.mode_epoch == 4 + mode


def test_who_joins_a_conversation_that_never_switched_needs_no_side() -> None:
    state = told(diffuse(conversation(TRIO), [joined("dee")]), StateChange)["dee"][0]
    assert state.read_side is None


@pytest.mark.parametrize("mode", Mode)
def test_who_leaves_a_switched_conversation_need_not_look_at_it(mode: Mode) -> None:
    effects = diffuse(conversation(TRIO, mode=mode, mode_epoch=4 + mode), [left("bob")])
    assert told(effects, StateChange)["bob"][0].read_side is False


def growing() -> list[Any]:
    """The second event is the one that makes the group too large."""
    return [message(1), joined("dee", "eve"), message(2), joined("fay", seq=2), left("bob", seq=2)]


def test_a_switch_is_opened_fenced_and_closed_in_one_batch() -> None:
    group = conversation(TRIO)
    effects = diffuse(group, growing())
    assert [head.mode for head in effects.opened] == [Mode.LEAVING]
    assert effects.closed[GROUP].mode is Mode.READ
    assert (group.head.mode, group.head.mode_epoch) == (Mode.READ, 2)


def test_events_behind_a_switch_in_the_same_batch_still_do_both() -> None:
    effects = diffuse(conversation(TRIO), growing())
    assert effects.messages[GROUP] == (2, T0 + 2)
    for user in (*TRIO, "dee", "eve"):
        assert told(effects, MessageChange)[user][-1].max_seq == 2


def test_every_member_at_the_switch_gets_the_fence() -> None:
    effects = diffuse(conversation(TRIO), growing())
    for user in ("ann", "cid", "dee", "eve"):
        (fence,) = [c for c in told(effects, StateChange)[user] if c.membership is None]
        assert (fence.read_side, fence.mode_epoch, fence.stamp) == (True, 1, stamp(2))


def test_who_joins_behind_the_switch_gets_the_side_and_who_leaves_loses_it() -> None:
    effects = diffuse(conversation(TRIO), growing())
    assert told(effects, StateChange)["fay"][0].read_side is True
    assert told(effects, StateChange)["bob"][-1].read_side is False


def test_the_way_back_takes_every_member_out_of_the_read_side() -> None:
    group = conversation(TRIO, mode=Mode.READ, mode_epoch=2, diffusion="always_read")
    effects = diffuse(group, [message(1), ConversationSettings(GROUP, "always_write"), message(2)])
    assert [head.mode for head in effects.opened] == [Mode.RETURNING]
    assert effects.closed[GROUP].mode is Mode.WRITE
    assert effects.overrides == {GROUP: ("always_write", stamp(2))}
    for user in TRIO:
        (fence,) = told(effects, StateChange)[user]
        assert (fence.read_side, fence.mode_epoch) == (False, 3)
        assert [change.max_seq for change in told(effects, MessageChange)[user]] == [2]


@pytest.mark.parametrize("mode", [Mode.LEAVING, Mode.RETURNING])
@pytest.mark.parametrize(
    "event",
    [
        message(1),
        joined("ann"),
        left("zoe"),
        ConversationSettings(GROUP, "auto"),
        Reconsider(GROUP),
    ],
)
def test_whoever_finds_an_unfinished_switch_finishes_it(mode: Mode, event: Any) -> None:
    group = conversation(TRIO, mode=mode, mode_epoch=int(mode))
    effects = diffuse(group, [event])
    assert effects.opened == [], "it is persisted already"
    assert effects.closed[GROUP].mode_epoch == mode + 1
    assert not effects.closed[GROUP].mode.name.endswith("ING")
    fenced = {
        user
        for user, changes in told(effects, StateChange).items()
        if any(c.read_side is mode.on_read_side and c.membership is None for c in changes)
    }
    assert fenced == set(TRIO)


def test_a_batch_switches_a_conversation_once() -> None:
    """A second fence would need the first to be closed, which happens when the batch is done."""
    flips = [ConversationSettings(GROUP, how) for how in ("always_read", "always_write") * 3]
    effects = diffuse(conversation(TRIO), flips)
    assert len(effects.opened) == 1
    assert effects.overrides == {GROUP: ("always_write", stamp(6))}


def test_a_fence_above_the_bound_is_split_like_a_message() -> None:
    users = [f"user{n:05}" for n in range(USERS_PER_CHANGE_MAX + 1)]
    group = conversation(users)
    effects = diffuse(group, [ConversationSettings(GROUP, "always_read")], WIDE, partitions=1)
    assert [len(change.users) for _, change in effects.changes] == [USERS_PER_CHANGE_MAX, 1]


# Decided anew, and what a switch is charged with.


def busy(mode: Mode, owed: float = 1.0) -> Any:
    """Ten members, and the present mode has cost `owed` switches."""
    users = [f"user{n}" for n in range(10)]
    activity = Activity(at_ms=T0, stamp=stamp(0), excess=COSTS.switch(10) * owed)
    epoch = {Mode.WRITE: 0, Mode.READ: 2}[mode]
    return conversation(
        users, mode=mode, mode_epoch=epoch, mode_reason=ModeReason.COST, activity=activity
    )


def test_what_is_reconsidered_returns_without_a_message() -> None:
    group = busy(Mode.READ)
    effects = diffuse(group, [Reconsider(GROUP)], ORDINARY)
    assert group.head.mode is Mode.WRITE
    assert [head.mode for head in effects.opened] == [Mode.RETURNING]
    assert set(told(effects, StateChange)) == group.members


def test_what_needs_no_switch_is_reconsidered_without_a_trace() -> None:
    for group in (busy(Mode.READ, 0.5), busy(Mode.WRITE, 0.5), conversation(())):
        assert diffuse(group, [Reconsider(GROUP)], ORDINARY) == Effects()


def test_a_message_of_a_read_conversation_brings_none_back() -> None:
    """Its members need not be known; the sweep finds what should return."""
    group = busy(Mode.READ, 9.0)
    group.members = None
    effects = diffuse(group, [message(1, "user1")], ORDINARY)
    assert group.head.mode is Mode.READ
    assert effects.opened == []
    assert effects.activities[GROUP].stamp == stamp(1)


def test_a_message_that_has_cost_a_switch_is_the_last_that_is_diffused_alone() -> None:
    group = busy(Mode.WRITE, 0.99)
    effects = diffuse(group, [message(1, "user1")], ORDINARY)
    assert (group.head.mode, group.head.mode_reason) == (Mode.READ, ModeReason.COST)
    assert set(told(effects, MessageChange)) == group.members
    assert set(told(effects, StateChange)) == group.members


@pytest.mark.parametrize("behind", [0, 1, 200])
def test_messages_behind_a_switch_in_its_batch_are_no_claim_for_the_way_back(behind: int) -> None:
    group = busy(Mode.WRITE, 0.99)
    effects = diffuse(group, [message(seq) for seq in range(1, 2 + behind)], ORDINARY)
    assert group.head.mode is Mode.READ
    assert group.head.activity.excess == pytest.approx(0, abs=1e-3)
    assert effects.activities[GROUP] == group.head.activity
    rested = policy.until(group.head, ORDINARY, T0 + 301_000)
    assert policy.switch(rested, 10, ORDINARY, stamp(999), T0 + 301_000) is None


def test_the_account_that_is_written_is_as_of_the_last_event_that_counted() -> None:
    group = busy(Mode.WRITE, 0.0)
    effects = diffuse(group, [message(1), message(2), joined("dee"), message(1)], ORDINARY)
    assert effects.activities == {GROUP: group.head.activity}
    assert group.head.activity.stamp == stamp(4), "an old message is a message too"


def test_a_replayed_message_is_told_again_and_counted_once() -> None:
    group = busy(Mode.WRITE, 0.0)
    diffuse(group, [message(1)], ORDINARY)
    counted = group.head.activity
    again = diffuse(group, [message(1)], ORDINARY)
    assert group.head.activity == counted
    assert again.activities == {}
    assert set(told(again, MessageChange)) == group.members


# How much an event may cost.

QUIET, EAGER = sizes(4, 2), lively()


def concerned(event: Any, members: set[str]) -> set[str]:
    """Whom an event is about."""
    match event:
        case Message():
            return members | {event.sender_id}
        case MembersJoined() | MembersLeft():
            return set(event.user_ids)
    return set()


@given(
    st.lists(
        st.one_of(
            st.builds(message, st.integers(1, 9), st.sampled_from([*TRIO, "robot"])),
            st.builds(lambda users: joined(*users), st.sets(st.sampled_from("abcd"), min_size=1)),
            st.builds(lambda users: left(*users), st.sets(st.sampled_from("abcd"), min_size=1)),
            st.builds(
                lambda how: ConversationSettings(GROUP, how),
                st.sampled_from(["auto", "always_write", "always_read"]),
            ),
            st.just(Reconsider(GROUP)),
        ),
        max_size=12,
    ),
    st.sampled_from(Mode),
    st.sampled_from([QUIET, EAGER]),
    st.integers(0, 600_000),
)
def test_an_event_tells_whom_it_concerns_once_and_a_switch_every_member_once(
    batch: list[Any], mode: Mode, rules: Rules, gap_ms: int
) -> None:
    group = conversation((*TRIO, "a", "b"), mode=mode, mode_epoch=int(mode))
    diffusion = Diffusion({GROUP: group}, PARTITIONS, rules)
    for number, event in enumerate(batch, 1):
        before, switched = len(diffusion.effects.changes), set(diffusion.effects.closed)
        read, members = group.head.mode is Mode.READ, set(group.members or ())
        diffusion.conversation_event(event, stamp(number), T0 + number * gap_ms)
        diffusion._tell(GROUP)  # as if each were the last of its batch
        changes = [change for _, change in diffusion.effects.changes[before:]]
        fences = Counter(
            user
            for change in changes
            if isinstance(change, StateChange) and change.membership is None
            for user in change.users
        )
        marks = Counter(user for change in changes for user in change.users) - fences
        assert set(marks.values()) <= {1}
        assert set(marks) <= concerned(event, members)
        assert set(fences.values()) <= {1}
        assert set(fences) <= (group.members or set())
        assert not fences or set(diffusion.effects.closed) > switched, "a fence is of a switch"
        if read and isinstance(event, Message):
            assert set(marks) <= {event.sender_id}
            assert not fences


# Stamps.


def test_stamps_order_the_events_of_one_record() -> None:
    """Joined and left in one record: the later event of the record is the later write."""
    group = conversation(TRIO)
    diffusion = Diffusion({GROUP: group}, PARTITIONS, RULES)
    place = version_of(1, 5)
    for index, event in enumerate([joined("dee"), left("dee"), joined("dee"), left("dee")]):
        diffusion.conversation_event(event, stamp_of(place, index), T0)
    stamps = [change.stamp for change in told(diffusion.finish(), StateChange)["dee"]]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] < stamp_of(version_of(1, 6), 0)


# User-keyed events.


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (Read("ann", GROUP, 5), ReadChange(GROUP, ("ann",), 5)),
        (
            UserConversationSettings("ann", GROUP, pinned=True),
            StateChange(GROUP, ("ann",), stamp(1), pinned=True),
        ),
        (
            UserConversationSettings("ann", GROUP, muted=False),
            StateChange(GROUP, ("ann",), stamp(1), muted=False),
        ),
        (
            ConversationCleared("ann", GROUP, 6),
            StateChange(GROUP, ("ann",), stamp(1), min_seq=6),
        ),
        (
            ConversationDeleted("ann", GROUP, 5, T0),
            StateChange(GROUP, ("ann",), stamp(1), deletion=Deletion(5, T0)),
        ),
        (
            ModuleChanged("ann", "friends", "bob", "insert", 3),
            ModuleChange(("ann",), "friends", "bob", "insert", 3),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_users_event_is_told_to_his_own_devices_only(event: Any, change: Any) -> None:
    assert own(event) == (partition_of("ann", PARTITIONS), change)


# Replays.

events = st.lists(
    st.one_of(
        st.builds(message, st.integers(1, 9), st.sampled_from(TRIO)),
        st.builds(lambda users: joined(*users), st.sets(st.sampled_from("abcdef"), min_size=1)),
        st.builds(lambda users: left(*users), st.sets(st.sampled_from("abcdef"), min_size=1)),
        st.builds(
            lambda how: ConversationSettings(GROUP, how),
            st.sampled_from(["auto", "always_write", "always_read"]),
        ),
    ),
    max_size=12,
)


@given(events, st.sampled_from([(Mode.WRITE, 0), (Mode.WRITE, 4), (Mode.READ, 2)]))
def test_a_replay_on_the_same_members_tells_the_same(batch: list[Any], mode: Any) -> None:
    first, again = (
        diffuse(conversation((*TRIO, "a", "b"), mode=mode[0], mode_epoch=mode[1]), batch)
        for _ in range(2)
    )
    assert [(place, encode_change(change)) for place, change in first.changes] == [
        (place, encode_change(change)) for place, change in again.changes
    ]
    assert first == again


@given(events)
def test_members_and_count_are_those_of_a_plain_replay(batch: list[Any]) -> None:
    expected = set(TRIO)
    for event in batch:
        if isinstance(event, MembersJoined):
            expected |= set(event.user_ids)
        elif isinstance(event, MembersLeft):
            expected -= set(event.user_ids)
    group = conversation(TRIO)
    effects = diffuse(group, batch)
    assert group.members == expected
    assert group.head.member_count == len(expected)
    for (_, user), (member, _) in effects.members.items():
        assert member is (user in expected)


@given(events)
def test_who_belongs_when_a_message_comes_hears_of_it_by_index_or_by_side(
    batch: list[Any],
) -> None:
    """Per message and member: a change of his own, of this message or a later one, or a place in
    his read-side set that was announced before and not taken back.
    """
    group = conversation(TRIO)
    diffusion = Diffusion({GROUP: group}, PARTITIONS, RULES)
    side: dict[str, tuple[int, bool]] = {}
    owed: list[tuple[int, int, set[str]]] = []
    for number, event in enumerate(batch, 1):
        before = len(diffusion.effects.changes)
        members = set(group.members or ())
        diffusion.conversation_event(event, stamp(number), T0)
        changes = [change for _, change in diffusion.effects.changes[before:]]
        for change in changes:
            if isinstance(change, StateChange) and change.read_side is not None:
                for user in change.users:
                    new = (change.mode_epoch, change.read_side)
                    side[user] = max(side.get(user, (0, False)), new)
        if isinstance(event, Message):
            looks = {user for user, (_, on) in side.items() if on}
            owed.append((event.seq, before, members - looks))
    found = [change for _, change in diffusion.finish().changes]
    for seq, before, members in owed:
        later = [c for c in found[before:] if isinstance(c, MessageChange) and c.max_seq >= seq]
        assert members <= {user for change in later for user in change.users}


@pytest.mark.parametrize("mode", Mode)
def test_only_a_plain_message_of_a_read_conversation_needs_no_members(mode: Mode) -> None:
    head = conversation((), mode=mode).head
    assert needs_members(message(1), head) is (mode is not Mode.READ)
    assert needs_members(message(1, "ann", ("ann", "bob")), head)
    assert needs_members(joined("dee"), head)
    assert needs_members(left("dee"), head)
    assert needs_members(ConversationSettings(GROUP, "auto"), head)
    assert needs_members(Reconsider(GROUP), head)


def test_a_conversation_nobody_knows_needs_its_members() -> None:
    assert needs_members(message(1), None)
