"""Details of notices, as OpenIM nests them."""

from __future__ import annotations

import pytest

from consumers.openim.notices import MEMBERSHIP, read_tips, users_named
from schemas.errors import DecodeError
from tests.unit.consumers.openim.support import tips, users


def test_a_read_receipt() -> None:
    found = read_tips(
        tips(markAsReadUserID="ann", conversationID="sg_G", seqs=[3, 9], hasReadSeq=4, later=1)
    )
    assert (found.user_id, found.conversation_id) == ("ann", "sg_G")
    assert (found.seqs, found.has_read_seq) == ((3, 9), 4)


def test_what_is_absent_in_go_is_null() -> None:
    assert read_tips(tips(conversationID="sg_G", seqs=None, hasReadSeq=4)).seqs is None
    assert users_named(tips(kickedUserList=None, opUser=None), MEMBERSHIP[1508]) == ()
    assert users_named(tips(kickedUserList=[None]), MEMBERSHIP[1508]) == ()


@pytest.mark.parametrize(
    ("number", "detail", "named"),
    [
        (1501, {"memberList": users("ann", "bob"), "groupOwnerUser": users("cid")[0]}, ("ann", "bob", "cid")),
        (1501, {"memberList": users("ann"), "groupOwnerUser": users("ann")[0]}, ("ann",)),
        (1501, {"memberList": None, "groupOwnerUser": None, "opUser": users("ann")[0]}, ()),
        (1504, {"quitUser": users("ann")[0]}, ("ann",)),
        (1508, {"kickedUserList": users("ann", "bob"), "opUser": users("cid")[0]}, ("ann", "bob")),
        (1509, {"invitedUserList": users("bob", "ann", "bob"), "inviterUser": users("cid")[0]}, ("bob", "ann")),
        (1510, {"entrantUser": users("ann")[0], "operationTime": 5}, ("ann",)),
        (1511, {"opUser": users("ann")[0]}, ()),
    ],
)  # fmt: skip
def test_a_membership_notice_names_users(
    number: int, detail: dict[str, object], named: tuple[str, ...]
) -> None:
    assert users_named(tips(group={"groupID": "G"}, **detail), MEMBERSHIP[number]) == named


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\xff", b'{"detail": 5}', b'{"detail": "{"}', b'{"detail": "[]"}', tips(seqs="x"),
     tips(hasReadSeq=2**64), b'{"detail": "' + b"[" * 100_000 + b'"}'],
)  # fmt: skip
def test_what_is_no_detail_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError, match="detail"):
        read_tips(content)
