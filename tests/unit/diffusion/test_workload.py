"""The workload: reproducible, of every kind of event, and never against the contract."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.trace import GroupRow, PrivateRow, Row, merged, read_trace
from diffusion.workload import TimedEvent, workload
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
from schemas.ids import is_notification
from schemas.routes import routed
from tests.unit.diffusion.support import GROUPS, PRIVATE


@cache
def real(seed: int = 1) -> tuple[TimedEvent, ...]:
    """Make events of the private trace and five groups."""
    return tuple(workload(merged(read_trace(PRIVATE), read_trace(GROUPS)), seed, groups=5))


class Rules:
    """What every workload keeps to; checked event by event."""

    def __init__(self) -> None:
        self.last: dict[str, int] = defaultdict(int)
        self.members: dict[str, set[str]] = defaultdict(set)
        self.known: dict[str, set[str]] = defaultdict(set)
        self.now_ms = 0

    def check(self, timed: TimedEvent) -> None:
        """Fail for an event that breaks a rule."""
        event = timed.event
        assert timed.at_ms >= self.now_ms
        self.now_ms = timed.at_ms
        routed(event)
        match event:
            case Message():
                self._message(event, timed.at_ms)
            case MembersJoined():
                assert (event.seq, event.at_ms) == (self.last[event.conversation_id], timed.at_ms)
                assert self.members[event.conversation_id].isdisjoint(event.user_ids)
                self.members[event.conversation_id].update(event.user_ids)
                self.known[event.conversation_id].update(event.user_ids)
            case MembersLeft():
                assert (event.seq, event.at_ms) == (self.last[event.conversation_id], timed.at_ms)
                assert self.members[event.conversation_id].issuperset(event.user_ids)
                self.members[event.conversation_id].difference_update(event.user_ids)
            case ConversationSettings():
                assert event.conversation_id in self.last
            case ModuleChanged():
                pass
            case _:
                self._own_write(event, timed.at_ms)

    def _message(self, event: Message, at_ms: int) -> None:
        assert event.sent_at_ms == at_ms
        self.last[event.conversation_id] += 1
        assert event.seq == self.last[event.conversation_id]
        if event.members is None:
            assert event.sender_id in self.members[event.conversation_id]
            assert event.sender_id.startswith("2")
        else:
            assert event.sender_id in event.members
            assert all(len(user) == 10 and user.startswith("1") for user in event.members)
            self.known[event.conversation_id].update(event.members)

    def _own_write(
        self,
        event: Read | UserConversationSettings | ConversationCleared | ConversationDeleted,
        at_ms: int,
    ) -> None:
        last = self.last[event.conversation_id]
        assert event.user_id in self.known[event.conversation_id]
        match event:
            case Read():
                assert event.read_seq <= last
            case ConversationCleared():
                assert event.min_seq <= last + 1
            case ConversationDeleted():
                assert (event.deleted_seq, event.at_ms) == (last, at_ms)
            case UserConversationSettings():
                assert isinstance(event.pinned, bool) or isinstance(event.muted, bool)


def check(events: Iterable[TimedEvent]) -> None:
    rules = Rules()
    for timed in events:
        rules.check(timed)


def test_the_real_workload_keeps_the_rules() -> None:
    check(real())


def test_every_kind_of_event_occurs() -> None:
    counts = Counter(type(timed.event) for timed in real())
    # All that a backend tells; the engine writes Reconsider itself.
    assert set(counts) == set(get_args(WriteEvent)) - {Reconsider}
    assert counts[Read] > 10_000
    messages = [timed.event for timed in real() if isinstance(timed.event, Message)]
    assert any(is_notification(event.conversation_id) for event in messages)


def test_every_way_of_joining_leaving_and_setting_occurs() -> None:
    events = [timed.event for timed in workload(read_trace(GROUPS), 1, groups=20)]
    joins = [event for event in events if isinstance(event, MembersJoined)]
    left = [event for event in events if isinstance(event, MembersLeft)]
    assert {event.history for event in joins} == {True, False}
    assert {event.reason for event in left} == {"quit", "kick"}
    assert max(len(event.user_ids) for event in left) > 1
    entries = Counter((event.conversation_id, event.user_ids) for event in joins)
    assert max(entries.values()) > 1, "somebody rejoins"
    settings = [event for event in events if isinstance(event, ConversationSettings)]
    assert {event.diffusion for event in settings} == {"auto", "always_write", "always_read"}


def test_read_markers_come_late_and_twice() -> None:
    older = repeated = 0
    newest: dict[tuple[str, str], int] = {}
    for timed in real():
        if isinstance(timed.event, Read):
            key = (timed.event.user_id, timed.event.conversation_id)
            before = newest.get(key, -1)
            older += timed.event.read_seq < before
            repeated += timed.event.read_seq == before
            newest[key] = max(before, timed.event.read_seq)
    assert older > 100
    assert repeated > 100


def test_the_messages_are_those_of_the_trace() -> None:
    sent = [
        timed.event
        for timed in real()
        if isinstance(timed.event, Message) and not is_notification(timed.event.conversation_id)
    ]
    private = [event for event in sent if event.members]
    assert len(private) == 59_835
    assert [(e.sender_id, e.sent_at_ms) for e in private] == [
        (str(1_000_000_000 + row.sender), row.sent_at_s * 1000) for row in read_trace(PRIVATE)
    ]
    assert len({event.conversation_id for event in sent if not event.members}) == 5


def test_the_same_seed_gives_the_same_events_and_another_does_not() -> None:
    rows = list(merged(read_trace(PRIVATE), read_trace(GROUPS)))[55_000:65_000]
    assert list(workload(rows, 7)) == list(workload(iter(rows), 7))
    assert list(workload(rows, 7)) != list(workload(rows, 8))


@pytest.mark.parametrize("groups", [0, 1, 3, None])
def test_only_the_first_groups_to_appear_are_taken(groups: int | None) -> None:
    rows = [GroupRow(number, 1, 1_000_000_000 + number) for number in (9, 4, 9, 7, 1, 4, 7)]
    rows.sort(key=lambda row: row.sent_at_s)
    conversations = {
        timed.event.conversation_id
        for timed in workload(rows, 1, groups)
        if isinstance(timed.event, Message)
    }
    order = ["sg_1", "sg_4", "sg_7", "sg_9"]
    assert conversations == set(order[:groups])


def test_a_message_to_oneself_has_one_member() -> None:
    first = next(workload([PrivateRow(5, 5, 1_000_000_000)], 1))
    user = "1000000005"
    at_ms = 1_000_000_000_000
    assert first == (at_ms, Message(f"si_{user}_{user}", 1, user, at_ms, (user,)))


times = st.integers(1_000_000_000, 1_000_000_500)
small = st.integers(0, 4)
row_lists = st.lists(
    st.one_of(st.builds(PrivateRow, small, small, times), st.builds(GroupRow, small, small, times)),
    max_size=200,
)


@given(row_lists, st.integers(0, 2**32))
def test_any_trace_keeps_the_rules(rows: list[Row], seed: int) -> None:
    rows.sort(key=lambda row: row.sent_at_s)
    check(workload(rows, seed))
