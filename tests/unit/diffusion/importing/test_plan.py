"""From lines to events: what is written, in which order, and that a repetition changes nothing."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.importing import plan
from diffusion.oracle import Oracle, compare
from schemas.errors import InputError
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    MembersJoined,
    Message,
    Read,
    UserConversationSettings,
    WriteEvent,
)
from schemas.imports import ConversationLine, Deleted, ImportLine, LastMessage, UserLine
from schemas.limits import MEMBERS_PER_EVENT_MAX
from schemas.routes import routed
from tests.imports import T, encode, expected, world

USERS = ["ann", "bob", "eve", "joe", "kim"]
LAST = LastMessage(7, "ann", T)


def planned(*lines: ImportLine) -> list[WriteEvent]:
    return [event for line in lines for event in plan.events(line)]


def test_a_message_goes_before_the_joins_and_its_sender_has_read_it() -> None:
    assert planned(ConversationLine("sg_1", ("ann", "bob"), T - 9, LAST)) == [
        Message("sg_1", 7, "ann", T),
        MembersJoined("sg_1", ("ann", "bob"), 7, T - 9),
        Read("ann", "sg_1", 7),
    ]


def test_a_sender_who_is_no_member_has_nothing_of_it() -> None:
    assert planned(ConversationLine("sg_1", ("bob",), T - 9, LAST)) == [
        Message("sg_1", 7, "ann", T),
        MembersJoined("sg_1", ("bob",), 7, T - 9),
    ]


def test_without_a_message_there_are_joins_alone() -> None:
    assert planned(ConversationLine("sg_1", ("ann",), T)) == [MembersJoined("sg_1", ("ann",), 0, T)]


def test_many_members_are_several_joins() -> None:
    members = tuple(f"user{number}" for number in range(2 * MEMBERS_PER_EVENT_MAX + 1))
    events = planned(ConversationLine("sg_1", members, T))
    sizes = [len(event.user_ids) for event in events if isinstance(event, MembersJoined)]
    assert sizes == [MEMBERS_PER_EVENT_MAX, MEMBERS_PER_EVENT_MAX, 1]


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (UserLine("ann", "sg_1"), []),
        (UserLine("ann", "sg_1", read_seq=7), [Read("ann", "sg_1", 7)]),
        (UserLine("ann", "sg_1", min_seq=3), [ConversationCleared("ann", "sg_1", 3)]),
        (
            UserLine("ann", "sg_1", deleted=Deleted(0, T)),
            [ConversationDeleted("ann", "sg_1", 0, T)],
        ),
        (
            UserLine("ann", "sg_1", muted=False),
            [UserConversationSettings("ann", "sg_1", muted=False)],
        ),
    ],
    ids=repr,
)
def test_only_what_is_said_of_a_user_is_written(line: UserLine, events: list[WriteEvent]) -> None:
    assert planned(line) == events


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"nonsense", "malformed"),
        (b"{}", "missing required field `type`"),
        (b'{"type":"user","user_id":"ann","conversation_id":"sg_1","read_seq":-1}', "read_seq"),
        (b'{"type":"user","user_id":"\\ud800","conversation_id":"sg_1"}', "surrogate"),
        (b'{"type":"user","user_id":"\xff","conversation_id":"sg_1"}', "utf-8"),
        (b'{"a":' + b"[" * 100_000, "recursion"),
    ],
    ids=range(6),
)
def test_a_bad_line_is_an_error_that_says_what_is_wrong(text: bytes, words: str) -> None:
    with pytest.raises(InputError, match=f"(?i){words}"):
        plan.decode(text)


ids = st.text(min_size=1, max_size=4)
times = st.integers(T, T + 10**9)
seqs = st.integers(1, 9)
lasts = st.none() | st.builds(LastMessage, seqs, ids, times)
rooms = st.builds(
    ConversationLine, ids, st.lists(ids, max_size=5, unique=True).map(tuple), times, lasts
)
owns = st.builds(
    UserLine,
    ids,
    ids,
    st.integers(0, 9),
    st.integers(0, 9),
    st.booleans(),
    st.booleans(),
    st.none() | st.builds(Deleted, seqs, times),
)


@given(rooms | owns)
def test_a_line_comes_back_from_its_text_and_all_its_events_may_be_sent(line: ImportLine) -> None:
    (text,) = encode([line]).splitlines()
    assert plan.decode(text) == line
    for event in plan.events(line):
        routed(event)


@given(st.integers(1, 60), st.integers(1, 5), st.data())
def test_every_user_sees_what_the_lines_say_also_if_events_come_again(
    groups: int, members: int, data: st.DataObject
) -> None:
    lines = world(groups, members, USERS, "")
    events = planned(*lines)
    oracle = Oracle()
    stop = data.draw(st.integers(0, len(events)))
    oracle.replay(events[:stop])
    oracle.replay(events[data.draw(st.integers(0, stop)) :])
    for user, states in expected(lines).items():
        assert compare(states, oracle.states(user)) == []


@given(st.integers(1, 20), st.integers(1, 5), st.randoms(use_true_random=False))
def test_what_is_the_users_own_may_be_applied_at_any_time(
    groups: int, members: int, random: Random
) -> None:
    """It is written to another topic than the joins, and so is read sooner or later."""
    lines = world(groups, members, USERS, "")
    events = planned(*lines)
    own = [event for event in events if not isinstance(event, Message | MembersJoined)]
    rest = [event for event in events if isinstance(event, Message | MembersJoined)]
    places = sorted(random.randint(0, len(rest)) for _ in own)
    for place, event in reversed(list(zip(places, own, strict=True))):
        rest.insert(place, event)
    oracle = Oracle()
    oracle.replay(rest)
    for user, states in expected(lines).items():
        assert compare(states, oracle.states(user)) == []
