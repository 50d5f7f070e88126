"""What a producer accepts, as which bytes, and what it says about the rest."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from schemas.codec import CONVERSATION_EVENTS, USER_EVENTS
from schemas.errors import InputError
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
from schemas.limits import MEMBERS_PER_EVENT_MAX, SEQ_MAX, USER_ID_CHARS_MAX
from schemas.routes import ROUTES, routed
from schemas.topics import CONVERSATION_WRITES, USER_WRITES

NOW = 1_700_000_000_000

GOOD: list[tuple[WriteEvent, str, str]] = [
    (Message("si_1_2", 1, "1", NOW, ("1", "2")), CONVERSATION_WRITES.name, "si_1_2"),
    (Message("sg_1", SEQ_MAX, "1", NOW), CONVERSATION_WRITES.name, "sg_1"),
    (MembersJoined("sg_1", ("1",), 0, NOW, history=False), CONVERSATION_WRITES.name, "sg_1"),
    (MembersLeft("sg_1", ("1", "2"), 3, NOW, "dismiss"), CONVERSATION_WRITES.name, "sg_1"),
    (ConversationSettings("sg_1", "always_read"), CONVERSATION_WRITES.name, "sg_1"),
    (Read("1", "sg_1", 0), USER_WRITES.name, "1"),
    (UserConversationSettings("1", "sg_1", pinned=True), USER_WRITES.name, "1"),
    (ConversationCleared("1", "sg_1", 1), USER_WRITES.name, "1"),
    (ConversationDeleted("1", "sg_1", 4, NOW), USER_WRITES.name, "1"),
    (ModuleChanged("1", "friends", "2", "insert", 7), USER_WRITES.name, "1"),
    (Read("ユーザー", "sg_\n", 1), USER_WRITES.name, "ユーザー"),
]


def test_every_event_type_has_a_route() -> None:
    assert set(ROUTES) == set(get_args(WriteEvent))


@pytest.mark.parametrize(("event", "topic", "key"), GOOD, ids=lambda value: str(value)[:40])
def test_a_good_event_arrives_as_it_was(event: WriteEvent, topic: str, key: str) -> None:
    found = routed(event)
    assert (found.topic, found.key) == (topic, key)
    decoder: Any = CONVERSATION_EVENTS if topic == CONVERSATION_WRITES.name else USER_EVENTS
    decoded = decoder.decode(found.value)
    assert (list(decoded.events), decoded.rejected) == ([event], ())


BAD: list[tuple[Any, str]] = [
    (Message("", 1, "1", NOW), "message: conversation_id: "),
    (Message("sg_1", 0, "1", NOW), "message: seq: Expected `int` >= 1, got 0"),
    (Message("sg_1", SEQ_MAX + 1, "1", NOW), "message: seq: "),
    (Message("sg_1", 2**70, "1", NOW), "message: seq: "),
    (Message("sg_1", 1, "", NOW), "message: sender_id: "),
    (Message("sg_1", 1, "1", 1_700_000_000), "message: sent_at_ms: "),
    (Message("sg_1", 1, "1", NOW, ()), "message: members: "),
    (Message("sg_1", 1, "1", NOW, ("1", "2", "3")), "message: members: "),
    (Message("sg_1", 1, "1", NOW, ("1", "")), "message: members[1]: "),
    (Message("sg_1", 1, "\ud800", NOW), "message: a text field is not valid Unicode"),
    (MembersJoined("sg_1", (), 0, NOW), "members_joined: user_ids: "),
    (
        MembersJoined("sg_1", ("1",) * (MEMBERS_PER_EVENT_MAX + 1), 0, NOW),
        "members_joined: user_ids: ",
    ),
    (MembersLeft("sg_1", ("1",), -1, NOW, "quit"), "members_left: seq: "),
    (Read("1" * (USER_ID_CHARS_MAX + 1), "sg_1", 1), "read: user_id: "),
    (ConversationCleared("1", "sg_1", 0), "conversation_cleared: min_seq: "),
    (ModuleChanged("1", "", "2", "insert", 7), "module_changed: module: "),
    (1.5, "float is not a write event; send one of ConversationCleared, "),
    ({"type": "read"}, "dict is not a write event"),
]


@pytest.mark.parametrize(("event", "said"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_event_is_refused_by_the_name_of_the_field(event: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        routed(event)
    assert str(refused.value).startswith(said)


def test_wrong_types_that_a_checker_would_find_are_refused_too() -> None:
    wrong: Any = b"sg_1"
    with pytest.raises(InputError, match=r"read: conversation_id: Expected `str`, got `bytes`"):
        routed(Read("1", wrong, 1))
    wrong = "left"
    with pytest.raises(InputError, match="members_left: reason: Invalid enum value 'left'"):
        routed(MembersLeft("sg_1", ("1",), 1, NOW, wrong))
    wrong = 1
    with pytest.raises(InputError, match=r"conversation_settings: pinned: Expected `bool`"):
        routed(UserConversationSettings("1", "sg_1", pinned=wrong))
    wrong = True
    with pytest.raises(InputError, match=r"message: seq: Expected `int`, got `bool`"):
        routed(Message("sg_1", wrong, "1", NOW))
    wrong = 3.0
    with pytest.raises(InputError, match=r"read: read_seq: Expected `int`, got `float`"):
        routed(Read("1", "sg_1", wrong))


def test_the_largest_event_of_the_contract_fits() -> None:
    longest = tuple(f"{n:04}".ljust(USER_ID_CHARS_MAX, "\x01") for n in range(1_000))
    assert routed(MembersJoined("g" * 300, longest, 0, NOW)).key == "g" * 300
