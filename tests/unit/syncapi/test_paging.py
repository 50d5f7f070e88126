"""From every earlier cursor, with every page size: the client ends where everybody else is.

The model of JMAP's tests of `/changes` (RFC 8620, section 5.2): a long history, a cursor kept after
each step of it, and from each of them pages of 1 to 8 until there are no more. The oracle is this
test's own arithmetic: it knows no versions, windows, pages or modes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from infra.settings import load
from schemas.changes import Membership, MessageChange, ModuleChange, ReadChange, StateChange
from schemas.conversations import NO_CAP, ConversationState, OwnState
from schemas.digests import canonical, digest_row, root_of
from schemas.protocol import ALL_MODULES, Reason, SyncRequest, SyncResponse, merge
from schemas.versions import window_start
from syncapi import delta
from syncapi.service import SyncService
from tests.unit.syncapi.support import KEY, T0, WINDOW_MS, Store, run

GROUPS = ("sg_1", "sg_2", "sg_3", "sg_4", "sg_5")
MODULES = ("friends", "folders")
SIZES = range(1, 9)
PAGES_MAX = 200


@dataclass
class Client:
    """What a device holds; merges as PROTOCOL.md says."""

    cursor: str | None = None
    held: dict[str, ConversationState] = field(default_factory=dict)
    items: dict[tuple[str, str], int] = field(default_factory=dict)
    page: str | None = None
    named: set[str] = field(default_factory=set)

    def copy(self) -> Client:
        return Client(self.cursor, dict(self.held), dict(self.items))

    def take(self, answer: SyncResponse, there: dict[tuple[str, str], int]) -> None:
        """Store a delta, or a page of a full answer; `there` are the modules' items now."""
        if answer.path == "full" and answer.reason is not Reason.PAGING:
            self.named = set()
        for entry in answer.conversations:
            cid = entry.conversation_id
            fresh = answer.path == "full" and cid not in self.named
            self.held[cid] = merge(None if fresh else self.held.get(cid), entry)
            self.named.add(cid)
        if answer.path == "full" and answer.page is None:
            self.held = {cid: self.held[cid] for cid in self.held if cid in self.named}
        self.page = answer.page
        for name in answer.module_resets:
            self.items = {
                key: version
                for key, version in (self.items | there).items()
                if key in there or name not in {key[0], ALL_MODULES}
            }
        for item in answer.modules:
            key = (item.module, item.item_id)
            self.items[key] = max(item.item_version, self.items.get(key, 0))
        if answer.pinned is not None:
            for cid, state in self.held.items():
                pinned = cid in answer.pinned
                self.held[cid] = replace(state, own=replace(state.own, pinned=pinned))
        self.cursor = answer.cursor or self.cursor


class World:
    """The tables as the pipeline leaves them, a service on them, and what is true."""

    def __init__(self, **limits: Any) -> None:
        self.store = Store()
        self.now_ms = T0
        self.service = SyncService(load(**limits), self.store, KEY, lambda: self.now_ms)
        self.service._heads._monotonic_s = lambda: self.now_ms / 1_000
        self.seqs = dict.fromkeys(GROUPS, 0)
        self.active = dict.fromkeys(GROUPS, 0)
        self.reads = dict.fromkeys(GROUPS, 0)
        self.own: dict[str, OwnState] = {}
        self.epochs = dict.fromkeys(GROUPS, 0)
        self.hidden: set[str] = set()
        self.items: dict[tuple[str, str], int] = {}
        self.stamp = 0

    # What happens.

    def do(self, op: tuple[str, int]) -> None:
        what, number = op
        self.now_ms += 1_500
        self.stamp += 1
        getattr(self, what)(GROUPS[number % len(GROUPS)], number)

    def add(self, *changes: Any) -> None:
        self.store.add(*changes, window_ms=window_start(self.now_ms, WINDOW_MS))

    def state(self, group: str, **cells: Any) -> None:
        self.add(StateChange(group, ("ann",), self.stamp, **cells))

    def message(self, group: str, number: int) -> None:
        self.seqs[group] += 1
        seq, at_ms = self.seqs[group], self.now_ms
        self.active[group] = at_ms
        self.store.head(group, seq, at_ms)
        own = self.own.get(group)
        if own is not None and own.member and group not in self.hidden:
            self.add(MessageChange(group, ("ann",), seq, at_ms))

    def read(self, group: str, number: int) -> None:
        if group in self.own:
            seq = min(number, self.seqs[group])
            self.reads[group] = max(seq, self.reads[group])
            self.add(ReadChange(group, ("ann",), seq))

    def join(self, group: str, number: int) -> None:
        held = self.own.get(group, OwnState())
        self.own[group] = replace(
            held, member=True, membership_at_ms=self.now_ms, user_max_seq=NO_CAP
        )
        self.state(group, membership=Membership(True, NO_CAP, self.now_ms))
        if group in self.hidden:
            self.state(group, read_side=True, mode_epoch=self.epochs[group])

    def leave(self, group: str, number: int) -> None:
        held = self.own.get(group)
        if held is not None and held.member:
            cap = self.seqs[group]
            self.own[group] = replace(
                held, member=False, membership_at_ms=self.now_ms, user_max_seq=cap
            )
            self.state(group, membership=Membership(False, cap, self.now_ms))

    def pin(self, group: str, number: int) -> None:
        if group in self.own:
            pinned = bool(number % 2)
            self.own[group] = replace(self.own[group], pinned=pinned)
            self.state(group, pinned=pinned)

    def clear(self, group: str, number: int) -> None:
        if group in self.own:
            least = max(self.own[group].min_seq, min(number, self.seqs[group]))
            self.own[group] = replace(self.own[group], min_seq=least)
            self.state(group, min_seq=least)

    def switch(self, group: str, number: int) -> None:
        """The fence of a switch: all members are told, with the present sequence."""
        self.epochs[group] += 1
        on = group not in self.hidden
        self.hidden ^= {group}
        own = self.own.get(group)
        if own is not None and own.member:
            self.state(group, read_side=on, mode_epoch=self.epochs[group])
            if not on and self.seqs[group]:
                seq = self.seqs[group]
                self.add(MessageChange(group, ("ann",), seq, self.active[group]))

    def item(self, group: str, number: int) -> None:
        key = (MODULES[number % 2], f"item{number % 7}")
        self.items[key] = self.items.get(key, 0) + 1
        self.add(ModuleChange(("ann",), *key, "update", self.items[key]))

    def wait(self, group: str, number: int) -> None:
        self.now_ms += number * WINDOW_MS // 4

    # What is seen.

    def ask(self, client: Client, **asked: Any) -> SyncResponse:
        request = SyncRequest(device_id="phone", cursor=client.cursor, page=client.page, **asked)
        return run(self.service.sync("ann", request))

    def sync(self, client: Client, size: int = 500, between: Any = None) -> None:
        """Sync until all was told; `between` happens between pages."""
        told: list[str] = []
        for _ in range(PAGES_MAX):
            answer = self.ask(client, changes_max=size, modules_max=size, page_max=size)
            client.take(answer, self.items)
            assert len(answer.conversations) <= size
            assert len(answer.modules) <= size
            if answer.path == "delta":
                versions = [entry.version for entry in answer.conversations]
                assert versions == sorted(versions, reverse=True), "newest first"
                told += [entry.conversation_id for entry in answer.conversations]
            if answer.path == "delta" and not answer.has_more:
                break
            if between is not None:
                between()
        else:
            pytest.fail("the pages do not end")
        if between is None:
            assert len(told) == len(set(told)), "told once"

    def sync_while(self, client: Client, size: int, meanwhile: list[tuple[str, int]]) -> None:
        """Sync while things happen between pages; the rest of them happens after, and is synced."""
        left = iter(meanwhile)

        def between() -> None:
            op = next(left, None)
            if op is not None:
                self.do(op)

        self.sync(client, size, between)
        for op in left:
            self.do(op)
        self.now_ms += 2_000
        self.sync(client, size)

    def check(self, client: Client) -> None:
        assert {cid: canonical(state) for cid, state in client.held.items()} == {
            cid: canonical(self.truth(cid)) for cid in self.own
        }
        assert client.items == self.items
        root = root_of(map(digest_row, client.held.values()))
        assert self.ask(client, root=root).root == root, "and the server's own digest agrees"

    def truth(self, group: str) -> ConversationState:
        return ConversationState(
            group, self.seqs[group], self.active[group], self.reads[group], self.own[group]
        )


OPS = st.tuples(
    st.sampled_from(
        ["message"] * 5
        + ["read", "join", "join", "leave", "pin", "clear", "switch", "item", "item", "wait"]
    ),
    st.integers(0, 9),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(OPS, min_size=1, max_size=24))
def test_from_every_cursor_with_every_page_size(history: list[tuple[str, int]]) -> None:
    world, client = World(), Client()
    stands: list[Client] = []
    for op in [("join", 0), ("join", 1), ("join", 2), *history]:
        world.sync(client)
        stands.append(client.copy())
        world.do(op)
    world.now_ms += 2_000
    for stand in stands:
        for size in SIZES:
            device = stand.copy()
            world.sync(device, size)
            world.check(device)


@settings(max_examples=80, deadline=None)
@given(st.lists(OPS, min_size=4, max_size=20), st.lists(OPS, max_size=12), st.integers(1, 3))
def test_changes_between_pages_are_not_lost(
    before: list[tuple[str, int]], meanwhile: list[tuple[str, int]], size: int
) -> None:
    world, client = World(), Client()
    world.sync(client)
    for op in [("join", n) for n in range(5)] + before:
        world.do(op)
    world.sync_while(client, size, meanwhile)
    world.check(client)


@settings(max_examples=60, deadline=None)
@given(st.lists(OPS, min_size=4, max_size=20), st.integers(1, 3), st.integers(1, 4))
def test_an_interrupted_delta_goes_on_from_the_cursor_of_its_last_page(
    history: list[tuple[str, int]], size: int, pages: int
) -> None:
    world, client = World(), Client()
    world.sync(client)
    for op in [("join", n) for n in range(5)] + history:
        world.do(op)
    world.now_ms += 2_000
    for _ in range(pages):
        client.take(world.ask(client, changes_max=size, modules_max=size), world.items)
    world.sync(client, 500)
    world.check(client)


@settings(max_examples=60, deadline=None)
@given(st.lists(OPS, min_size=4, max_size=20), st.lists(OPS, max_size=12), st.integers(1, 4))
def test_changes_between_pages_of_a_full_correction_are_not_lost(
    before: list[tuple[str, int]], meanwhile: list[tuple[str, int]], size: int
) -> None:
    world, client = World(), Client()
    for op in [("join", n) for n in range(5)] + before:
        world.do(op)
    world.sync_while(client, size, meanwhile)
    world.check(client)


@settings(max_examples=60, deadline=None)
@given(st.lists(OPS, min_size=4, max_size=24), st.sampled_from(["crowded", "rows", "changes"]))
def test_a_crowd_in_the_index_loses_nothing(history: list[tuple[str, int]], how: str) -> None:
    """Rows of the cursor's window are filtered, are more than may be read, or are too many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta, "CROWDED_ROWS", 2 if how == "crowded" else 10_000)
        world, client = World(), Client()
        world.service._rows_max = 2 if how == "rows" else 1_000
        world.service._changes_max = 2 if how == "changes" else 1_000
        world.sync(client, 2)
        for number, op in enumerate([("join", n) for n in range(5)] + history):
            world.do(op)
            if number % 5 == 4:
                world.sync(client, 2)
        world.now_ms += 2_000
        world.sync(client, 2)
        world.check(client)
