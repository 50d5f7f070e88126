"""The rules of the tap: every kind of record, and the events that it becomes."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.openim.mapping import Room, translate
from consumers.openim.records import Record
from schemas.events import MembersJoined, MembersLeft, Message, Read, WriteEvent
from schemas.limits import MEMBERS_PER_EVENT_MAX
from tests.unit.consumers.openim.support import COPIED, NOTICE, T0, Knows, room, single, tips, users


def told(record: Record, known: Knows | None = None, *, history: bool = True) -> list[WriteEvent]:
    """The events of a record in which nothing is wrong."""
    found = translate(record, known or Knows(), history=history)
    assert found.problems == []
    return found.events


def joined(*who: str, seq: int, history: bool = True) -> list[WriteEvent]:
    return [MembersJoined("n_G", who, 0, T0), MembersJoined("sg_G", who, seq, T0, history)]


def left(*who: str, seq: int, reason: Any) -> list[WriteEvent]:
    return [MembersLeft("n_G", who, 0, T0, reason), MembersLeft("sg_G", who, seq, T0, reason)]


# Messages.


@pytest.mark.parametrize("content_type", [101, 110, 117, 119, 203, 1201, 1512, 2001, 7777])
def test_what_has_a_sequence_is_a_message_whatever_its_type(content_type: int) -> None:
    assert told(single(content_type, seq=7)) == [
        Message("si_ann_bob", 7, "ann", T0, ("ann", "bob"))
    ]


@pytest.mark.parametrize("option", ["unreadCount", "conversationUpdate", "senderSync", "history"])
def test_options_for_clients_change_nothing(option: str) -> None:
    assert told(single(seq=7, options={option: False})) == told(single(seq=7))


def test_what_has_no_sequence_is_no_message() -> None:
    assert told(single(113, options={"history": False})) == []


def test_a_group_names_nobody() -> None:
    assert told(room(seq=7)) == [Message("sg_G", 7, "ann", T0)]
    assert told(room(seq=7, session_type=2, conversation_id="g_G")) == [
        Message("g_G", 7, "ann", T0)
    ]


def test_who_writes_to_himself_is_named_once() -> None:
    record = single(seq=1, conversation_id="si_ann_ann", receiver_id="ann")
    assert told(record) == [Message("si_ann_ann", 1, "ann", T0, ("ann",))]


def test_a_system_account_has_no_conversation_itself() -> None:
    record = single(1400, seq=3, conversation_id="sn_ann_bob", session_type=4)
    assert told(record) == [Message("sn_ann_bob", 3, "ann", T0, ("bob",))]


@pytest.mark.parametrize("session_type", [1, 4])
def test_stored_notices_of_two_are_for_both(session_type: int) -> None:
    record = single(
        2101, tips(seq=4), seq=2, conversation_id="n_ann_bob", session_type=session_type
    )
    assert told(record) == [Message("n_ann_bob", 2, "ann", T0, ("ann", "bob"))]


def test_stored_notices_of_a_group_are_for_its_members() -> None:
    record = room(2101, tips(seq=4), seq=2, conversation_id="n_G", options=NOTICE)
    assert told(record) == [Message("n_G", 2, "ann", T0)]


def test_a_message_of_a_session_that_is_not_known_is_a_problem() -> None:
    found = translate(single(seq=7, session_type=9), Knows(), history=True)
    assert found.events == []
    assert found.problems == ["session type 9 is not known: whose message is it?"]


# Read receipts.


def receipt(
    read_seq: int, seqs: list[int] | None = None, conversation: str = "si_ann_bob"
) -> bytes:
    return tips(markAsReadUserID="ann", conversationID=conversation, seqs=seqs, hasReadSeq=read_seq)


def test_a_receipt_of_a_chat_is_told_and_is_a_notice_for_both() -> None:
    record = single(2200, receipt(5), seq=2, conversation_id="n_ann_bob", options=NOTICE)
    assert told(record) == [
        Read("ann", "si_ann_bob", 5),
        Message("n_ann_bob", 2, "ann", T0, ("ann", "bob")),
    ]


def test_a_receipt_of_a_group_is_for_the_reader_alone() -> None:
    record = single(
        2200,
        receipt(5, conversation="sg_G"),
        conversation_id="n_ann_ann",
        receiver_id="ann",
        options=NOTICE,
    )
    assert told(record) == [Read("ann", "sg_G", 5)]


@pytest.mark.parametrize(
    ("read_seq", "seqs", "upto"), [(5, [], 5), (1, [3, 7, 6], 7), (9, [3], 9), (0, None, 0)]
)
def test_the_greatest_of_a_receipt_counts(read_seq: int, seqs: list[int] | None, upto: int) -> None:
    assert told(single(2200, receipt(read_seq, seqs))) == [Read("ann", "si_ann_bob", upto)]


@pytest.mark.parametrize("content", [receipt(-1, [4]), receipt(4, conversation="")])
def test_what_openim_itself_passes_by_says_nothing(content: bytes) -> None:
    assert told(single(2200, content)) == []


def test_a_receipt_that_cannot_be_read_is_a_message_still() -> None:
    found = translate(single(2200, b"{}", seq=4), Knows(), history=True)
    assert found.events == [Message("si_ann_bob", 4, "ann", T0, ("ann", "bob"))]
    assert len(found.problems) == 1


# Membership: the stored copy says where it happened.


JOINS = {
    1501: tips(memberList=users("ann"), groupOwnerUser=users("bob")[0]),
    1509: tips(invitedUserList=users("ann", "bob")),
}
LEAVES = {
    1504: (tips(quitUser=users("ann")[0]), ("ann",), "quit"),
    1508: (tips(kickedUserList=users("ann", "bob")), ("ann", "bob"), "kick"),
}


@pytest.mark.parametrize("content_type", JOINS)
def test_who_joins_is_a_member_when_he_is_told_of_it(content_type: int) -> None:
    assert told(room(content_type, JOINS[content_type], seq=8)) == [
        *joined("ann", "bob", seq=7),
        Message("sg_G", 8, "ann", T0),
    ]


def test_who_enters_joins() -> None:
    record = room(1510, tips(entrantUser=users("ann")[0]), seq=8)
    assert told(record) == [*joined("ann", seq=7), Message("sg_G", 8, "ann", T0)]


@pytest.mark.parametrize("content_type", LEAVES)
def test_who_leaves_is_told_of_it_and_of_nothing_after(content_type: int) -> None:
    content, who, reason = LEAVES[content_type]
    assert told(room(content_type, content, seq=8)) == [
        Message("sg_G", 8, "ann", T0),
        *left(*who, seq=8, reason=reason),
    ]


@pytest.mark.parametrize("content_type", [*JOINS, *LEAVES, 1510, 1511])
def test_a_notice_with_a_copy_leaves_it_to_the_copy(content_type: int) -> None:
    assert told(room(content_type, b"not looked at", options=COPIED)) == []
    assert told(room(content_type, b"not looked at", options={})) == [], "absent means true"


@pytest.mark.parametrize(("content_type", "hidden"), [(1509, True), (1510, True), (1501, False)])
def test_history_is_hidden_from_who_joins_and_never_from_founders(
    content_type: int, hidden: bool
) -> None:
    content = JOINS.get(content_type, tips(entrantUser=users("ann")[0]))
    _, event, _ = told(room(content_type, content, seq=8), history=False)
    assert isinstance(event, MembersJoined)
    assert (event.seq, event.history) == (7, not hidden)


def test_a_membership_notice_of_two_says_nothing_of_members() -> None:
    record = single(1508, LEAVES[1508][0], seq=8)
    assert told(record) == [Message("si_ann_bob", 8, "ann", T0, ("ann", "bob"))]


def test_a_membership_notice_without_a_group_is_a_problem_and_a_message() -> None:
    found = translate(room(1508, LEAVES[1508][0], seq=8, group_id=""), Knows(), history=True)
    assert found.events == [Message("sg_G", 8, "ann", T0)]
    assert found.problems[0] == "the membership notice names no group"


def test_more_users_than_an_event_may_name_make_several() -> None:
    who = [f"u{number}" for number in range(MEMBERS_PER_EVENT_MAX + 1)]
    found = told(room(1509, tips(invitedUserList=users(*who)), seq=1))
    sizes = [len(event.user_ids) for event in found if isinstance(event, MembersJoined)]
    assert sizes == [MEMBERS_PER_EVENT_MAX, 1] * 2


# Membership without a copy: the place must be found.


def test_a_notice_without_a_copy_is_after_what_was_seen() -> None:
    known = Knows({"sg_G": 12})
    content, who, reason = LEAVES[1508]
    assert told(room(1508, content), known) == left(*who, seq=12, reason=reason)
    assert told(room(1509, JOINS[1509]), known, history=False) == joined(
        "ann", "bob", seq=12, history=False
    )
    assert known.asked == []


def test_whose_history_is_not_hidden_needs_no_place() -> None:
    assert told(room(1509, JOINS[1509])) == joined("ann", "bob", seq=0)
    assert told(room(1501, JOINS[1501]), history=False) == joined("ann", "bob", seq=0)


def test_an_asked_place_counts_for_those_only_whose_membership_still_changes() -> None:
    known = Knows(rooms={"sg_G": Room(20, {"ann"})})
    content, who, _ = LEAVES[1508]
    n_left, _ = left(*who, seq=20, reason="kick")
    assert told(room(1508, content), known) == [
        n_left,
        MembersLeft("sg_G", ("ann",), 20, T0, "kick"),
    ]
    n_joined, _ = joined("ann", "bob", seq=20)
    assert told(room(1509, JOINS[1509]), known, history=False) == [
        n_joined,
        MembersJoined("sg_G", ("bob",), 20, T0, history=False),
    ]


@pytest.mark.parametrize(
    ("content_type", "list_name"), [(1508, "kickedUserList"), (1509, "invitedUserList")]
)
@pytest.mark.parametrize("named", [None, [], [None]])
def test_a_notice_that_names_nobody_says_nothing(
    content_type: int, list_name: str, named: list[None] | None
) -> None:
    known = Knows(rooms={"sg_G": Room(20, {"ann"})})
    notice = room(content_type, tips(**{list_name: named}))
    assert told(notice, known, history=False) == []
    assert known.asked == []


def test_a_stored_notice_without_a_copy_has_the_place_of_a_notice() -> None:
    content, who, reason = LEAVES[1508]
    record = room(1508, content, seq=3, conversation_id="n_G", options=NOTICE | {"history": True})
    assert told(record, Knows({"sg_G": 12})) == [
        Message("n_G", 3, "ann", T0),
        *left(*who, seq=12, reason=reason),
    ]


# Dismissal: nobody is named, everybody is meant.

DISMISSED = tips(group={"groupID": "G"}, opUser=users("ann")[0])


def test_a_dismissed_group_ends_for_all_whom_the_engine_knows() -> None:
    known = Knows(rooms={"sg_G": Room(9, {"bob", "ann"}), "n_G": Room(4, {"ann", "cid"})})
    assert told(room(1511, DISMISSED, seq=9), known) == [
        Message("sg_G", 9, "ann", T0),
        MembersLeft("n_G", ("ann", "cid"), 0, T0, "dismiss"),
        MembersLeft("sg_G", ("ann", "bob"), 9, T0, "dismiss"),
    ]


@pytest.mark.parametrize(("seen", "seq"), [({"sg_G": 12}, 12), ({}, 15)])
def test_a_dismissal_without_a_copy_is_after_what_was_seen_or_is_known(
    seen: dict[str, int], seq: int
) -> None:
    known = Knows(seen, {"sg_G": Room(15, {"ann"}), "n_G": Room(0, {"ann"})})
    assert told(room(1511, DISMISSED), known) == left("ann", seq=seq, reason="dismiss")


def test_a_dismissal_that_is_repeated_finds_nobody() -> None:
    known = Knows(rooms={"sg_G": Room(9, set()), "n_G": Room(4, set())})
    assert told(room(1511, DISMISSED, seq=9), known) == [Message("sg_G", 9, "ann", T0)]
