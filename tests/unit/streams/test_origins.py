"""Which writes a change tells of: by key, bounded, and nothing where no record has an id."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.logs.forms import ConsoleForm
from infra.logs.json_form import JsonForm
from schemas import topics
from schemas.codec import encode_event, join_events
from schemas.events import MembersJoined, Message, ModuleChanged, Read
from schemas.trace_context import CONTEXTS_MAX, LINKS_MAX, Origin, TraceContext, place
from streams.origins import Written, by_key, of_batch
from streams.worker import Pipeline, SourceRecord
from tests.unit.schemas.test_trace_context import context
from tests.unit.streams.support import T0, run
from tests.unit.streams.test_worker import Kept, conversations, users

CONVERSATIONS, USERS = topics.CONVERSATION_WRITES.name, topics.USER_WRITES.name


def record(topic: str, offset: int, value: bytes, *contexts: TraceContext) -> SourceRecord:
    return SourceRecord(topic, 5, offset, T0, value, contexts)


def named(pipeline: Pipeline[Any], sink: Kept, *records: SourceRecord) -> list[tuple[Any, Any]]:
    run(pipeline.process(records))
    effects, _ = sink.batches[-1]
    assert set(effects.origins) <= set(range(len(effects.changes)))
    return [
        (change, effects.origins.get(number)) for number, (_, change) in enumerate(effects.changes)
    ]


def test_a_change_has_the_writes_of_its_conversation_and_no_others() -> None:
    sink = Kept()
    first, second = context(1), context(2)
    joined = [encode_event(MembersJoined(room, ("ann",), 0, T0)) for room in ("sg_1", "sg_2")]
    found = named(
        conversations(sink),
        sink,
        record(CONVERSATIONS, 6, join_events(joined)),
        record(CONVERSATIONS, 7, encode_event(Message("sg_1", 1, "ann", T0)), first),
        record(CONVERSATIONS, 8, encode_event(Message("sg_1", 2, "ann", T0)), second),
        record(CONVERSATIONS, 9, encode_event(Message("sg_3", 1, "bob", T0)), second),
    )
    of = {change.conversation_id: origins for change, origins in found}
    assert of["sg_2"] is None
    assert of["sg_1"] == (
        Origin(first, place(CONVERSATIONS, 5, 7)),
        Origin(second, place(CONVERSATIONS, 5, 8)),
    ), "messages that were folded are named together"


def test_a_change_of_a_user_has_the_writes_of_that_user() -> None:
    sink = Kept()
    found = named(
        users(sink),
        sink,
        record(USERS, 1, encode_event(Read("ann", "sg_1", 3)), context(1)),
        record(USERS, 2, encode_event(Read("bob", "sg_1", 3))),
        record(
            USERS, 3, encode_event(ModuleChanged("eve", "friends", "i", "insert", 1)), context(3)
        ),
    )
    assert {change.users[0]: origins for change, origins in found} == {
        "ann": (Origin(context(1), place(USERS, 5, 1)),),
        "bob": None,
        "eve": (Origin(context(3), place(USERS, 5, 3)),),
    }


def test_without_ids_nothing_is_named() -> None:
    sink = Kept()
    run(users(sink).process([record(USERS, 1, encode_event(Read("ann", "sg_1", 3)))]))
    assert sink.batches[0][0].origins == {}


def test_both_are_bounded() -> None:
    many = [Written((context(n),), f"t/0/{n}", frozenset({"sg_1"})) for n in range(1, 1_000)]
    assert len(by_key(many)["sg_1"]) == CONTEXTS_MAX
    assert len(of_batch(many)) == LINKS_MAX


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_the_line_of_a_batch_has_its_ids_and_names_nobody(
    caplog: pytest.LogCaptureFixture, level: str
) -> None:
    user, room, one = "user-7f3a9c51", "sg_conv-c4d19a3e", context(1)
    value = encode_event(Message(room, 1, user, T0, (user,)))
    with caplog.at_level(level, "diffusion.streams"):
        run(conversations(Kept()).process([record(CONVERSATIONS, 6, value)]))
        run(conversations(Kept()).process([record(CONVERSATIONS, 7, value, one)]))
    lines = [json.loads(JsonForm("stream-worker").format(record)) for record in caplog.records]
    assert [line["trace_ids"] for line in lines] == [[]] * (level == "DEBUG") + [[one.trace_id]]
    assert (lines[-1]["topic"], lines[-1]["partition"], lines[-1]["offset"]) == (
        CONVERSATIONS,
        5,
        7,
    )
    assert (lines[-1]["records"], lines[-1]["events"]) == (1, 1)
    for form in (JsonForm("stream-worker"), ConsoleForm()):
        said = "".join(map(form.format, caplog.records))
        assert user not in said
        assert room not in said
