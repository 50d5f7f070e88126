"""What ordinary incremental sync costs for the same state: the demonstration's yardstick. Pure.

Counts and sizes are those of OpenIM's open edition, read in source: open-im-server at commit
7848d7c, openim-sdk-core at 9267a25, protocol at 91e8d26 (all github.com/openimsdk). On every
reconnect the client asks two questions over its socket whose answers name *every* conversation,
changed or not: the greatest sequence of each (request 1001, `sdkws.GetMaxSeqResp`), and both read
and
greatest of each (request 1006, `msg.GetConversationsHasReadAndMaxSeqResp`).

Sizes here are those of the protobuf message alone, raw and gzip-compressed. The socket adds an
envelope (Go's gob, some 150 bytes a frame) before compression, which is not counted; neither are
the six HTTP answers about friends, groups and the like, nor the messages themselves. So the
yardstick is short rather than long.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.conversations import ConversationState
from schemas.ids import NOTIFICATION_PREFIX, is_notification

RECONNECT_TRIPS: Final = 8
"""Over the socket 1001 and 1006; over HTTP the user himself, the blacklist, joined groups, their
members, friends, conversations: one request each when none of them changed (openim-sdk-core,
`syncData` in `internal/conversation_msg/notification.go`, and `internal/interaction/msg_sync.go`).
"""

PULL_MESSAGES: Final = 100
"""Messages asked for in one pull (openim-sdk-core `msg_sync.go`, `SplitPullMsgNum`)."""

GROUPS_PER_MEMBER_REQUEST: Final = 500
"""Groups in one request for member changes (protocol `constant.MaxSyncPullNumber`)."""

CONVERSATIONS_PER_PAGE: Final = 300
ROWS_PER_PAGE: Final = 100
"""Page sizes of a full pull: conversations; groups, members and friends (`ShowNumber`)."""

GROUPS_MAX: Final = 1_000
MEMBERS_MAX: Final = 1_000
FRIENDS_MAX: Final = 10_000
"""A full pull stops there (`groupSyncLimit`, `groupMemberSyncLimit`, `friendSyncLimit`)."""

GZIP_LEVEL: Final = 6
"""The level of Go's `gzip.NewWriter`, which the server compresses frames with."""


@dataclass(frozen=True, slots=True)
class AnswerSizes:
    """Bytes of the two answers that name every conversation, before envelope: raw, and gzipped."""

    max_seq_raw: int
    max_seq_gzip: int
    read_seq_raw: int
    read_seq_gzip: int

    @property
    def raw(self) -> int:
        """Both answers, uncompressed."""
        return self.max_seq_raw + self.read_seq_raw

    @property
    def gzip(self) -> int:
        """Both answers, each compressed by itself, as frames are."""
        return self.max_seq_gzip + self.read_seq_gzip


def reconnect_round_trips(changed: int, notifications: int = 0, groups: int = 0) -> int:
    """Round trips of a reconnect: `8 + ceil((K + M_n) / 100)`, the pulls being one after another.

    `changed` conversations have new messages, of which the last is pulled (`connectPullNums` = 1);
    all `notifications` new ones are pulled. Each further 500 groups cost one request more.
    """
    more = max(0, _ceil(groups, GROUPS_PER_MEMBER_REQUEST) - 1)
    return RECONNECT_TRIPS + more + _ceil(changed + notifications, PULL_MESSAGES)


def fresh_install_round_trips(
    conversations: int, group_members: Sequence[int] = (), friends: int = 0
) -> int:
    """Round trips of a first login; `group_members` has the number of members of each group.

    Per list: one request that says "take it all", its pages, one for the ids of all of it. A page
    that is full is followed by another request, even if it finds nothing.
    """
    socket = 2 + _ceil(conversations, PULL_MESSAGES)
    own = 2  # the user himself, and the blacklist
    groups = 2 + _pages(len(group_members), ROWS_PER_PAGE, GROUPS_MAX)
    members = _ceil(len(group_members), GROUPS_PER_MEMBER_REQUEST) + sum(
        1 + _pages(count, ROWS_PER_PAGE, MEMBERS_MAX) for count in group_members
    )
    people = 2 + _pages(friends, ROWS_PER_PAGE, FRIENDS_MAX)
    chats = 2 + _pages(conversations, CONVERSATIONS_PER_PAGE, None)
    return socket + own + groups + members + people + chats


def answer_sizes(user_id: str, states: Iterable[ConversationState]) -> AnswerSizes:
    """Sizes of both answers for what a user has, notification conversations included."""
    held = _scattered(states)
    max_seqs, read_seqs = max_seq_answer(user_id, held), read_seq_answer(held)
    return AnswerSizes(
        max_seq_raw=len(max_seqs),
        max_seq_gzip=_gzip_bytes(max_seqs),
        read_seq_raw=len(read_seqs),
        read_seq_gzip=_gzip_bytes(read_seqs),
    )


def max_seq_answer(user_id: str, states: Iterable[ConversationState]) -> bytes:
    """Encode `GetMaxSeqResp {map<string, int64> maxSeqs = 1}`.

    An entry takes `2 + (2 + len(id)) + (1 + varint(seq))` bytes. Named are all chats, the
    notification conversations that have a message, and the user's own, `n_<id>_<id>`.
    """
    own_channel = f"{NOTIFICATION_PREFIX}{user_id}_{user_id}"
    seqs = {own_channel: 0}
    for state in states:
        if state.max_seq > 0 or not is_notification(state.conversation_id):
            seqs[state.conversation_id] = state.max_seq
    return b"".join(
        _field(1, _field(1, name.encode()) + _number(2, seq)) for name, seq in seqs.items()
    )


def read_seq_answer(states: Iterable[ConversationState]) -> bytes:
    """Encode `GetConversationsHasReadAndMaxSeqResp {map<string, Seqs> seqs = 1}`, chats only.

    `Seqs {maxSeq = 1, hasReadSeq = 2, maxSeqTime = 3}`: an entry takes `2 + (2 + len(id)) + 2 +
    (1 + varint(maxSeq)) + (1 + varint(hasReadSeq)) + (1 + 6)` bytes; proto3 leaves out what is 0.
    """
    return b"".join(_read_seq_entry(s) for s in states if not is_notification(s.conversation_id))


def _read_seq_entry(state: ConversationState) -> bytes:
    values = (state.max_seq, state.read_seq, state.active_at_ms)
    seqs = b"".join(_number(tag, value) for tag, value in enumerate(values, 1) if value)
    return _field(1, _field(1, state.conversation_id.encode()) + _field(2, seqs))


def _scattered(states: Iterable[ConversationState]) -> list[ConversationState]:
    """Order as Go writes a map, at random: by a digest, because sorted ids compress better.

    A chat keeps its notification conversation beside it, which Go does not: this, too, compresses
    better, and so favours the yardstick.
    """

    def place(state: ConversationState) -> tuple[bytes, str]:
        pair_or_group = state.conversation_id.partition("_")[2]
        return hashlib.blake2b(pair_or_group.encode()).digest(), state.conversation_id

    return sorted(states, key=place)


def _gzip_bytes(data: bytes) -> int:
    return len(gzip.compress(data, GZIP_LEVEL, mtime=0))


def _ceil(count: int, per_request: int) -> int:
    return -(-count // per_request)


def _pages(rows: int, per_page: int, rows_max: int | None) -> int:
    """Count the requests of a pull, which ends with a page that is not full, or at `rows_max`."""
    if rows_max is not None and rows >= rows_max:
        return _ceil(rows_max, per_page)
    return rows // per_page + 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # seven bits a byte, the eighth says that more follow
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _field(tag: int, data: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(data)) + data
