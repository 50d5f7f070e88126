"""The law of the whole engine: whatever is killed, nobody loses a change and nothing returns.

A machine of random steps over the real pipelines, materializer and sync service: events arrive,
batches are taken, workers die at any write or record, replaced workers finish late, brokers' clocks
disagree, devices sync at any moment. In the end every device has what a plain replay says.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from diffusion.oracle import Oracle, compare
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
)
from streams.policy import Rules
from tests.unit.streams.support import lively, sizes
from tests.unit.streams.world import Device, World

USERS = ("ann", "bob", "cid", "dee", "eve")
GROUPS = ("sg_1", "n_2")
PAIR = "si_ann_bob"

users = st.sampled_from(USERS)
some_users = st.lists(users, min_size=1, max_size=4, unique=True).map(tuple)
groups = st.sampled_from(GROUPS)
crashes: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(["cells", "link"]), st.integers(0, 6)),
    st.just(("zombie", 0)),
)
few = st.integers(1, 6)


class Engine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.seqs: dict[str, int] = {}
        self.members: dict[str, set[str]] = {}
        self.items = 0
        self.devices = [Device(user) for user in USERS[:3]] + [Device("ann", changes_max=1)]

    @initialize(rules=st.sampled_from([sizes(3, 1), lively()]))
    def begin(self, rules: Rules) -> None:
        self.world = World(rules)

    def write(self, *events: Any) -> None:
        self.oracle.replay(events)
        self.world.write(*events)

    def _next(self, conversation_id: str) -> int:
        self.seqs[conversation_id] = self.seqs.get(conversation_id, 0) + 1
        return self.seqs[conversation_id]

    # What the backend does.

    @rule(group=groups, who=some_users, history=st.booleans())
    def join(self, group: str, who: tuple[str, ...], history: bool) -> None:
        self.members.setdefault(group, set()).update(who)
        self.write(MembersJoined(group, who, self.seqs.get(group, 0), self.world.now_ms, history))

    @precondition(lambda self: any(self.members.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from([g for g in GROUPS if self.members.get(g)]))
        who = data.draw(
            st.lists(st.sampled_from(sorted(self.members[group])), min_size=1, unique=True)
        )
        self.members[group].difference_update(who)
        self.write(
            MembersLeft(group, tuple(who), self.seqs.get(group, 0), self.world.now_ms, "quit")
        )

    @precondition(lambda self: any(self.members.values()))
    @rule(data=st.data(), count=st.integers(1, 3))
    def message(self, data: st.DataObject, count: int) -> None:
        group = data.draw(st.sampled_from([g for g in GROUPS if self.members.get(g)]))
        sender = data.draw(st.sampled_from(sorted(self.members[group])))
        for _ in range(count):
            self.write(Message(group, self._next(group), sender, self.world.now_ms))

    @rule(sender=st.sampled_from(["ann", "bob"]))
    def whisper(self, sender: str) -> None:
        self.write(Message(PAIR, self._next(PAIR), sender, self.world.now_ms, ("ann", "bob")))

    @rule(
        group=groups,
        how=st.lists(
            st.sampled_from(["auto", "always_write", "always_read"]), min_size=1, max_size=3
        ),
    )
    def override(self, group: str, how: list[Any]) -> None:
        self.write(*(ConversationSettings(group, one) for one in how))

    @rule(group=groups)
    def reconsider(self, group: str) -> None:
        """What a sweep writes; nobody sees anything of it."""
        self.world.write(Reconsider(group))

    @rule(user=users, group=st.sampled_from([*GROUPS, PAIR]), data=st.data())
    def own(self, user: str, group: str, data: st.DataObject) -> None:
        last = self.seqs.get(group, 0)
        self.items += 1
        event = data.draw(
            st.sampled_from(
                [
                    Read(user, group, last),
                    UserConversationSettings(user, group, pinned=bool(self.items % 2)),
                    UserConversationSettings(user, group, muted=bool(self.items % 3)),
                    ConversationCleared(user, group, last + 1),
                    ConversationDeleted(user, group, last, self.world.now_ms),
                    ModuleChanged(user, "friends", group, "update", self.items),
                ]
            )
        )
        self.write(event)

    # What the engine does.

    @rule(records=few, crash=crashes)
    def diffuse(self, records: int, crash: Any) -> None:
        self.world.step(self.world.conversations, records, crash)

    @rule(records=few, crash=crashes)
    def diffuse_own(self, records: int, crash: Any) -> None:
        self.world.step(self.world.users, records, crash)

    @rule()
    def commit(self) -> None:
        self.world.commit(self.world.conversations)
        self.world.commit(self.world.users)

    @rule()
    def replace_worker(self) -> None:
        self.world.conversations.worker = None

    @rule(crash_in=st.one_of(st.none(), st.integers(0, 4)))
    def late_zombie(self, crash_in: int | None) -> None:
        self.world.zombie(crash_in)

    @rule(
        partition=st.integers(0, 2), records=few, crash_in=st.one_of(st.none(), st.integers(0, 4))
    )
    def materialize(self, partition: int, records: int, crash_in: int | None) -> None:
        self.world.materialize(partition, records, crash_in)

    @rule(seconds=st.sampled_from([1, 30, 300, 700]))
    def wait(self, seconds: int) -> None:
        self.world.now_ms += seconds * 1_000

    @rule(skew_ms=st.sampled_from([-25_000, 0, 25_000]))
    def another_broker_leads(self, skew_ms: int) -> None:
        self.world.skew_ms = skew_ms

    @rule(device=st.integers(0, 3))
    def sync(self, device: int) -> None:
        self.world.sync(self.devices[device])

    def teardown(self) -> None:
        self.world.settle()
        self.world.now_ms += 2_000  # what a cached head may be old
        for device in [*self.devices, *(Device(user) for user in USERS)]:
            while self.world.sync(device):
                pass
            self.world.sync(device)
            expected = self.oracle.states(device.user_id)
            found = compare(expected, device.states)
            assert not found, (device.user_id, [str(one) for one in found])


Engine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestEngine = Engine.TestCase
