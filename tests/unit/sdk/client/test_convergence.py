"""The law of the whole client: whatever happens on the way, nothing that changed is lost.

A machine of random steps: the server changes, answers get lost, tokens expire, data is lost on the
server, the process dies at some statement, the app works on its queue and fails. At any point a
quiet sync makes the client equal to the server, and a drained queue makes the app equal, too.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from schemas.conversations import ConversationState, OwnState, is_listed
from schemas.ids import is_notification
from schemas.protocol import ALL_MODULES, Reason
from sdk.client import NetworkError, PendingEntry, PendingItem, SyncClient
from sdk.client.limits import FULL_EVERY_MS, RETRY_MAX_MS
from sdk.client.rows import UPSERT, row_of
from tests.unit.sdk.client.support import T0, Killable, Killed, ModelServer

ids = st.sampled_from([f"sg_{n}" for n in range(6)] + ["n_1", "n_2"])
own_states = st.builds(
    OwnState,
    member=st.booleans(),
    membership_at_ms=st.integers(0, 5),
    min_seq=st.integers(0, 5),
    deleted_seq=st.integers(-1, 5),
    deleted_at_ms=st.integers(0, 5),
    pinned=st.booleans(),
    muted=st.booleans(),
)


DAMAGED_SEQ = 1_000
"""Read up to there, which the server never says: so that a look finds the damage, whatever becomes the
same by chance. Of who is no member the digests do not cover the activity.
"""


class World(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.server = ModelServer()
        self.now_ms = T0
        self.app: dict[str, int] = {}
        """What the app knows of each conversation: the last sequence that it pulled."""
        self.items: dict[tuple[str, str], int] = {}
        """What the app knows of each module item: its version."""
        self.claimed: list[PendingEntry | PendingItem] = []
        self.damaged = False
        self.removed: set[str] = set()
        """What `damage` took out of the store, whose entries nobody has removed."""
        self.client = self.open()

    def open(self) -> SyncClient:
        return SyncClient(
            user_id="u1",
            device_id="phone",
            store=self.folder / "im.db",
            transport=self.server,
            clock=lambda: self.now_ms,
            page_max=2,
            changes_max=3,
        )

    @rule(conversation_id=ids, more=st.integers(1, 3))
    def message(self, conversation_id: str, more: int) -> None:
        held = self.server.states.get(conversation_id, ConversationState(conversation_id))
        self.server.change(conversation_id, max_seq=held.max_seq + more)

    @rule(conversation_id=ids, read_seq=st.integers(0, 5))
    def read(self, conversation_id: str, read_seq: int) -> None:
        self.server.change(conversation_id, read_seq=read_seq)

    @rule(conversation_id=ids, own=own_states)
    def own(self, conversation_id: str, own: OwnState) -> None:
        self.server.change(conversation_id, own=own)

    @rule(module=st.sampled_from(["friends", "folders"]), item_id=st.sampled_from(["i1", "i2"]))
    def module(self, module: str, item_id: str) -> None:
        known = self.server.items.get((module, item_id), 0)
        self.server.module(module, item_id, known + 1)

    @rule()
    def module_falls_behind(self) -> None:
        self.server.modules_oldest["friends"] = self.server.version

    @rule(conversation_id=ids)
    def lose(self, conversation_id: str) -> None:
        if conversation_id in self.server.states:
            # What the app has pulled stays with the app: nobody has told it of the loss yet.
            self.server.lose(conversation_id)

    @rule()
    def expire(self) -> None:
        self.server.oldest = self.server.version

    @rule(reason=st.sampled_from([Reason.UNREADABLE, Reason.OTHER_USER]))
    def refuse_tokens(self, reason: Reason) -> None:
        self.server.refuse(reason)

    @rule(many=st.sampled_from([2, 1_000]))
    def call_it_too_many(self, many: int) -> None:
        self.server.too_many = many

    @rule(
        conversation_id=ids,
        how=st.sampled_from(["changed", "missing", "extra"]),
        more=st.integers(1, 3),
    )
    def damage(self, conversation_id: str, how: str, more: int) -> None:
        """What no cursor knows of: only a look at the whole finds it."""
        held = self.client.state().get(conversation_id)
        db = self.client._store._db
        if how == "extra" and held is None:
            extra = ConversationState(conversation_id, more, T0, DAMAGED_SEQ)
            db.execute(UPSERT, row_of(extra, 0))
        elif how == "missing":
            db.execute("DELETE FROM conversations WHERE conversation_id = ?", (conversation_id,))
            self.removed.add(conversation_id)
        elif held is not None:
            own = replace(held.own, pinned=not held.own.pinned)
            damaged = replace(held, max_seq=held.max_seq + more, read_seq=DAMAGED_SEQ, own=own)
            db.execute(UPSERT, row_of(damaged, 0))
        self.damaged = True

    @rule(at=st.integers(1, 4), lost=st.booleans(), verify=st.booleans())
    def sync_over_a_bad_network(self, at: int, *, lost: bool, verify: bool) -> None:
        count = 0

        def cut(request: Any) -> None:
            nonlocal count
            count += 1
            if count == at:
                raise NetworkError("cut")

        setattr(self.server, "lost" if lost else "fault", cut)
        try:
            self.client.sync(verify=verify)
        except NetworkError:
            pass
        finally:
            self.server.fault = self.server.lost = lambda _: None

    @rule(ids=st.lists(ids, min_size=1, max_size=9), verify=st.booleans())
    def sync_while_the_server_changes(self, ids: list[str], *, verify: bool) -> None:
        todo = list(ids)

        def change(request: Any) -> None:
            if todo:
                self.message(todo.pop(), 1)

        self.server.lost = change
        try:
            self.client.sync(verify=verify)
        finally:
            self.server.lost = lambda _: None

    @rule(at=st.integers(1, 120), after=st.booleans(), verify=st.booleans())
    def die_while_syncing(self, at: int, *, after: bool, verify: bool) -> None:
        self.client.close()
        killable = Killable(at, after=after)
        try:
            with patch("sdk.client.database.sqlite3.connect", killable.connect):
                self.open().sync(verify=verify)
        except Killed:
            pass
        killable.close()
        self.claimed.clear()
        self.client = self.open()

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        self.claimed += self.client.pending(limit)
        self.claimed += self.client.pending_items(limit)

    @rule()
    def process(self) -> None:
        """Pull what there is now, then acknowledge: what came since the claim stays pending."""
        for entry in self.claimed:
            self.pull(entry)
        for entry in self.claimed:
            self.client.ack(entry)
        self.claimed.clear()

    @rule()
    def fail(self) -> None:
        for entry in self.claimed:
            self.client.retry(entry, "no")
        self.claimed.clear()

    def pull(self, entry: PendingEntry | PendingItem) -> None:
        if isinstance(entry, PendingItem):
            if entry.op == "refresh":
                for place, version in self.server.items.items():
                    if entry.module in {ALL_MODULES, place[0]}:
                        self.items[place] = version
            else:
                self.items[entry.module, entry.item_id] = entry.item_version
            return
        held = self.client.state().get(entry.conversation_id)
        if held is not None:
            self.app[entry.conversation_id] = held.max_seq

    @invariant()
    def pending_entries_are_of_conversations_that_exist(self) -> None:
        if hasattr(self, "client"):
            looked = self.client._store.pending(1_000, self.now_ms, 0)
            known = set(self.client.state()) | self.removed
            assert {e.conversation_id for e in looked} <= known

    @rule()
    @precondition(lambda self: not self.damaged)
    def calm_without_a_look(self) -> None:
        self.settle(verify=False)

    @rule()
    def calm(self) -> None:
        self.settle(verify=True)

    def settle(self, *, verify: bool) -> None:
        while (report := self.client.sync(verify=verify)).path != "nothing":
            if report.put_off:
                self.now_ms += FULL_EVERY_MS
        self.damaged = False
        self.removed.clear()
        assert self.client.state() == self.server.states
        listed = {s.conversation_id for s in self.server.states.values() if is_listed(s)}
        assert {v.conversation_id for v in self.client.conversations()} == listed
        self.claimed.clear()
        self.now_ms += RETRY_MAX_MS
        while entries := [*self.client.pending(3), *self.client.pending_items(2)]:
            for entry in entries:
                self.pull(entry)
                assert self.client.ack(entry)
        for state in self.server.states.values():
            if is_listed(state) or is_notification(state.conversation_id):
                assert self.app.get(state.conversation_id) == state.max_seq
        assert self.items == self.server.items

    def teardown(self) -> None:
        self.calm()
        self.client.close()
        shutil.rmtree(self.folder)


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
