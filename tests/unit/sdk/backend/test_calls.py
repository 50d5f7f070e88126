"""The typed calls: each says one event of the contract."""

from __future__ import annotations

from typing import Any

import pytest

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
from schemas.routes import routed
from sdk.backend.calls import WriteCalls

NOW = 1_700_000_000_000


class Collected(WriteCalls):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.events: list[WriteEvent] = []

    def send(self, event: WriteEvent) -> None:
        """Keep a valid event."""
        routed(event)
        self.events.append(event)


def test_each_call_is_its_event() -> None:
    calls = Collected()
    calls.message("si_1_2", 1, "1", NOW, ["1", "2"])
    calls.message("sg_1", 2, "1", NOW)
    calls.members_joined("sg_1", ["1", "2"], 0, NOW)
    calls.members_joined("sg_1", {"3"}, 1, NOW, history=False)
    calls.members_left("sg_1", (user for user in ("1",)), 2, NOW, "kick")
    calls.conversation_settings("sg_1", "always_read")
    calls.read("1", "sg_1", 2)
    calls.user_conversation_settings("1", "sg_1", pinned=True)
    calls.user_conversation_settings("1", "sg_1", muted=False)
    calls.conversation_cleared("1", "sg_1", 3)
    calls.conversation_deleted("1", "sg_1", 2, NOW)
    calls.module_changed("1", "friends", "2", "delete", 9)
    assert calls.events == [
        Message("si_1_2", 1, "1", NOW, ("1", "2")),
        Message("sg_1", 2, "1", NOW),
        MembersJoined("sg_1", ("1", "2"), 0, NOW),
        MembersJoined("sg_1", ("3",), 1, NOW, history=False),
        MembersLeft("sg_1", ("1",), 2, NOW, "kick"),
        ConversationSettings("sg_1", "always_read"),
        Read("1", "sg_1", 2),
        UserConversationSettings("1", "sg_1", pinned=True),
        UserConversationSettings("1", "sg_1", muted=False),
        ConversationCleared("1", "sg_1", 3),
        ConversationDeleted("1", "sg_1", 2, NOW),
        ModuleChanged("1", "friends", "2", "delete", 9),
    ]


def test_settings_that_set_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="neither pinned nor muted"):
        Collected().user_conversation_settings("1", "sg_1")


@pytest.mark.parametrize("users", ["1234567890", b"12", 7])
def test_one_id_is_not_a_list_of_ids(users: Any) -> None:
    calls = Collected()
    with pytest.raises(InputError, match=r"members_joined\.user_ids: Expected a list"):
        calls.members_joined("sg_1", users, 0, NOW)
    with pytest.raises(InputError, match=r"message\.members: Expected a list"):
        calls.message("si_1_2", 1, "1", NOW, users)
    assert calls.events == []
