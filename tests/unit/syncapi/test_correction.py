"""Snapshot correction: roots, parts, listed ranges and sketches, and what fits into an answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import digests, sketch
from schemas.conversations import ConversationState, OwnState
from schemas.digests import DigestRow, digest_row, in_order, root_of
from schemas.errors import InputError
from schemas.limits import ANSWER_BYTES_MAX, ANSWER_BYTES_MIN
from schemas.protocol import Correction, KeyRange, RangeRows, Reason, SyncResponse, merge
from syncapi import correction
from syncapi.room import Room
from tests.unit.syncapi.support import T0, head
from tests.unit.syncapi.test_service import Api, joined, message, request

ROOM = ANSWER_BYTES_MAX


def rows_of(count: int, **changed: int) -> list[DigestRow]:
    """Rows of conversations `sg_0` and on; `changed` names those with another sequence."""
    return in_order(
        digest_row(ConversationState(f"sg_{n}", changed.get(f"sg_{n}", 7), T0))
        for n in range(count)
    )


def compare(asked: Correction, rows: list[DigestRow], most: int = 1_000) -> correction.Differing:
    return correction.compare(asked, rows, Room(ROOM), most)


# What a correction says.


def test_an_empty_correction_is_answered_with_the_parts_of_the_whole() -> None:
    rows = rows_of(500)
    (parts,) = compare(Correction(), rows).parts
    assert parts == digests.parts(digests.WHOLE, rows, digests.bits_for(500))


def test_listed_ranges_name_what_differs_and_what_is_gone() -> None:
    mine, theirs = rows_of(40), rows_of(41, sg_3=9)
    found = compare(Correction(listed=(digests.listed(digests.WHOLE, theirs),)), mine)
    assert found.conversation_ids == ["sg_3"]
    gone = {digests.row_hash(row) for row in theirs if row.conversation_id in {"sg_3", "sg_40"}}
    assert {found.gone[at : at + 4] for at in range(0, len(found.gone), 4)} == gone


def test_a_sketch_names_what_differs_in_one_trip() -> None:
    mine, theirs = rows_of(40), rows_of(41, sg_3=9)
    asked = Correction(sketch=sketch.sketch_of(theirs, sketch.cells_for(4)))
    found = compare(asked, mine)
    assert found.conversation_ids == ["sg_3"]
    assert sketch.gone_ids(found.gone) == [sketch.id_of(digests.key_of("sg_40"))]


def test_a_sketch_that_is_too_small_is_said_so() -> None:
    asked = Correction(sketch=sketch.sketch_of(rows_of(0), sketch.PLACES))
    found = compare(asked, rows_of(200))
    assert (found.undecoded, found.conversation_ids) == (True, [])


def test_ranges_are_split_further() -> None:
    rows = rows_of(300)
    half = KeyRange(1, 1)
    (parts,) = compare(Correction(split=(half,)), rows).parts
    assert parts.range == half
    assert digests.parts_count(parts) > 1


@pytest.mark.parametrize(
    "asked",
    [
        Correction(split=(KeyRange(1, 5),)),
        Correction(split=(digests.WHOLE, KeyRange(1, 0))),
        Correction(listed=(RangeRows(digests.WHOLE, b"abc"),)),
        Correction(listed=(RangeRows(digests.WHOLE, b""), RangeRows(KeyRange(3, 1), b""))),
        Correction(sketch=b"nonsense"),
        Correction(split=(KeyRange(32, 0),)),
    ],
)
def test_what_is_no_correction_is_refused(asked: Correction) -> None:
    with pytest.raises(InputError):
        compare(asked, rows_of(10))


def test_a_cut_answer_says_that_there_is_more_and_lets_nothing_be_dropped() -> None:
    mine, theirs = rows_of(40), rows_of(41, sg_3=9, sg_4=9)
    found = compare(Correction(listed=(digests.listed(digests.WHOLE, theirs),)), mine, most=1)
    assert (len(found.conversation_ids), found.gone, found.has_more) == (1, b"", True)


@given(st.integers(1, 3_000), st.integers(0, 5_000))
@settings(max_examples=30, deadline=None)
def test_parts_fit_the_frame(count: int, room: int) -> None:
    left = Room(ANSWER_BYTES_MIN)
    left.bytes_left = room
    parts = correction.whole(rows_of(count), left)
    assert digests.parts_count(parts) >= 2, "one digest for a range would be asked for again"
    assert len(parts.digests) * 4 // 3 <= max(room, 16)


# In a sync.


class Device:
    """What a device holds, and its own digest."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.held: dict[str, ConversationState] = {}
        self.take(api.sync())

    def take(self, answer: SyncResponse) -> SyncResponse:
        for entry in answer.conversations:
            cid = entry.conversation_id
            self.held[cid] = merge(self.held.get(cid) if answer.path == "delta" else None, entry)
        return answer

    @property
    def rows(self) -> list[DigestRow]:
        return in_order(map(digest_row, self.held.values()))

    @property
    def root(self) -> bytes:
        return root_of(self.rows)

    def ask(self, **asked: Any) -> SyncResponse:
        asked_with = request(**asked)
        cursor = self.api.kept
        return self.take(
            self.api.sync(
                type(asked_with)(
                    **{name: getattr(asked_with, name) for name in asked_with.__struct_fields__}
                    | {"cursor": cursor}
                )
            )
        )

    def damage(self, cid: str, **fields: Any) -> None:
        state = self.held[cid]
        self.held[cid] = ConversationState(
            **{name: getattr(state, name) for name in state.__struct_fields__} | fields
        )


def filled(count: int = 30) -> Api:
    api = Api()
    api.store.add(*joined(*(f"sg_{n:03}" for n in range(count))))
    for n in range(count):
        api.store.head(f"sg_{n:03}", n)
    return api


def test_an_equal_root_costs_an_empty_answer_with_the_root() -> None:
    device = Device(filled())
    answer = device.ask(root=device.root)
    assert answer == SyncResponse(path="delta", root=device.root, server_time_ms=T0)


def test_a_root_that_differs_begins_a_correction_in_the_same_answer() -> None:
    device = Device(filled())
    true = device.root
    device.damage("sg_007", read_seq=5)
    answer = device.ask(root=device.root)
    assert (answer.path, answer.reason) == ("correction", Reason.DIGEST_MISMATCH)
    assert answer.root == true
    (differing,) = digests.differing(answer.parts[0], device.rows)
    device.ask(correct=Correction(listed=(digests.listed(differing, device.rows),)))
    assert device.root == true


def test_a_delta_with_entries_tells_the_root_that_it_leads_to() -> None:
    api = filled()
    device = Device(api)
    old = device.root
    api.store.head("sg_001", 99, T0 + 99)
    api.store.add(message("sg_001", 99))
    answer = device.ask(root=old)
    assert answer.path == "delta"
    assert answer.root == device.root != old


def test_a_delta_in_pages_compares_when_it_is_complete() -> None:
    api = filled()
    device = Device(api)
    for n in (1, 2):
        api.store.head(f"sg_00{n}", 99, T0 + 99)
        api.store.add(message(f"sg_00{n}", 99))
    assert device.ask(root=device.root, changes_max=1).root is None
    assert device.ask(root=device.root, changes_max=1).root == device.root


def test_a_state_is_read_once_while_nothing_changes() -> None:
    api = filled()
    device = Device(api)
    device.damage("sg_007", read_seq=5)
    device.ask(root=device.root)
    api.store.tables_read()
    device.ask(correct=Correction())
    device.ask(root=device.root)
    assert "conversation_heads" not in api.store.tables_read()


def test_a_state_is_read_again_when_a_head_of_the_read_side_moved() -> None:
    from tests.unit.syncapi.test_service import read_side

    api = filled(3)
    read_side(api, "sg_hot")
    api.store.head("sg_hot", 1)
    device = Device(api)
    assert device.ask(root=device.root).path == "delta"
    api.now_ms += 10_000
    api.store.head("sg_hot", 2, api.now_ms)
    api.now_ms += 10_000
    answer = device.ask(root=device.root)
    assert [entry.max_seq for entry in answer.conversations] == [2]
    assert answer.root == device.root


def test_a_change_during_a_correction_is_never_undone() -> None:
    api = filled()
    device = Device(api)
    device.damage("sg_007", read_seq=5)
    device.ask(root=device.root)
    api.store.head("sg_008", 500, T0 + 500)
    api.store.add(message("sg_008", 500))
    listed = Correction(listed=(digests.listed(digests.WHOLE, device.rows),))
    answer = device.ask(correct=listed)
    assert {entry.conversation_id for entry in answer.conversations} == {"sg_007", "sg_008"}
    device.ask()
    assert device.held["sg_008"].max_seq == 500
    assert device.ask(root=device.root).path == "delta"


def test_corrections_name_whole_states() -> None:
    api = filled(3)
    device = Device(api)
    device.damage("sg_001", own=OwnState(muted=True), max_seq=9)
    listed = Correction(listed=(digests.listed(digests.WHOLE, device.rows),))
    (entry,) = device.ask(correct=listed).conversations
    assert (entry.max_seq, entry.own) == (1, OwnState(membership_at_ms=T0))
    assert head(1).max_seq == entry.max_seq


# Frames.


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([0, 1, 40]))
@settings(max_examples=25, deadline=None)
def test_a_correction_keeps_the_cap_and_makes_progress(here: int, gone: int, changed: int) -> None:
    mine = rows_of(here)
    theirs = rows_of(here + gone, **{f"sg_{n}": 9 for n in range(min(changed, here))})
    asked = Correction(listed=(digests.listed(digests.WHOLE, theirs),))
    found = correction.compare(asked, mine, Room(ANSWER_BYTES_MIN))
    assert len(found.gone) * 4 // 3 <= ANSWER_BYTES_MIN
    differs = gone or min(changed, here)
    assert not differs or found.conversation_ids or found.gone
    assert not (found.has_more and found.gone)


def test_the_parts_of_many_ranges_keep_the_cap() -> None:
    asked = Correction(split=tuple(KeyRange(10, n) for n in range(1_024)))
    found = correction.compare(asked, rows_of(200), Room(ANSWER_BYTES_MIN))
    assert 0 < len(found.parts) < 1_024
    assert len(msgspec.json.encode(found.parts)) <= ANSWER_BYTES_MIN
