"""The published schemas are those of the types, and they accept what the encoder writes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

import schemas
from schemas.__main__ import main
from schemas.asyncapi import document
from schemas.codec import encode_event
from schemas.events import WriteEvent
from schemas.imports import IMPORT_SCHEMA
from schemas.json_schema import schemas as generate
from schemas.limits import EVENTS_PER_RECORD_MAX
from schemas.topics import CONVERSATION_WRITES, USER_WRITES, WRITE_TOPICS
from tests.unit.schemas.test_codec import BAD, CONVERSATION_KEYED, READ, USER_KEYED

FOLDER = Path(schemas.__file__).parent / "json"
EXAMPLES = {CONVERSATION_WRITES.name: CONVERSATION_KEYED, USER_WRITES.name: USER_KEYED}
CASES = [(topic, event) for topic, events in EXAMPLES.items() for event in events]


def validator(topic: str) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads((FOLDER / f"{topic}.schema.json").read_bytes()))


def plain(event: WriteEvent) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(encode_event(event))
    return found


def test_every_write_topic_and_the_import_have_their_file_and_nothing_else() -> None:
    names = [*(topic.name for topic in WRITE_TOPICS), IMPORT_SCHEMA]
    expected = {f"{name}.schema.json" for name in names}
    assert set(generate()) == {path.name for path in FOLDER.iterdir()} == expected


@pytest.mark.parametrize("name", generate())
def test_a_file_is_the_generated_one(name: str) -> None:
    assert (FOLDER / name).read_bytes() == generate()[name], "run `python -m schemas`"


@pytest.mark.parametrize("topic", [*EXAMPLES, IMPORT_SCHEMA])
def test_a_file_is_a_schema(topic: str) -> None:
    Draft202012Validator.check_schema(validator(topic).schema)


@pytest.mark.parametrize(("topic", "event"), CASES, ids=repr)
def test_what_is_encoded_is_valid(topic: str, event: WriteEvent) -> None:
    validator(topic).validate(plain(event))
    validator(topic).validate([plain(event), plain(event)])


@pytest.mark.parametrize(("topic", "event"), CASES, ids=repr)
def test_a_required_field_is_required_by_both(topic: str, event: WriteEvent) -> None:
    whole = plain(event)
    required = set(event.__struct_fields__) - {
        name
        for name, default in zip(
            reversed(event.__struct_fields__), reversed(event.__struct_defaults__), strict=False
        )
        if default is not ...
    }
    for name in required | {"type"}:
        partial = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(ValidationError):
            validator(topic).validate(partial)


@pytest.mark.parametrize(("topic", "event"), CASES, ids=repr)
def test_an_event_of_the_other_topic_is_not_valid(topic: str, event: WriteEvent) -> None:
    (other,) = set(EXAMPLES) - {topic}
    with pytest.raises(ValidationError):
        validator(other).validate(plain(event))


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_the_decoder_rejects_is_not_valid(bad: object) -> None:
    with pytest.raises(ValidationError):
        validator(USER_WRITES.name).validate(bad)
    with pytest.raises(ValidationError):
        validator(USER_WRITES.name).validate([plain(READ), bad])


def test_an_array_has_bounds() -> None:
    check = validator(USER_WRITES.name)
    check.validate([plain(READ)] * EVENTS_PER_RECORD_MAX)
    with pytest.raises(ValidationError):
        check.validate([plain(READ)] * (EVENTS_PER_RECORD_MAX + 1))
    with pytest.raises(ValidationError):
        check.validate([])


def test_unknown_fields_are_valid() -> None:
    newer = copy.copy(plain(READ))
    newer["from_the_future"] = 1
    validator(USER_WRITES.name).validate(newer)


def test_the_command_writes_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.__main__.__file__", str(tmp_path / "__main__.py"))
    main()
    written = {path.name: path.read_bytes() for path in (tmp_path / "json").iterdir()}
    assert written == generate()
    assert (tmp_path / "asyncapi.json").read_bytes() == document()
