"""JSON Schema files of the two write topics and of a line of an import, generated from the types.

`python -m schemas` rewrites `schemas/json/`; a test holds the files against the types.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import orjson

from schemas.events import ConversationEvent, UserEvent
from schemas.imports import IMPORT_SCHEMA, ImportLine
from schemas.limits import EVENTS_PER_RECORD_MAX
from schemas.topics import CONVERSATION_WRITES, USER_WRITES

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Final[dict[str, Any]] = {
    CONVERSATION_WRITES.name: ConversationEvent,
    USER_WRITES.name: UserEvent,
}


_SPACES: Final = re.compile(r"\s+")


def one_line(value: Any) -> Any:
    """Unwrap descriptions: how a docstring is wrapped is no business of a published file."""
    if isinstance(value, dict):
        return {
            key: _SPACES.sub(" ", found).strip() if key == "description" else one_line(found)
            for key, found in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(one_line(found) for found in value)
    return value


def schemas() -> dict[str, bytes]:
    """Build all schemas: file name to pretty-printed JSON."""
    documents = {topic: _record(topic, event_type) for topic, event_type in _TYPES.items()}
    documents[IMPORT_SCHEMA] = _import_line()
    return {
        f"{name}.schema.json": orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
        for name, document in documents.items()
    }


def _record(topic: str, event_type: Any) -> dict[str, Any]:
    event, components = _components(event_type)
    return {
        "$schema": _DIALECT,
        "title": topic,
        "description": "The value of a record: one event, or an array of events in order.",
        "oneOf": [
            {"$ref": "#/$defs/event"},
            {
                "type": "array",
                "items": {"$ref": "#/$defs/event"},
                "minItems": 1,
                "maxItems": EVENTS_PER_RECORD_MAX,
            },
        ],
        "$defs": {"event": event, **components},
    }


def _import_line() -> dict[str, Any]:
    line, components = _components(ImportLine)
    return {
        "$schema": _DIALECT,
        "title": IMPORT_SCHEMA,
        "description": "A line of an import: a conversation, or what it is to one user.",
        **line,
        "$defs": components,
    }


def _components(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    (found,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return one_line(found), one_line(components)
