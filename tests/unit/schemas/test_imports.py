"""Lines of an import: what is one, and that the published schema says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

import schemas
from schemas.imports import IMPORT_SCHEMA, MEMBERS_PER_LINE_MAX, ImportLine
from tests.imports import T

SCHEMA = orjson.loads(
    (Path(schemas.__file__).parent / "json" / f"{IMPORT_SCHEMA}.schema.json").read_bytes()
)
ROOM = {"type": "conversation", "conversation_id": "sg_1", "members": ["a"], "joined_at_ms": T}
USER = {"type": "user", "user_id": "a", "conversation_id": "sg_1"}
LAST = {"seq": 7, "sender_id": "a", "sent_at_ms": T}

GOOD: dict[str, dict[str, Any]] = {
    "a conversation without messages": ROOM,
    "with its last message": ROOM | {"last": LAST},
    "without members": ROOM | {"members": [], "last": LAST},
    "with the most members of a line": ROOM | {"members": ["a"] * MEMBERS_PER_LINE_MAX},
    "a user of whom nothing is said": USER,
    "all of a user": USER
    | {"read_seq": 7, "min_seq": 3, "pinned": True, "muted": False}
    | {"deleted": {"seq": 7, "at_ms": T}},
    "nothing read": USER | {"read_seq": 0, "min_seq": 0, "deleted": None},
}
BAD: dict[str, Any] = {
    "no type": {key: value for key, value in ROOM.items() if key != "type"},
    "another type": ROOM | {"type": "group"},
    "no time of joining": {key: value for key, value in ROOM.items() if key != "joined_at_ms"},
    "seconds": ROOM | {"joined_at_ms": T // 1_000},
    "a misspelt field": USER | {"readseq": 7},
    "a misspelt field within": ROOM | {"last": LAST | {"sender": "a"}},
    "a last message without a sender": ROOM | {"last": {"seq": 7, "sent_at_ms": T}},
    "a last message 0": ROOM | {"last": LAST | {"seq": 0}},
    "too many members": ROOM | {"members": ["a"] * (MEMBERS_PER_LINE_MAX + 1)},
    "an empty member": ROOM | {"members": [""]},
    "a sequence as text": USER | {"read_seq": "7"},
    "a flag as a number": USER | {"pinned": 1},
    "a negative sequence": USER | {"read_seq": -1},
    "an array": [ROOM],
}


@pytest.mark.parametrize("line", GOOD.values(), ids=GOOD)
def test_what_is_a_line_is_one_by_the_schema_too(line: dict[str, Any]) -> None:
    msgspec.json.decode(orjson.dumps(line), type=ImportLine)
    Draft202012Validator(SCHEMA).validate(line)


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_what_is_none_is_none_by_the_schema_too(line: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(orjson.dumps(line), type=ImportLine)
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate(line)
