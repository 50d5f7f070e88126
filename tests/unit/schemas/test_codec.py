"""Records of the write topics and of the change log: good, bad, mixed, and hostile."""

from __future__ import annotations

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import changes as change_types
from schemas import events as event_types
from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.codec import (
    CONVERSATION_EVENTS,
    USER_EVENTS,
    EventDecoder,
    Rejected,
    decode_change,
    encode_change,
    encode_event,
    join_events,
)
from schemas.errors import DecodeError, NewerRecordError
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
from schemas.limits import EVENT_RECORD_BYTES_MAX, EVENTS_PER_RECORD_MAX, USERS_PER_CHANGE_MAX

AT_MS = 1_700_000_000_000
MESSAGE = Message("si_1_2", 7, "1", AT_MS, ("1", "2"))
READ = Read("u1", "sg_1", 3)
CONVERSATION_KEYED: list[WriteEvent] = [
    MESSAGE,
    Message("sg_1", 1, "1", AT_MS),
    MembersJoined("sg_1", ("1", "2"), 0, AT_MS, history=False),
    MembersLeft("sg_1", ("1",), 5, AT_MS, "kick"),
    ConversationSettings("sg_1", "always_read"),
    Reconsider("sg_1"),
]
USER_KEYED: list[WriteEvent] = [
    READ,
    UserConversationSettings("u1", "sg_1", pinned=True),
    UserConversationSettings("u1", "sg_1", muted=False),
    ConversationCleared("u1", "sg_1", 4),
    ConversationDeleted("u1", "sg_1", 9, AT_MS),
    ModuleChanged("u1", "friends", "u2", "insert", 12),
]
CHANGES: list[Change] = [
    MessageChange("sg_1", ("1", "2"), 5, AT_MS, "1"),
    MessageChange("sg_1", ("1",), 5, AT_MS),
    ReadChange("sg_1", ("1",), 5),
    StateChange("sg_1", ("1",), 77),
    StateChange(
        "sg_1",
        ("1",),
        77,
        membership=Membership(member=True, user_max_seq=9, at_ms=AT_MS),
        min_seq=3,
        deletion=Deletion(4, AT_MS),
        pinned=False,
        muted=True,
        read_side=False,
    ),
    ModuleChange(("1",), "friends", "u2", "delete", 3),
]


def plain(event: WriteEvent) -> object:
    return orjson.loads(encode_event(event))


def test_every_type_is_in_the_examples() -> None:
    for module, found in ((event_types, CONVERSATION_KEYED + USER_KEYED), (change_types, CHANGES)):
        tagged = {
            kind
            for kind in vars(module).values()
            if isinstance(kind, type)
            and issubclass(kind, msgspec.Struct)
            and kind.__module__ == module.__name__
            and kind.__struct_config__.tag is not None
        }
        assert {type(example) for example in found} == tagged


@pytest.mark.parametrize("event", CONVERSATION_KEYED, ids=repr)
def test_a_conversation_event_comes_back(event: WriteEvent) -> None:
    decoded = CONVERSATION_EVENTS.decode(encode_event(event))
    assert (tuple(decoded.events), tuple(decoded.rejected)) == ((event,), ())


@pytest.mark.parametrize("event", USER_KEYED, ids=repr)
def test_a_user_event_comes_back(event: WriteEvent) -> None:
    decoded = USER_EVENTS.decode(encode_event(event))
    assert (tuple(decoded.events), tuple(decoded.rejected)) == ((event,), ())


@pytest.mark.parametrize(
    ("decoder", "found"), [(CONVERSATION_EVENTS, CONVERSATION_KEYED), (USER_EVENTS, USER_KEYED)]
)
def test_a_batch_comes_back_in_order(
    decoder: EventDecoder[WriteEvent], found: list[WriteEvent]
) -> None:
    decoded = decoder.decode(join_events([encode_event(event) for event in found]))
    assert (list(decoded.events), list(decoded.rejected)) == (found, [])


def test_one_event_is_a_record_without_an_array() -> None:
    encoded = encode_event(READ)
    assert join_events([encoded]) == encoded
    assert join_events([encoded, encoded]) == b"[" + encoded + b"," + encoded + b"]"


def test_an_absent_setting_is_told_apart_from_a_false_one() -> None:
    event = UserConversationSettings("u1", "sg_1", pinned=False)
    assert encode_event(event) == (
        b'{"type":"conversation_settings","user_id":"u1","conversation_id":"sg_1","pinned":false}'
    )
    (decoded,) = USER_EVENTS.decode(encode_event(event)).events
    assert isinstance(decoded, UserConversationSettings)
    assert (decoded.pinned, decoded.muted) == (False, msgspec.UNSET)


def test_the_settings_of_both_topics_are_not_mixed_up() -> None:
    own = encode_event(UserConversationSettings("u1", "sg_1", pinned=True))
    of_all = encode_event(ConversationSettings("sg_1", "auto"))
    assert CONVERSATION_EVENTS.decode(own).rejected
    assert USER_EVENTS.decode(of_all).rejected


def test_unknown_fields_are_ignored() -> None:
    value = orjson.dumps({**plain(READ), "from_the_future": [1]})  # type: ignore[dict-item]
    assert list(USER_EVENTS.decode(value).events) == [READ]


BAD = {
    "another type": {"type": "typing", "user_id": "u1"},
    "no type": {"user_id": "u1", "conversation_id": "sg_1", "read_seq": 1},
    "a field is missing": {"type": "read", "user_id": "u1", "read_seq": 1},
    "seq below": {"type": "read", "user_id": "u1", "conversation_id": "c", "read_seq": -1},
    "seq above": {"type": "read", "user_id": "u1", "conversation_id": "c", "read_seq": 2**53},
    "seq is text": {"type": "read", "user_id": "u1", "conversation_id": "c", "read_seq": "1"},
    "empty id": {"type": "read", "user_id": "", "conversation_id": "c", "read_seq": 1},
    "long id": {"type": "read", "user_id": "u" * 129, "conversation_id": "c", "read_seq": 1},
    "no object": 5,
    "null": None,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_event_costs_itself_and_not_its_neighbours(bad: object) -> None:
    value = orjson.dumps([plain(READ), bad, plain(READ)])
    decoded = USER_EVENTS.decode(value)
    assert list(decoded.events) == [READ, READ]
    (rejected,) = decoded.rejected
    assert rejected.index == 1
    assert rejected.reason
    assert orjson.loads(rejected.value) == bad


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_event_alone_is_rejected_as_it_came(bad: object) -> None:
    value = orjson.dumps(bad)
    decoded = USER_EVENTS.decode(value)
    assert list(decoded.events) == []
    (rejected,) = decoded.rejected
    assert (rejected.index, rejected.value) == (None, value)


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 0},
        {"sent_at_ms": AT_MS // 1_000},
        {"sent_at_ms": AT_MS * 1_000},
        {"members": []},
        {"members": ["1", "2", "3"]},
        {"conversation_id": "c" * 301},
    ],
    ids=str,
)
def test_a_message_out_of_bounds_is_rejected(fields: dict[str, object]) -> None:
    value = orjson.dumps({**plain(MESSAGE), **fields})  # type: ignore[dict-item]
    assert CONVERSATION_EVENTS.decode(value).rejected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", None),
        (b"[", None),
        (b"[1,", None),
        (b"nonsense", None),
        (b" " * 10, None),
        (encode_event(READ) + b"x", None),
        (b'{"type":"read","user_id":"\xff","conversation_id":"c","read_seq":1}', None),
        (b'{"type":"read","user_id":"\\ud800","conversation_id":"c","read_seq":1}', None),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
        (b"[" * 100_000 + b"]" * 99_999, None),
        (b'[{"a":"', None),
        (b"[NaN]]", None),
        (b"[NaN}", None),
        (b"[NaN],[1]", None),
        (b'[NaN,"\\"]', None),
        (
            b'{"type":"read","user_id":"u","conversation_id":"c","read_seq":1,"x":' + b"[" * 99_999,
            None,
        ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_record_that_is_none_is_rejected_whole(value: bytes | None, reason: str | None) -> None:
    decoded = USER_EVENTS.decode(value)
    assert list(decoded.events) == []
    (rejected,) = decoded.rejected
    assert (rejected.index, rejected.value) == (None, value or b"")
    assert rejected.reason
    assert reason is None or reason in rejected.reason


@pytest.mark.parametrize(
    "bad",
    [
        b'{"type":"read","user_id":"\xff","conversation_id":"c","read_seq":1}',
        b"[" * 300 + b"]" * 300,
        b'{"type":"read","user_id":"u","conversation_id":"c","read_seq":' + b"9" * 30 + b"}",
        b'{ "type" : "read",  "user_id":1 }',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 9_999 + b"1" + b"}" * 9_999,
        b'{"type":"read","user_id":"\\ud800","conversation_id":"c","read_seq":1}',
        b'{"type":"read","user_id":"u","conversation_id":"c","read_seq":NaN}',
        b'{"type":"read","user_id":"u,]}\\"","conversation_id":\'c\',"read_seq":1}',
        b"nonsense",
        b"",
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_hostile_event_costs_itself_and_is_kept_as_it_came(bad: bytes) -> None:
    value = b"[" + encode_event(READ) + b", " + bad + b" ," + encode_event(READ) + b"]"
    decoded = USER_EVENTS.decode(value)
    assert list(decoded.events) == [READ, READ]
    assert [(rejected.index, rejected.value) for rejected in decoded.rejected] == [(1, bad)]


def test_limits_of_a_record() -> None:
    encoded = encode_event(READ)
    full = USER_EVENTS.decode(join_events([encoded] * EVENTS_PER_RECORD_MAX))
    assert len(full.events) == EVENTS_PER_RECORD_MAX
    over = USER_EVENTS.decode(join_events([encoded] * (EVENTS_PER_RECORD_MAX + 1)))
    assert (list(over.events), over.rejected[0].index) == ([], None)
    bad = USER_EVENTS.decode(orjson.dumps([1] * (EVENTS_PER_RECORD_MAX + 1)))
    assert [rejected.index for rejected in bad.rejected] == [None]
    no_json = USER_EVENTS.decode(b"[" + b"NaN," * EVENTS_PER_RECORD_MAX + b"NaN]")
    assert [rejected.index for rejected in no_json.rejected] == [None]
    assert len(USER_EVENTS.decode(b"[" + b"NaN," * 499 + b"NaN]").rejected) == 500
    fits = encoded + b" " * (EVENT_RECORD_BYTES_MAX - len(encoded))
    assert list(USER_EVENTS.decode(fits).events) == [READ]
    assert USER_EVENTS.decode(fits + b" ").rejected[0].reason.startswith("the record is larger")


def test_an_empty_array_holds_nothing() -> None:
    decoded = USER_EVENTS.decode(b"[]")
    assert (list(decoded.events), list(decoded.rejected)) == ([], [])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "user_id", "seq"]) | st.text(max_size=3), children
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=60) | json_values.map(orjson.dumps))
def test_no_record_raises(value: bytes) -> None:
    for decoder in (CONVERSATION_EVENTS, USER_EVENTS):
        decoded = decoder.decode(value)  # type: ignore[attr-defined]
        for rejected in decoded.rejected:
            assert isinstance(rejected, Rejected)
            assert rejected.reason


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_a_change_comes_back(change: Change) -> None:
    assert decode_change(encode_change(change)) == change


def test_absent_parts_of_a_change_are_not_written() -> None:
    encoded = encode_change(StateChange("sg_1", ("1",), 77, pinned=False))
    assert encoded == (
        b'{"type":"state","conversation_id":"sg_1","users":["1"],"stamp":77,"pinned":false}'
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"type":"unknown"}',
        b'{"type":"read","conversation_id":"c","users":[],"read_seq":1}',
        b'{"type":"read","conversation_id":"c","users":["\xff"],"read_seq":1}',
        b"[" * 100_000,
        encode_event(READ),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_change_record_that_is_none_says_why(value: bytes | None) -> None:
    with pytest.raises(DecodeError, match=r"\w"):
        decode_change(value)


def test_a_change_has_at_most_so_many_users() -> None:
    users = tuple(str(number) for number in range(USERS_PER_CHANGE_MAX))
    assert decode_change(encode_change(ReadChange("c", users, 1)))
    with pytest.raises(DecodeError):
        decode_change(encode_change(ReadChange("c", (*users, "x"), 1)))


# Records of other versions.

ADVICE = "upgrade the stream workers before the backends"


def said(record: Change | WriteEvent, v: object, **more: object) -> bytes:
    """A record as a program of another version might write it."""
    return msgspec.json.encode(msgspec.to_builtins(record) | {"v": v} | more)


@pytest.mark.parametrize("record", [*CONVERSATION_KEYED, *USER_KEYED, *CHANGES], ids=repr)
def test_a_record_of_the_oldest_version_does_not_say_so(record: Change | WriteEvent) -> None:
    assert "v" not in orjson.loads(msgspec.json.encode(record))


@pytest.mark.parametrize("event", USER_KEYED, ids=repr)
def test_a_newer_minor_version_is_read_and_what_is_not_known_is_passed_by(
    event: WriteEvent,
) -> None:
    decoded = USER_EVENTS.decode(said(event, "1.7", colour="red", parts=[{"deep": 1}]))
    assert (list(decoded.events), list(decoded.rejected)) == ([replace(event, v="1.7")], [])


@pytest.mark.parametrize("v", ["2.0", "2.13", "10.0"])
def test_a_newer_major_version_is_refused_also_if_it_decodes(v: str) -> None:
    ours, theirs = encode_event(READ), said(READ, v)
    decoded = USER_EVENTS.decode(join_events([ours, theirs, ours]))
    assert list(decoded.events) == [READ, READ]
    (rejected,) = decoded.rejected
    assert (rejected.index, rejected.value) == (1, theirs)
    assert rejected.reason.startswith(f"version {v} is newer than 1.0, which this program knows: ")
    assert ADVICE in rejected.reason
    assert USER_EVENTS.decode(theirs).rejected == (Rejected(None, rejected.reason, theirs),)


@pytest.mark.parametrize("change", [{"type": "typing"}, {"read_seq": {"all": True}}], ids=str)
def test_what_is_not_understood_of_a_newer_minor_version_is_kept_with_what_to_do(
    change: dict[str, object],
) -> None:
    (rejected,) = USER_EVENTS.decode(said(READ, "1.1", **change)).rejected
    assert rejected.reason.startswith("version 1.1 is newer than 1.0, which this program knows (")
    assert ADVICE in rejected.reason
    for same in ({"type": "typing"}, {"v": "1.0", "type": "typing"}):
        (rejected,) = USER_EVENTS.decode(orjson.dumps({**plain(READ), **same})).rejected  # type: ignore[dict-item]
        assert ADVICE not in rejected.reason


@pytest.mark.parametrize(
    "v", ["", "1", "1.", "1.00", "01.0", "0.9", "1.0.0", "1.99999", "x", 1, 1.0, None]
)
def test_what_is_no_version_is_refused_and_nobody_is_told_to_upgrade(v: object) -> None:
    (rejected,) = USER_EVENTS.decode(said(READ, v)).rejected
    assert "$.v" in rejected.reason
    assert ADVICE not in rejected.reason


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_a_change_of_a_newer_version_is_read_or_its_readers_are_told(change: Change) -> None:
    assert decode_change(said(change, "1.2", hint=5)) == replace(change, v="1.2")
    for newer in (said(change, "2.0"), said(change, "1.2", type="reaction")):
        with pytest.raises(NewerRecordError, match="upgrade the materializers before the stream"):
            decode_change(newer)
    with pytest.raises(DecodeError) as caught:
        decode_change(said(change, "1.0", type="reaction"))
    assert not isinstance(caught.value, NewerRecordError)
