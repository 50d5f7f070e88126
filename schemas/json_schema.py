"""JSON Schema files of the two write topics, generated from the types.

`python -m schemas` rewrites `schemas/json/`; a test holds the files against the types.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import orjson

from schemas.events import ConversationEvent, UserEvent
from schemas.limits import EVENTS_PER_RECORD_MAX
from schemas.topics import CONVERSATION_WRITES, USER_WRITES

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Final[dict[str, Any]] = {
    CONVERSATION_WRITES.name: ConversationEvent,
    USER_WRITES.name: UserEvent,
}


_SPACES: Final = re.compile(r"\s+")


def _one_line(value: Any) -> Any:
    """Unwrap descriptions: how a docstring is wrapped is no business of the published file."""
    if isinstance(value, dict):
        return {
            key: _SPACES.sub(" ", found).strip() if key == "description" else _one_line(found)
            for key, found in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_one_line(found) for found in value)
    return value


def schemas() -> dict[str, bytes]:
    """Build the schema of each write topic: file name to pretty-printed JSON."""
    files: dict[str, bytes] = {}
    for topic, event_type in _TYPES.items():
        (event,), components = msgspec.json.schema_components(
            [event_type], ref_template="#/$defs/{name}"
        )
        event, components = _one_line((event, components))
        document = {
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
        files[f"{topic}.schema.json"] = orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
    return files
