"""From an event to the bytes that are sent: validate, encode, and name topic and key. No I/O.

An event is a msgspec Struct, and constructing one does not validate it. Here every event is
converted field by field against the contract, strictly (bytes are not text, True is not 1), before
anything is accepted; so what a backend gets wrong it hears at its own call, and not from a
dead-letter topic.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from schemas.codec import encode_event
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
    Reconsider,
    UserConversationSettings,
    WriteEvent,
)
from schemas.limits import EVENT_RECORD_BYTES_MAX
from schemas.topics import CONVERSATION_WRITES, USER_WRITES


class Routed(NamedTuple):
    """An event that may be sent: where to, under which key, and as which bytes."""

    topic: str
    key: str
    value: bytes


class Route(NamedTuple):
    """Topic of a type of event, and the field that is its key."""

    topic: str
    key_field: str


_BY_CONVERSATION: Final = Route(CONVERSATION_WRITES.name, "conversation_id")
_BY_USER: Final = Route(USER_WRITES.name, "user_id")

ROUTES: Final[dict[type, Route]] = {
    Message: _BY_CONVERSATION,
    MembersJoined: _BY_CONVERSATION,
    MembersLeft: _BY_CONVERSATION,
    ConversationSettings: _BY_CONVERSATION,
    Reconsider: _BY_CONVERSATION,
    Read: _BY_USER,
    UserConversationSettings: _BY_USER,
    ConversationCleared: _BY_USER,
    ConversationDeleted: _BY_USER,
    ModuleChanged: _BY_USER,
}
"""Every event type of the contract; a test holds it against `schemas.events.WriteEvent`."""

_WHERE: Final = re.compile(r"^(?P<reason>.*) - at `\$\.(?P<path>.*)`$", re.DOTALL)


def routed(event: WriteEvent) -> Routed:
    """Validate and encode an event; raises `InputError` naming the field that is wrong."""
    kind = type(event)
    route = ROUTES.get(kind)
    if route is None:
        known = ", ".join(sorted(known_kind.__name__ for known_kind in ROUTES))
        raise InputError(f"{kind.__name__} is not a write event; send one of {known}")
    try:
        valid = msgspec.convert(_fields(event), kind)
        value = encode_event(valid)
    except msgspec.ValidationError as error:
        raise InputError(_explain(event, str(error))) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{_name(event)}: a text field is not valid Unicode: {error}") from error
    if len(value) > EVENT_RECORD_BYTES_MAX:
        raise InputError(
            f"{_name(event)}: {len(value):,} bytes of JSON, of at most {EVENT_RECORD_BYTES_MAX:,}; "
            "name fewer users in one event"
        )
    return Routed(route.topic, getattr(valid, route.key_field), value)


def _fields(event: WriteEvent) -> dict[str, object]:
    fields = msgspec.structs.asdict(event)
    return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


def _name(event: WriteEvent) -> str:
    return str(event.__struct_config__.tag)


def _explain(event: WriteEvent, text: str) -> str:
    found = _WHERE.match(text)
    if found is None:
        return f"{_name(event)}: {text}"
    path = found["path"]
    given = getattr(event, path, None)
    shown = f", got {given!r:.100}" if path in event.__struct_fields__ else ""
    return f"{_name(event)}: {path}: {found['reason']}{shown}"
