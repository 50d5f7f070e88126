"""The oracle on cases small enough to be worked out by hand, and the comparison."""

from __future__ import annotations

from dataclasses import replace as replaced
from itertools import chain

import msgspec
import pytest

from diffusion.oracle import VIEW, Difference, Oracle, compare, resurrects, steps_back
from diffusion.trace import merged, read_trace
from diffusion.workload import workload
from schemas.conversations import ConversationState, OwnState
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    UserConversationSettings,
    WriteEvent,
)
from tests.unit.diffusion.support import GROUPS, PRIVATE

T = 1_700_000_000_000
G = "sg_1"
P = "si_a_b"


def says(seq: int, sender: str = "b", at: int | None = None) -> Message:
    return Message(G, seq, sender, T + (seq if at is None else at))


def joins(*users: str, seq: int = 0, at: int = 0, history: bool = True) -> MembersJoined:
    return MembersJoined(G, users, seq, T + at, history)


def leaves(*users: str, seq: int, at: int) -> MembersLeft:
    return MembersLeft(G, users, seq, T + at, "quit")


def deletes(seq: int, at: int, user: str = "a") -> ConversationDeleted:
    return ConversationDeleted(user, G, seq, T + at)


BOTH = joins("a", "b")
FIVE: list[WriteEvent] = [BOTH, *(says(seq) for seq in range(1, 6))]

# What "a" must see of the group: only the fields named are looked at.
CASES: list[tuple[str, list[WriteEvent], dict[str, int]]] = [
    (
        "a member sees all and has read nothing",
        FIVE,
        {"last_seq": 5, "unread": 5, "listed": 1, "member": 1, "activity_ms": T + 5},
    ),
    (
        "joined, nothing written",
        [BOTH],
        {"last_seq": 0, "unread": 0, "listed": 1, "activity_ms": T},
    ),
    ("a read", [*FIVE, Read("a", G, 3)], {"unread": 2, "read_seq": 3}),
    ("an older read after it", [*FIVE, Read("a", G, 3), Read("a", G, 1)], {"unread": 2}),
    ("a read ahead of the messages", [BOTH, Read("a", G, 9), says(1)], {"unread": 0}),
    ("another's read is his own", [*FIVE, Read("b", G, 5)], {"unread": 5}),
    ("one's own message is read", [*FIVE, says(6, "a")], {"unread": 0, "read_seq": 6}),
    (
        "messages out of order",
        [BOTH, says(2), says(3), says(1)],
        {"last_seq": 3, "unread": 3, "activity_ms": T + 3},
    ),
    ("a later joiner sees the whole", [joins("b"), *FIVE[1:], joins("a", seq=5)], {"unread": 5}),
    (
        "a joiner without history sees what is newer",
        [joins("b"), *FIVE[1:], joins("a", seq=5, history=False), says(6)],
        {"last_seq": 6, "unread": 1, "min_seq": 6},
    ),
    (
        "who left is frozen where he left",
        [*FIVE, leaves("a", seq=5, at=7), says(6, at=8)],
        {"last_seq": 5, "unread": 5, "listed": 1, "member": 0, "activity_ms": T + 7},
    ),
    (
        "who left has not read what he may not see",
        [*FIVE, leaves("a", seq=5, at=7), says(6, at=8), Read("a", G, 5)],
        {"unread": 0},
    ),
    (
        "who left has read what he wrote, also where that is written behind it",
        [*FIVE, leaves("a", seq=6, at=7), says(6, "a"), joins("a", seq=6, at=9)],
        {"last_seq": 6, "unread": 0, "read_seq": 6},
    ),
    (
        "who rejoins sees on",
        [*FIVE, leaves("a", seq=5, at=7), says(6, at=8), joins("a", seq=6, at=9)],
        {"last_seq": 6, "unread": 6, "member": 1, "activity_ms": T + 8, "min_seq": 0},
    ),
    (
        "who rejoins without history misses what was between",
        [*FIVE, leaves("a", seq=5, at=7), says(6, at=8), joins("a", seq=6, at=9, history=False)],
        {"last_seq": 6, "unread": 0, "min_seq": 7},
    ),
    (
        "a join with history does not undo one without",
        [
            joins("b"),
            *FIVE[1:],
            joins("a", seq=5, history=False),
            leaves("a", seq=5, at=6),
            joins("a", seq=5, at=7),
        ],
        {"min_seq": 6, "unread": 0},
    ),
    (
        "who left before the first message",
        [BOTH, leaves("a", seq=0, at=1), says(1)],
        {"last_seq": 0},
    ),
    ("cleared", [*FIVE, ConversationCleared("a", G, 6)], {"min_seq": 6, "unread": 0, "listed": 1}),
    (
        "an older clear after it",
        [*FIVE, ConversationCleared("a", G, 4), ConversationCleared("a", G, 2)],
        {"min_seq": 4, "unread": 2},
    ),
    ("deleted", [*FIVE, deletes(5, 6)], {"listed": 0, "unread": 5}),
    ("deleted, and a newer message", [*FIVE, deletes(5, 6), says(6)], {"listed": 1}),
    ("deleted before the last message", [*FIVE, deletes(4, 4)], {"listed": 1}),
    ("the greatest delete wins", [*FIVE, deletes(5, 6), deletes(4, 9)], {"listed": 0}),
    (
        "deleted after leaving; what is written after does not bring it back",
        [*FIVE, leaves("a", seq=5, at=6), deletes(5, 7), says(6, at=8)],
        {"listed": 0, "last_seq": 5},
    ),
    (
        "a join after the delete brings it back",
        [*FIVE, leaves("a", seq=5, at=6), deletes(5, 7), joins("a", seq=5, at=8)],
        {"listed": 1},
    ),
    (
        "a join at the very time of the delete does not",
        [*FIVE, leaves("a", seq=5, at=6), deletes(5, 7), joins("a", seq=5, at=7)],
        {"listed": 0},
    ),
    (
        "of two equal deletes the later counts",
        [*FIVE, deletes(5, 9), deletes(5, 7), leaves("a", seq=5, at=6), joins("a", seq=5, at=8)],
        {"listed": 0},
    ),
    (
        "the last setting counts, and leaves the other alone",
        [
            BOTH,
            UserConversationSettings("a", G, pinned=True, muted=True),
            UserConversationSettings("a", G, pinned=False),
        ],
        {"pinned": 0, "muted": 1},
    ),
    (
        "how it is diffused shows nowhere",
        [*FIVE, ConversationSettings(G, "always_read")],
        {"unread": 5},
    ),
]


@pytest.mark.parametrize(("name", "events", "view"), CASES, ids=[case[0] for case in CASES])
def test_what_a_user_sees(name: str, events: list[WriteEvent], view: dict[str, int]) -> None:
    oracle = Oracle()
    oracle.replay(events)
    state = oracle.states("a")[G]
    assert {field: int(VIEW[field](state)) for field in view} == view, name


def test_who_left_has_the_state_as_it_was_for_him() -> None:
    oracle = Oracle()
    oracle.replay([*FIVE, leaves("a", seq=5, at=7), says(6, at=8)])
    own = OwnState(member=False, membership_at_ms=T + 7, user_max_seq=5)
    assert oracle.states("a")[G] == ConversationState(G, 5, T + 7, 0, own)
    later = Oracle()
    later.replay([BOTH, leaves("a", seq=5, at=3), *FIVE[1:]])
    assert later.states("a")[G].active_at_ms == T + 3


def test_a_one_to_one_chat_names_its_members_by_messages() -> None:
    oracle = Oracle()
    oracle.replay([
        Message(P, 1, "a", T, ("a", "b")),
        Message(P, 2, "b", T + 9, ("a", "b")),
    ])  # fmt: skip
    member = OwnState(membership_at_ms=T)
    assert oracle.states("a") == {P: ConversationState(P, 2, T + 9, 1, member)}
    assert oracle.states("b") == {P: ConversationState(P, 2, T + 9, 2, member)}
    assert sorted(oracle.users()) == ["a", "b"]


def test_notifications_are_neither_listed_nor_unread() -> None:
    oracle = Oracle()
    oracle.replay([Message("n_a_b", 1, "a", T, ("a", "b"))])
    state = oracle.states("b")["n_a_b"]
    assert (VIEW["last_seq"](state), VIEW["unread"](state), VIEW["listed"](state)) == (1, 0, 0)


def test_who_was_never_a_member_sees_nothing() -> None:
    oracle = Oracle()
    oracle.replay([
        joins("b"), says(1), says(2, "stranger"),
        Read("stranger", G, 1), UserConversationSettings("stranger", G, pinned=True),
    ])  # fmt: skip
    assert oracle.states("stranger") == {}
    assert list(oracle.users()) == ["b"]
    assert oracle.states("b")[G].max_seq == 2
    oracle.apply(joins("stranger", seq=2, at=5))
    state = oracle.states("stranger")[G]
    assert (state.read_seq, state.own.pinned) == (1, True)


def test_the_last_change_of_a_module_item_counts() -> None:
    oracle = Oracle()
    last = ModuleChanged("a", "friends", "b", "delete", 3)
    other = ModuleChanged("a", "friends", "c", "insert", 2)
    oracle.replay([ModuleChanged("a", "friends", "b", "insert", 1), other, last])
    assert oracle.modules("a") == {("friends", "b"): last, ("friends", "c"): other}
    assert oracle.modules("nobody") == {}


def test_the_two_topics_may_be_read_at_different_speeds() -> None:
    """No order holds between the topics, so what is expected may not depend on one."""
    rows = merged(read_trace(PRIVATE), read_trace(GROUPS))
    events = [timed.event for timed in workload(rows, 3, groups=3)]
    in_time, users_first = Oracle(), Oracle()
    in_time.replay(events)
    conversation_events = (Message, MembersJoined, MembersLeft, ConversationSettings)
    own = (event for event in events if not isinstance(event, conversation_events))
    others = (event for event in events if isinstance(event, conversation_events))
    users_first.replay(chain(own, others))
    assert sorted(in_time.users()) == sorted(users_first.users())
    for user in in_time.users():
        assert in_time.states(user) == users_first.states(user)


def test_an_event_told_twice_counts_once() -> None:
    events = [timed.event for timed in workload(read_trace(GROUPS), 3, groups=3)]
    once, twice = Oracle(), Oracle()
    once.replay(events)
    twice.replay(chain.from_iterable((event, event) for event in events))
    for user in once.users():
        assert once.states(user) == twice.states(user)


STATE = ConversationState(G, 5, T, 2, OwnState(membership_at_ms=T))


def with_own(**changes: int) -> ConversationState:
    return msgspec.structs.replace(STATE, own=msgspec.structs.replace(STATE.own, **changes))


COMPARED: list[tuple[ConversationState, dict[str, tuple[int, int]]]] = [
    (STATE, {}),
    (with_own(user_max_seq=9), {}),  # as high as the conversation: nothing to see
    (with_own(deleted_seq=3, deleted_at_ms=T), {}),  # deleted before the last message
    (
        msgspec.structs.replace(STATE, max_seq=6),
        {"last_seq": (5, 6), "unread": (3, 4)},
    ),
    (msgspec.structs.replace(STATE, read_seq=3), {"unread": (3, 2), "read_seq": (2, 3)}),
    (msgspec.structs.replace(STATE, active_at_ms=T + 1), {"activity_ms": (T, T + 1)}),
    (with_own(pinned=True), {"pinned": (0, 1)}),
    (with_own(muted=True), {"muted": (0, 1)}),
    (with_own(min_seq=2), {"min_seq": (0, 2)}),
    (with_own(deleted_seq=5, deleted_at_ms=T), {"listed": (1, 0)}),
    (with_own(member=False), {"member": (1, 0)}),
]


@pytest.mark.parametrize(("actual", "differences"), COMPARED)
def test_only_what_can_be_told_apart_is_a_difference(
    actual: ConversationState, differences: dict[str, tuple[int, int]]
) -> None:
    found = {d.field: (d.expected, d.actual) for d in compare({G: STATE}, {G: actual})}
    assert found == differences


def test_every_field_of_the_view_is_compared() -> None:
    assert set(VIEW) == {field for _, differences in COMPARED for field in differences}


def test_missing_and_surplus_conversations_are_said_in_words() -> None:
    missing, surplus = compare({G: STATE}, {"sg_2": replaced_id("sg_2")})
    assert str(missing) == "sg_1: missing"
    assert str(surplus) == "sg_2: the user was never a member of it"
    assert str(Difference(G, "unread", 3, 4)) == "sg_1: unread is 4, but must be 3"
    assert replaced(missing, actual=1) != missing


def replaced_id(conversation_id: str) -> ConversationState:
    return msgspec.structs.replace(STATE, conversation_id=conversation_id)


def test_what_shows_and_must_not_is_resurrected_and_all_else_is_lost() -> None:
    deleted = with_own(deleted_seq=5, deleted_at_ms=T)
    for must, have, alive in (
        ({G: deleted}, {G: STATE}, True),
        ({}, {G: STATE}, True),
        ({}, {G: deleted}, False),
        ({G: STATE}, {G: deleted}, False),
        ({G: STATE}, {}, False),
    ):
        assert next(resurrects(one, must, have) for one in compare(must, have)) is alive


def test_what_only_grows_may_not_go_back() -> None:
    assert steps_back(STATE, STATE) == []
    back = msgspec.structs.replace(STATE, max_seq=4, read_seq=1)
    assert steps_back(STATE, back) == [
        f"max_seq of {G} from 5 to 4",
        f"read_seq of {G} from 2 to 1",
    ]
    assert steps_back(with_own(min_seq=3), STATE) == [f"min_seq of {G} from 3 to 0"]
    assert steps_back(back, STATE) == []
