"""What fits: no answer is above the cap that the client gave, in either format."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.changes import ModuleChange
from schemas.limits import (
    ANSWER_BYTES_MIN,
    CONVERSATION_ID_CHARS_MAX,
    MODULE_ITEM_ID_CHARS_MAX,
    MODULE_NAME_CHARS_MAX,
)
from schemas.protocol import ConversationEntry, ModuleEntry
from syncapi.room import ENTRY_BYTES, FIXED_BYTES, Room, text_bytes
from tests.unit.syncapi.test_service import Api, joined, message, request

TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from('\x01"\\\N{GRINNING FACE}')),
    min_size=1,
    max_size=CONVERSATION_ID_CHARS_MAX,
)


@given(TEXTS)
def test_an_id_takes_what_it_says(text: str) -> None:
    entry = ConversationEntry(text, 1)
    room = Room(ANSWER_BYTES_MIN)
    before = room.bytes_left
    assert room.entry(text)
    assert before - room.bytes_left >= len(msgspec.json.encode(entry)) + 1
    assert text_bytes(text) >= len(msgspec.msgpack.encode(text))


def test_the_smallest_cap_has_room_for_one_of_each_with_the_longest_names() -> None:
    room = Room(ANSWER_BYTES_MIN)
    assert room.entry("\x01" * CONVERSATION_ID_CHARS_MAX)
    names = ("\x01" * MODULE_NAME_CHARS_MAX, "\x01" * MODULE_ITEM_ID_CHARS_MAX)
    assert Room(ANSWER_BYTES_MIN).item(*names)


def test_what_does_not_fit_takes_nothing() -> None:
    room = Room(FIXED_BYTES + ENTRY_BYTES + 10)
    before = room.bytes_left
    assert not room.entry("x" * 50)
    assert room.bytes_left == before
    assert room.entry("x")


@settings(max_examples=25, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=30, unique=True))
def test_no_answer_is_above_the_cap_and_all_is_told(names: list[str]) -> None:
    api = Api()
    first = api.sync()
    changes = [*joined(*names), *(message(name, 3) for name in names)]
    items = [ModuleChange(("ann",), "friends", name[:200], "insert", 1) for name in names]
    api.store.add(*changes, *items)
    told: set[str] = set()
    seen: set[str] = set()
    answer = api.next(first, bytes_max=ANSWER_BYTES_MIN)
    while True:
        for encoded in (msgspec.json.encode(answer), msgspec.msgpack.encode(answer)):
            assert len(encoded) <= ANSWER_BYTES_MIN
        told |= {entry.conversation_id for entry in answer.conversations}
        seen |= {item.item_id for item in answer.modules}
        if not answer.has_more:
            break
        answer = api.next(answer, bytes_max=ANSWER_BYTES_MIN)
    assert told == set(names)
    assert seen == {name[:200] for name in names}


@settings(max_examples=15, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=30, unique=True))
def test_no_page_is_above_the_cap_and_all_is_told(names: list[str]) -> None:
    api = Api()
    api.store.add(*joined(*names))
    told: set[str] = set()
    answer = api.sync(request(bytes_max=ANSWER_BYTES_MIN))
    while True:
        assert len(msgspec.json.encode(answer)) <= ANSWER_BYTES_MIN
        told |= {entry.conversation_id for entry in answer.conversations}
        if answer.page is None:
            break
        answer = api.next(answer, bytes_max=ANSWER_BYTES_MIN)
    assert told == set(names)


def test_a_module_entry_takes_what_it_says() -> None:
    entry = ModuleEntry("friends", "bob", "update", 2**53 - 1, 2**53 - 1)
    room = Room(ANSWER_BYTES_MIN)
    before = room.bytes_left
    assert room.item("friends", "bob")
    assert before - room.bytes_left >= len(msgspec.json.encode(entry)) + 1
