"""The merge rule, and the forms of requests and answers on the wire."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.conversations import ConversationState, OwnState
from schemas.limits import (
    ANSWER_BYTES_MIN,
    CHANGES_PER_ANSWER_MAX,
    CONVERSATIONS_PER_PAGE_MAX,
    CURSOR_CHARS_MAX,
)
from schemas.protocol import (
    REFUSALS,
    RESETS,
    ConversationEntry,
    ModuleEntry,
    Reason,
    SyncRequest,
    SyncResponse,
    merge,
)

ACTIVE_AT_MS = 1_700_000_000_000
seqs = st.integers(0, 6)
own_states = st.builds(
    OwnState,
    member=st.booleans(),
    membership_at_ms=seqs,
    user_max_seq=seqs,
    min_seq=seqs,
    deleted_seq=st.integers(-1, 6),
    deleted_at_ms=seqs,
    pinned=st.booleans(),
    muted=st.booleans(),
)


def message(seq: int | None) -> tuple[int | None, int | None]:
    """Activity belongs to a sequence: a message has one time."""
    return seq, None if seq is None else ACTIVE_AT_MS + seq


@st.composite
def entries(draw: st.DrawFn, own: st.SearchStrategy[OwnState | None]) -> ConversationEntry:
    max_seq, active_at_ms = message(draw(st.none() | seqs))
    read_seq = draw(st.none() | seqs)
    return ConversationEntry("sg_1", draw(seqs), max_seq, active_at_ms, read_seq, draw(own))


@st.composite
def states(draw: st.DrawFn) -> ConversationState:
    held = None
    for entry in draw(st.lists(entries(st.none() | own_states), max_size=4)):
        held = merge(held, entry)
    return held or ConversationState("sg_1")


any_entry = entries(st.none() | own_states)
seqs_only = entries(st.none())


@given(st.none() | states(), any_entry)
def test_merge_is_idempotent(state: ConversationState | None, entry: ConversationEntry) -> None:
    once = merge(state, entry)
    assert merge(once, entry) == once


@given(states(), st.lists(seqs_only, max_size=4))
def test_sequences_merge_in_any_order(
    state: ConversationState, found: list[ConversationEntry]
) -> None:
    results = set()
    for order in itertools.permutations(found):
        held = state
        for entry in order:
            held = merge(held, entry)
        results.add(msgspec.json.encode(held))
    assert len(results) == 1


@given(states(), any_entry)
def test_merge_never_goes_back(state: ConversationState, entry: ConversationEntry) -> None:
    merged = merge(state, entry)
    assert merged.max_seq == max(state.max_seq, entry.max_seq or 0)
    assert merged.read_seq == max(state.read_seq, entry.read_seq or 0)
    assert merged.own.min_seq >= state.own.min_seq
    assert merged.active_at_ms >= state.active_at_ms


@given(states(), any_entry)
def test_absent_parts_stay(state: ConversationState, entry: ConversationEntry) -> None:
    bare = ConversationEntry("sg_1", entry.version)
    assert merge(state, bare) == state
    assert merge(state, replace(entry, own=None)).own == state.own
    kept = merge(state, replace(entry, max_seq=None, active_at_ms=None))
    assert (kept.max_seq, kept.active_at_ms) == (state.max_seq, state.active_at_ms)


@given(states(), own_states)
def test_the_own_state_is_replaced_but_for_a_cleared_history(
    state: ConversationState, own: OwnState
) -> None:
    merged = merge(state, ConversationEntry("sg_1", 1, own=own)).own
    assert merged == replace(own, min_seq=max(own.min_seq, state.own.min_seq))


def test_an_older_message_does_not_bring_its_time_along() -> None:
    held = ConversationState("sg_1", 9, ACTIVE_AT_MS + 9)
    entry = ConversationEntry("sg_1", 1, max_seq=8, active_at_ms=ACTIVE_AT_MS + 99)
    assert merge(held, entry) == held


def test_a_new_conversation_starts_from_nothing() -> None:
    assert merge(None, ConversationEntry("sg_1", 5)) == ConversationState("sg_1")


def test_a_request_says_only_what_is_not_the_default() -> None:
    assert msgspec.json.encode(SyncRequest("phone")) == b'{"device_id":"phone"}'


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"device_id": ""},
        {"device_id": "d" * 129},
        {"device_id": "d", "v": "1"},
        {"device_id": "d", "modules_max": 0},
        {"device_id": "d", "bytes_max": ANSWER_BYTES_MIN - 1},
        {"device_id": "d", "root": "AAAA"},
        {"device_id": "d", "root": "no base64!"},
        {"device_id": "d", "correct": {"listed": [[[33, 0], ""]]}},
        {"device_id": "d", "correct": {"split": [[1, -1]]}},
        {"device_id": "d", "cursor": ""},
        {"device_id": "d", "cursor": "x" * (CURSOR_CHARS_MAX + 1)},
        {"device_id": "d", "page": ""},
        {"device_id": "d", "changes_max": 0},
        {"device_id": "d", "changes_max": CHANGES_PER_ANSWER_MAX + 1},
        {"device_id": "d", "page_max": 0},
        {"device_id": "d", "page_max": CONVERSATIONS_PER_PAGE_MAX + 1},
    ],
    ids=str,
)
def test_a_request_out_of_bounds_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(fields), type=SyncRequest)


def test_an_answer_survives_the_wire() -> None:
    answer = SyncResponse(
        "full",
        (
            ConversationEntry("sg_1", 7, 1, ACTIVE_AT_MS, 0, OwnState()),
            ConversationEntry("n_1", 7, own=OwnState(pinned=True, deleted_seq=0)),
        ),
        (ModuleEntry("friends", "f1", "delete", 3, 8),),
        reason=Reason.EXPIRED,
        page="p",
        server_time_ms=ACTIVE_AT_MS,
    )
    assert msgspec.json.decode(msgspec.json.encode(answer), type=SyncResponse) == answer


def test_the_default_own_state_is_told_apart_from_an_unchanged_one() -> None:
    told = ConversationEntry("sg_1", 7, own=OwnState())
    assert msgspec.json.decode(msgspec.json.encode(told), type=ConversationEntry).own == OwnState()
    untold = ConversationEntry("sg_1", 7)
    assert msgspec.json.decode(msgspec.json.encode(untold), type=ConversationEntry).own is None


def test_the_smallest_entry_is_small() -> None:
    entry = ConversationEntry("sg_1", 7, read_seq=3)
    assert msgspec.json.encode(entry) == b'{"conversation_id":"sg_1","version":7,"read_seq":3}'


def test_reasons_are_words_of_the_protocol() -> None:
    assert {reason.value for reason in RESETS} == {
        "fresh",
        "expired",
        "epoch_changed",
        "ahead",
        "too_many",
    }
    assert {reason.value for reason in REFUSALS} == {"other_user", "unreadable"}
    others = set(Reason) - RESETS - REFUSALS
    assert {reason.value for reason in others} == {"digest_mismatch", "paging"}


def test_an_answer_that_says_nothing_fits_64_bytes_and_a_root_24_more() -> None:
    answer = SyncResponse("delta", server_time_ms=ACTIVE_AT_MS)
    assert len(msgspec.json.encode(answer)) <= 64
    assert len(msgspec.msgpack.encode(answer)) <= 64
    asked, rooted = SyncRequest("phone"), SyncRequest("phone", root=bytes(16))
    assert len(msgspec.msgpack.encode(rooted)) - len(msgspec.msgpack.encode(asked)) <= 24
