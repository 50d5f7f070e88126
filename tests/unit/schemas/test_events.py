"""Write events: what a backend may say, and the bounds of every field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas import limits
from schemas.events import ConversationEvent, UserEvent

AT = 1_700_000_000_000
MESSAGE = {"type": "message", "conversation_id": "c", "seq": 1, "sender_id": "u", "sent_at_ms": AT}
JOINED = {
    "type": "members_joined",
    "conversation_id": "c",
    "user_ids": ["u"],
    "seq": 0,
    "at_ms": AT,
}
LEFT = {**JOINED, "type": "members_left", "reason": "quit"}
READ = {"type": "read", "user_id": "u", "conversation_id": "c", "read_seq": 0}
SETTINGS = {"type": "conversation_settings", "user_id": "u", "conversation_id": "c"}
MODULE = {
    "type": "module_changed",
    "user_id": "u",
    "module": "friends",
    "item_id": "i",
    "op": "insert",
    "version": 1,
}


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        (ConversationEvent, MESSAGE),
        (ConversationEvent, {**MESSAGE, "members": ["u", "v"]}),
        (ConversationEvent, {**MESSAGE, "seq": limits.SEQ_MAX}),
        (ConversationEvent, {**MESSAGE, "a newer backend's field": 1}),
        (ConversationEvent, JOINED),
        (ConversationEvent, LEFT),
        (UserEvent, READ),
        (UserEvent, {**SETTINGS, "pinned": True}),
        (UserEvent, MODULE),
        (UserEvent, {**MODULE, "module": "**"}),
    ],
)
def test_what_fits_is_taken(kind: Any, event: dict[str, Any]) -> None:
    msgspec.convert(event, kind)


@pytest.mark.parametrize(
    ("kind", "event", "field"),
    [
        (ConversationEvent, {**MESSAGE, "seq": 0}, "seq"),
        (ConversationEvent, {**MESSAGE, "seq": limits.SEQ_MAX + 1}, "seq"),
        (ConversationEvent, {**MESSAGE, "seq": 1.5}, "seq"),
        (ConversationEvent, {**MESSAGE, "seq": "1"}, "seq"),
        (ConversationEvent, {**MESSAGE, "sent_at_ms": 1_700_000_000}, "sent_at_ms"),
        (ConversationEvent, {**MESSAGE, "sent_at_ms": limits.TIME_MS_MAX + 1}, "sent_at_ms"),
        (ConversationEvent, {**MESSAGE, "sender_id": ""}, "sender_id"),
        (ConversationEvent, {**MESSAGE, "sender_id": "u" * 129}, "sender_id"),
        (ConversationEvent, {**MESSAGE, "conversation_id": "c" * 301}, "conversation_id"),
        (ConversationEvent, {**MESSAGE, "members": []}, "members"),
        (ConversationEvent, {**MESSAGE, "members": ["a", "b", "c"]}, "members"),
        (ConversationEvent, {**JOINED, "user_ids": []}, "user_ids"),
        (ConversationEvent, {**JOINED, "user_ids": ["u"] * 1_001}, "user_ids"),
        (ConversationEvent, {**JOINED, "seq": -1}, "seq"),
        (ConversationEvent, {**LEFT, "reason": "bored"}, "reason"),
        (UserEvent, {**READ, "read_seq": -1}, "read_seq"),
        (UserEvent, {**SETTINGS, "pinned": None}, "pinned"),
        (UserEvent, {**MODULE, "op": "upsert"}, "op"),
        (UserEvent, {**MODULE, "item_id": ""}, "item_id"),
        (UserEvent, {**MODULE, "module": "*"}, "module"),
    ],
)
def test_every_field_has_its_bounds(kind: Any, event: dict[str, Any], field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}"):
        msgspec.convert(event, kind)


def test_an_unknown_type_is_refused_by_its_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="typing"):
        msgspec.convert({**MESSAGE, "type": "typing"}, ConversationEvent)


def test_an_event_of_the_other_topic_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(READ, ConversationEvent)
