"""The topics as an AsyncAPI 3.0 document, generated from the types.

`python -m schemas` rewrites `schemas/asyncapi.json`; a test holds the file against the types.
Operations are those of write-diffusion: it receives what backends write, and sends changes and dead
letters. Values are described in JSON Schema as AsyncAPI has it (draft 7 and its own keywords), with
the same bounds as `schemas/json/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson

from schemas import topics
from schemas.changes import Change
from schemas.dead_letters import DeadLetter
from schemas.events import ConversationEvent, UserEvent
from schemas.json_schema import one_line
from schemas.limits import EVENTS_PER_RECORD_MAX
from schemas.record_version import OLDEST
from schemas.topics import TopicSpec
from schemas.trace_context import HEADER, SOURCE_HEADER

ASYNCAPI_VERSION: Final = "3.0.0"
_BINDING_VERSION: Final = "0.5.0"
_REFERENCE: Final = "#/components/schemas/{name}"

_DESCRIPTION: Final = (
    "An IM backend writes what happens to the two write topics; write-diffusion tells devices "
    "what changed. Partition by murmur2 of the UTF-8 of the key, as Java's clients do. A reader "
    "passes by fields that it does not know. The version of a record is its field `v`; without "
    f"one it is {OLDEST}. A record may have headers `{HEADER}` (W3C Trace Context), the "
    "correlation ids of its writes; change records then have them too, each with a "
    f"`{SOURCE_HEADER}`, the place of its source record."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Channel:
    """A topic, what its records are, and which way they go."""

    name: str
    address: str
    key: str
    value: Any
    title: str
    text: str
    sent: bool = True
    many: bool = False
    internal: bool = False


def _writes(name: str, spec: TopicSpec, value: Any, title: str) -> _Channel:
    return _Channel(
        name=name,
        address=spec.name,
        key=spec.key,
        value=value,
        title=title,
        text=f"What a backend tells. All events of one {spec.key} go to one partition, in the "
        "order in which they happened. A record is one event, or an array of events in order.",
        sent=False,
        many=True,
    )


def _dead(name: str, topic: str) -> _Channel:
    return _Channel(
        name=name,
        address=topics.dead_letters(topic),
        key="none",
        value=DeadLetter,
        title=f"Dead letters of {topic}",
        text=f"Records of {topic} that could not be used, each with the reason. `diffusion dlq` "
        "lists them, and writes again those that can be used by now.",
    )


_CHANNELS: Final = (
    _writes(
        "conversationWrites",
        topics.CONVERSATION_WRITES,
        ConversationEvent,
        "Write events of conversations",
    ),
    _writes("userWrites", topics.USER_WRITES, UserEvent, "Write events of users"),
    _Channel(
        name="changes",
        address=topics.CHANGES.name,
        key=f"none: partitioned by {topics.CHANGES.key}",
        value=Change,
        title="The change log",
        text="Internal: what stream workers tell materializers and the API. It is described for "
        "operators; nobody else should write it, or rely on what it looks like.",
        internal=True,
    ),
    _dead("conversationWritesDeadLetters", topics.CONVERSATION_WRITES.name),
    _dead("userWritesDeadLetters", topics.USER_WRITES.name),
    _dead("changesDeadLetters", topics.CHANGES.name),
    _dead("openimDeadLetters", topics.OPENIM_RECORDS),
)


def document() -> bytes:
    """Build the document: pretty-printed JSON."""
    values, types = msgspec.json.schema_components(
        [channel.value for channel in _CHANNELS], ref_template=_REFERENCE
    )
    messages = {
        channel.name: _message(channel, value)
        for channel, value in zip(_CHANNELS, values, strict=True)
    }
    whole = {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Write-diffusion topics",
            "version": OLDEST,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.name: _channel(channel) for channel in _CHANNELS},
        "operations": {_verb(channel): _operation(channel) for channel in _CHANNELS},
        "components": {"messages": messages, "schemas": types},
    }
    return orjson.dumps(_plain(one_line(whole)), option=orjson.OPT_INDENT_2) + b"\n"


def _channel(channel: _Channel) -> dict[str, Any]:
    described: dict[str, Any] = {
        "address": channel.address,
        "title": channel.title,
        "description": channel.text,
        "messages": {"record": {"$ref": f"#/components/messages/{channel.name}"}},
        "bindings": {"kafka": {"topic": channel.address, "bindingVersion": _BINDING_VERSION}},
    }
    if channel.internal:
        described["tags"] = [{"name": "internal"}]
        described["x-internal"] = True
    return described


def _message(channel: _Channel, value: Any) -> dict[str, Any]:
    payload = value
    if channel.many:
        array = {
            "type": "array",
            "items": value,
            "minItems": 1,
            "maxItems": EVENTS_PER_RECORD_MAX,
        }
        payload = {"oneOf": [value, array]}
    return {
        "name": channel.name,
        "title": channel.title,
        "summary": f"Key: {channel.key}.",
        "contentType": "application/json",
        "payload": payload,
    }


def _verb(channel: _Channel) -> str:
    verb = "send" if channel.sent else "receive"
    return f"{verb}{channel.name[0].upper()}{channel.name[1:]}"


def _operation(channel: _Channel) -> dict[str, Any]:
    reference = f"#/channels/{channel.name}"
    return {
        "action": "send" if channel.sent else "receive",
        "channel": {"$ref": reference},
        "messages": [{"$ref": f"{reference}/messages/record"}],
    }


def _plain(value: Any) -> Any:
    """Leave out msgspec's `discriminator`, which is OpenAPI's: AsyncAPI means another thing by it,
    and each type names its `type` anyway.
    """
    if isinstance(value, dict):
        return {
            key: _plain(found)
            for key, found in value.items()
            if not (key == "discriminator" and isinstance(found, dict) and "mapping" in found)
        }
    if isinstance(value, list | tuple):
        return [_plain(found) for found in value]
    return value
