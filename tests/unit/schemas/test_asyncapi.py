"""The AsyncAPI document is that of the types, is AsyncAPI, and accepts what the encoders write."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

import schemas
from schemas import dead_letters, topics
from schemas.asyncapi import document
from schemas.codec import encode_change, encode_event
from schemas.topics import CHANGES, CONVERSATION_WRITES, TOPICS, USER_WRITES, WRITE_TOPICS
from tests.unit.schemas.test_codec import CHANGES as CHANGE_RECORDS
from tests.unit.schemas.test_codec import CONVERSATION_KEYED, USER_KEYED

FILE = Path(schemas.__file__).parent / "asyncapi.json"
DOCUMENT: dict[str, Any] = orjson.loads(document())
BY_TOPIC = {one["address"]: one for one in DOCUMENT["channels"].values()}
DATA = Path(__file__).parents[2] / "data" / "schemas"
LETTER = dead_letters.letter((USER_WRITES.name, 3, 44), 1, "no such field", b"\xff{", 99)


def validator(topic: str) -> Draft7Validator:
    """Of a record's value: the payload of the channel's one message."""
    reference = BY_TOPIC[topic]["messages"]["record"]["$ref"]
    name = reference.removeprefix("#/components/messages/")
    payload = DOCUMENT["components"]["messages"][name]["payload"]
    return Draft7Validator({"allOf": [payload], "components": DOCUMENT["components"]})


def test_the_file_is_the_generated_one() -> None:
    assert FILE.read_bytes() == document(), "run `python -m schemas`"


def test_it_is_asyncapi() -> None:
    schema = orjson.loads(gzip.decompress((DATA / "asyncapi-3.0.0.json.gz").read_bytes()))
    Draft7Validator(schema).validate(DOCUMENT)
    with pytest.raises(ValidationError):
        Draft7Validator(schema).validate(DOCUMENT | {"topics": {}})


def test_every_topic_is_a_channel() -> None:
    dead = {
        topics.dead_letters(one) for one in (*(one.name for one in TOPICS), topics.OPENIM_RECORDS)
    }
    assert BY_TOPIC.keys() == {one.name for one in TOPICS} | dead
    for name, channel in BY_TOPIC.items():
        assert channel["bindings"]["kafka"]["topic"] == name
    assert [name for name, one in BY_TOPIC.items() if one.get("x-internal")] == [CHANGES.name]


def test_we_receive_what_backends_write_and_send_the_rest() -> None:
    received = {
        DOCUMENT["channels"][one["channel"]["$ref"].removeprefix("#/channels/")]["address"]
        for one in DOCUMENT["operations"].values()
        if one["action"] == "receive"
    }
    assert received == {one.name for one in WRITE_TOPICS}
    assert len(DOCUMENT["operations"]) == len(BY_TOPIC)


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        *((CONVERSATION_WRITES.name, encode_event(event)) for event in CONVERSATION_KEYED),
        *((USER_WRITES.name, encode_event(event)) for event in USER_KEYED),
        *((CHANGES.name, encode_change(change)) for change in CHANGE_RECORDS),
        *((topics.dead_letters(one.name), dead_letters.encode(LETTER)) for one in TOPICS),
    ],
    ids=repr,
)
def test_what_is_encoded_is_valid_and_on_no_other_topic(topic: str, value: bytes) -> None:
    record = orjson.loads(value)
    validator(topic).validate(record)
    kind = BY_TOPIC[topic]["messages"]["record"]["$ref"]
    for other in (CONVERSATION_WRITES.name, USER_WRITES.name, CHANGES.name):
        if BY_TOPIC[other]["messages"]["record"]["$ref"] != kind:
            assert not validator(other).is_valid(record)


def test_a_record_of_a_write_topic_may_be_many_events() -> None:
    events = [orjson.loads(encode_event(event)) for event in USER_KEYED]
    validator(USER_WRITES.name).validate(events)
    assert not validator(USER_WRITES.name).is_valid([])
