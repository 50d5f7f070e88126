"""The worker's memory: bounded, never the truth, and nothing of it outlives a rebalance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from infra.cassandra import conversation_heads, members_by_conversation
from schemas.events import ConversationEvent, MembersJoined, Message, Reconsider
from schemas.heads import Head, Mode
from streams.cache import MEMBERS_TOGETHER_MAX, ConversationCache
from tests.unit.infra.cassandra.support import Cells
from tests.unit.streams.support import T0, run


def message(conversation_id: str) -> Message:
    return Message(conversation_id, 1, "ann", T0)


def joined(conversation_id: str) -> MembersJoined:
    return MembersJoined(conversation_id, ("eve",), 0, T0)


def asked(*events: ConversationEvent) -> dict[str, list[ConversationEvent]]:
    found: dict[str, list[ConversationEvent]] = {}
    for event in events:
        found.setdefault(event.conversation_id, []).append(event)
    return found


def group(cells: Cells, conversation_id: str, *members: str, mode: Mode = Mode.WRITE) -> None:
    for user in members:
        cells.apply(
            members_by_conversation.member(cells, conversation_id, user, is_member=True, stamp=1)
        )
    cells.apply(conversation_heads.mode(cells, Head(conversation_id, mode=mode, mode_epoch=2)))


def tables_read(cells: Cells) -> list[str]:
    found = [statement.cql.split("FROM ks.")[1].split()[0] for statement in cells.reads]
    cells.reads.clear()
    return found


FROM_NOTHING = ["conversation_heads", "members_by_conversation", "conversation_heads"]
"""The head tells whether members are needed; it is read again behind them, because it is written
before them."""


def test_a_head_that_moved_while_members_were_read_is_the_one_that_counts() -> None:
    """A worker that was replaced without knowing brings the conversation back in between."""

    class Moving(Cells):
        async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            if "members_by_conversation" in cql:
                back = Head("sg_1", mode=Mode.WRITE, mode_epoch=4)
                self.apply(conversation_heads.mode(self, back))
            return await super().aread(cql, values)

    cells = Moving()
    group(cells, "sg_1", "ann", mode=Mode.READ)
    found = run(ConversationCache(cells, 10, 0).load(asked(joined("sg_1"))))
    assert found["sg_1"].head.mode is Mode.WRITE


def test_an_unknown_conversation_is_new_and_empty() -> None:
    found = run(ConversationCache(Cells(), 10, 0).load(asked(message("sg_1"))))
    assert found["sg_1"].head == Head("sg_1")
    assert found["sg_1"].members == set()


def test_what_is_held_is_not_read_again() -> None:
    cells = Cells()
    group(cells, "sg_1", "ann", "bob")
    cache = ConversationCache(cells, 10, 0)
    first = run(cache.load(asked(message("sg_1"))))
    cells.reads.clear()
    assert run(cache.load(asked(message("sg_1"))))["sg_1"] is first["sg_1"]
    assert cells.reads == []


def test_members_who_left_are_none() -> None:
    cells = Cells()
    group(cells, "sg_1", "ann", "bob")
    cells.apply(members_by_conversation.member(cells, "sg_1", "bob", is_member=False, stamp=2))
    found = run(ConversationCache(cells, 10, 0).load(asked(message("sg_1"))))
    assert found["sg_1"].members == {"ann"}


def test_a_message_of_a_read_conversation_reads_no_members() -> None:
    cells = Cells()
    group(cells, "sg_1", "ann", mode=Mode.READ)
    found = run(ConversationCache(cells, 10, 0).load(asked(message("sg_1"))))
    assert found["sg_1"].members is None
    assert tables_read(cells) == ["conversation_heads"]


def test_messages_of_a_read_conversation_never_read_members_however_many_batches() -> None:
    cells = Cells()
    group(cells, "sg_1", "ann", "bob", mode=Mode.READ)
    cache = ConversationCache(cells, 10, 0)
    for _ in range(3):
        found = run(cache.load(asked(*[message("sg_1")] * 5)))
        cache.trim()
        assert found["sg_1"].members is None
    assert tables_read(cells) == ["conversation_heads"]


def test_a_switch_can_only_be_decided_on_with_the_members_at_hand() -> None:
    """What is reconsidered may return, and then everybody gets a fence."""
    cells = Cells()
    group(cells, "sg_1", "ann", "bob", mode=Mode.READ)
    found = run(ConversationCache(cells, 10, 0).load(asked(message("sg_1"), Reconsider("sg_1"))))
    assert found["sg_1"].members == {"ann", "bob"}


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.READ])
def test_whoever_is_diffused_to_is_known(mode: Mode) -> None:
    cells = Cells()
    group(cells, "sg_1", "ann", mode=mode)
    found = run(ConversationCache(cells, 10, 0).load(asked(message("sg_1"))))
    assert found["sg_1"].members == {"ann"}


def test_members_are_read_once_an_event_needs_them() -> None:
    cells = Cells()
    group(cells, "sg_1", "ann", mode=Mode.READ)
    cache = ConversationCache(cells, 10, 0)
    run(cache.load(asked(message("sg_1"))))
    cells.reads.clear()
    found = run(cache.load(asked(message("sg_1"), joined("sg_1"))))
    assert found["sg_1"].members == {"ann"}
    assert tables_read(cells) == FROM_NOTHING[1:]


def test_a_drop_forgets_everything() -> None:
    cells = Cells()
    group(cells, "sg_1", "ann")
    cache = ConversationCache(cells, 10, 0)
    run(cache.load(asked(message("sg_1"))))
    cache.trim()
    held = ("diffusion_stream_cached_conversations", {"held_as": "objects"})
    assert REGISTRY.get_sample_value(*held) == 1
    cache.drop()
    assert REGISTRY.get_sample_value(*held) == 0
    group(cells, "sg_1", "bob")
    assert run(cache.load(asked(message("sg_1"))))["sg_1"].members == {"ann", "bob"}


def test_what_was_read_before_a_drop_is_not_kept_after_it() -> None:
    """Partitions revoked while a load waits for Cassandra: the batch goes on with what it read, but
    a worker that gets the partition back must not find it, because another may have changed it.
    """

    class Slow(Cells):
        cache: ConversationCache

        async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            rows = await super().aread(cql, values)
            if "members_by_conversation" in cql and not self.interrupted:
                self.interrupted = True
                self.cache.drop()
            return rows

        interrupted = False

    cells = Slow()
    cells.cache = ConversationCache(cells, 10, 0)
    group(cells, "sg_1", "ann")
    assert run(cells.cache.load(asked(message("sg_1"))))["sg_1"].members == {"ann"}
    group(cells, "sg_1", "bob")
    assert run(cells.cache.load(asked(message("sg_1"))))["sg_1"].members == {"ann", "bob"}


def test_the_least_recently_used_are_let_go_first() -> None:
    cells = Cells()
    for name in ("sg_1", "sg_2", "sg_3"):
        group(cells, name, "ann", "bob")
    cache = ConversationCache(cells, 6, 0)  # two conversations of two members
    for name in ("sg_1", "sg_2", "sg_1", "sg_3"):
        run(cache.load(asked(message(name))))
    cache.trim()
    cells.reads.clear()
    run(cache.load(asked(message("sg_1"), message("sg_3"))))
    assert cells.reads == []
    run(cache.load(asked(message("sg_2"))))
    assert tables_read(cells) == FROM_NOTHING


def test_one_conversation_above_the_bound_is_held_for_its_batch_only() -> None:
    cells = Cells()
    group(cells, "sg_1", *(f"user{n}" for n in range(20)))
    cache = ConversationCache(cells, 5, 0)
    assert len(run(cache.load(asked(message("sg_1"))))["sg_1"].members or ()) == 20
    cache.trim()
    cells.reads.clear()
    run(cache.load(asked(message("sg_1"))))
    assert tables_read(cells) == FROM_NOTHING


def test_what_is_out_of_use_is_packed_and_not_read_again() -> None:
    cells = Cells()
    for name in ("sg_1", "sg_2", "sg_3"):
        group(cells, name, "ann", "bob")
    cache = ConversationCache(cells, 3, 10_000)  # one conversation of two members
    for name in ("sg_1", "sg_2", "sg_3"):
        run(cache.load(asked(message(name))))
        cache.trim()
    cells.reads.clear()
    for name in ("sg_1", "sg_2", "sg_3"):
        assert run(cache.load(asked(message(name))))[name].members == {"ann", "bob"}
        cache.trim()
    assert cells.reads == []


def test_what_changed_in_a_batch_is_packed_as_it_is_then() -> None:
    cache = ConversationCache(Cells(), 0, 10_000)
    found = run(cache.load(asked(message("sg_1"))))["sg_1"]
    found.changed_members().add("eve")
    found.left.add("ann")
    found.head = Head("sg_1", max_seq=7)
    cache.trim()
    again = run(cache.load(asked(message("sg_1"))))["sg_1"]
    assert again is not found
    assert (again.members, again.left, again.head.max_seq) == ({"eve"}, {"ann"}, 7)


def test_a_drop_forgets_the_packed_too() -> None:
    cells = Cells()
    group(cells, "sg_1", "ann")
    cache = ConversationCache(cells, 0, 10_000)
    run(cache.load(asked(message("sg_1"))))
    cache.trim()
    cache.drop()
    group(cells, "sg_1", "bob")
    assert run(cache.load(asked(message("sg_1"))))["sg_1"].members == {"ann", "bob"}
    cache.trim()


def test_the_packed_are_bounded_and_the_oldest_go_first() -> None:
    cells = Cells()
    cache = ConversationCache(cells, 0, 3_000)
    for number in range(50):
        run(cache.load(asked(message(f"sg_{number}"))))
        cache.trim()
        assert cache._packed.size <= 3_000
    cells.reads.clear()
    run(cache.load(asked(message("sg_49"))))
    assert cells.reads == []
    run(cache.load(asked(message("sg_1"))))
    assert tables_read(cells) == FROM_NOTHING


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 4), st.booleans()), max_size=40)
)
def test_what_is_counted_is_what_is_held(steps: list[tuple[str, int, bool]]) -> None:
    cache = ConversationCache(Cells(), 8, 900)
    for name, members, dropped in steps:
        if dropped and members == 0:
            cache.drop()
        found = run(cache.load(asked(message(name))))[name]
        found.changed_members().update(f"user{number}" for number in range(members))
        if dropped and members == 1:
            cache.drop()  # in the middle of a batch
        cache.trim()
        held = sum(1 + len(one.members or ()) + len(one.left) for one in cache._held.values())
        assert cache._memberships == held <= 8
        assert cache._weights.keys() == cache._held.keys()
        assert cache._packed.size <= 900
        assert not any(held_id in cache._packed for held_id in cache._held)


def test_short_lists_are_read_together_and_long_ones_one_by_one() -> None:
    cells = Cells()
    chats = [f"si_{n}" for n in range(150)]
    for name in chats:
        group(cells, name, "ann", f"bob{name}")
    cells.apply(members_by_conversation.member(cells, "si_7", "ann", is_member=False, stamp=2))
    for name in ("sg_1", "sg_2"):
        users = [f"user{n}" for n in range(MEMBERS_TOGETHER_MAX + 1)]
        group(cells, name, *users)
        cells.apply(conversation_heads.member_count(cells, name, len(users), 1))
    every = [*chats, "sg_1", "sg_2", "si_new"]
    found = run(ConversationCache(cells, 10, 0).load(asked(*map(message, every))))
    assert found["si_7"].members == {"bobsi_7"}
    assert found["si_7"].left == {"ann"}
    assert found["si_9"].members == {"ann", "bobsi_9"}
    assert len(found["sg_2"].members or ()) == MEMBERS_TOGETHER_MAX + 1
    assert found["si_new"].members == set()
    read = [one.cql for one in cells.reads]
    assert read.count(members_by_conversation.SELECT_MANY) == 2
    assert read.count(members_by_conversation.SELECT_ALL) == 2
