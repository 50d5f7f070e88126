"""The sink: state before the index that points at it, members only when everybody is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from infra.cassandra.swept_conversations import bucket_of
from infra.kafka.delivery import NotDelivered
from schemas import topics
from schemas.changes import Membership, MessageChange, ReadChange, StateChange
from schemas.codec import decode_change
from schemas.conversations import NO_CAP
from schemas.dead_letters import decode, letter
from schemas.heads import Activity, Head, Mode, ModeReason
from schemas.trace_context import Origin, TraceContext, headers_of_change
from streams.effects import Effects
from streams.pace import Pace
from streams.sink import Sink
from tests.unit.infra.cassandra.support import Bound, Cells, Killed, written
from tests.unit.streams.support import GROUP, T0, UNPACED, run

NEW_MEMBER = {"user_max_seq": NO_CAP, "at_ms": T0}


class Journal(Cells):
    """Cells and a delivery that write down, together, what was done in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, Any]] = []
        self.flush_error: Exception | None = None

    def apply(self, statement: Bound) -> None:
        super().apply(statement)
        name, cells, _, _, _ = written(statement)
        self.done.append((name, cells))

    def produce(self, topic: str, partition: int, value: bytes, key: bytes | None = None) -> None:
        self.done.append((topic, (partition, value)))

    def flush(self) -> None:
        self.done.append(("flush", None))
        if self.flush_error is not None:
            raise self.flush_error


def everything() -> Effects:
    effects = Effects()
    effects.messages[GROUP] = (7, T0)
    effects.opened.append(Head(GROUP, mode=Mode.LEAVING, mode_epoch=1))
    effects.changes.append((2, ReadChange(GROUP, ("ann",), 7)))
    effects.changes.append((1, StateChange(GROUP, ("bob",), 9, read_side=True, mode_epoch=1)))
    effects.members[GROUP, "bob"] = (True, 9)
    effects.counts[GROUP] = (4, 9)
    effects.overrides[GROUP] = ("always_read", 9)
    effects.activities[GROUP] = Activity(at_ms=T0, stamp=9, rate=0.5, volume=0.25, excess=3.0)
    effects.closed[GROUP] = Head(
        GROUP, mode=Mode.READ, mode_epoch=2, mode_since_ms=T0, mode_reason=ModeReason.COST
    )
    return effects


def apply(journal: Journal, effects: Effects, dead: Any = ()) -> None:
    run(Sink(journal, journal, lambda: T0 + 5, UNPACED).apply(effects, dead))


def kinds(journal: Journal) -> list[str]:
    named = {
        "conversation_heads:max_seq": "heads",
        f"conversation_heads:mode:{Mode.LEAVING}": "heads",
        topics.CHANGES.name: "changes",
        "flush": "flush",
        "swept_conversations:swept": "sweep",
        "members_by_conversation:member": "belonging",
        "conversation_heads:member_count": "belonging",
        "conversation_heads:diffusion": "belonging",
        "conversation_heads:activity_at_ms": "belonging",
        f"conversation_heads:mode:{Mode.READ}": "belonging",
    }
    found = []
    for name, what in journal.done:
        if isinstance(what, dict):
            column = next(iter(what))
            name = f"{name}:{column}" + (f":{what['mode']}" if column == "mode" else "")  # noqa: PLW2901
        found.append(named[name])
    return [kind for kind in found if kind != "sweep"]  # a note for the sweep, beside each mode


def test_heads_then_changes_then_belonging() -> None:
    journal = Journal()
    apply(journal, everything())
    assert kinds(journal) == [
        *["heads"] * 2,
        *["changes"] * 2,
        "flush",
        *["belonging"] * 5,
    ]


def test_every_mode_is_written_with_its_note_for_the_sweep() -> None:
    """A conversation that is not plainly diffused and not noted would never come back."""
    journal = Journal()
    apply(journal, everything())
    modes = [what["mode"] for name, what in journal.done if "mode" in (what or ())]
    notes = [what["swept"] for name, what in journal.done if name == "swept_conversations"]
    assert modes == [Mode.LEAVING, Mode.READ]
    assert notes == [True, True]
    back = Effects()
    back.opened.append(Head(GROUP, mode=Mode.RETURNING, mode_epoch=3))
    back.closed[GROUP] = Head(GROUP, mode=Mode.WRITE, mode_epoch=4)
    apply(journal, back)
    assert journal.table("swept_conversations") == {(bucket_of(GROUP), GROUP): {"swept": False}}


def test_a_mode_is_closed_only_with_the_delivery() -> None:
    journal = Journal()
    journal.flush_error = NotDelivered("away")
    with pytest.raises(NotDelivered):
        apply(journal, everything())
    head = journal.table("conversation_heads")[GROUP,]
    assert (head["mode"], head["mode_epoch"]) == (Mode.LEAVING, 1)


def test_the_settled_account_is_written_before_the_mode_that_it_is_settled_for() -> None:
    """The mode without it would charge the new mode with what the old one had cost."""
    journal = Journal()
    apply(journal, everything())
    tables = [[written(one)[0] for some in batches for one in some] for batches in journal.rounds]
    assert tables[-1] == ["conversation_heads", "swept_conversations"]
    *_, counted, closed = [
        {column for some in batches for one in some for column in written(one)[1]}
        for batches in journal.rounds
    ]
    assert "activity_at_ms" in counted
    assert "mode" not in counted
    assert "mode" in closed


def test_fences_and_mass_changes_are_paced_and_messages_are_not() -> None:
    crowd = tuple(f"user{n}" for n in range(30))
    taken: list[int] = []

    class Watched(Pace):
        def take(self, users: int) -> None:
            taken.append(users)

    effects = Effects()
    effects.changes += [
        (0, StateChange(GROUP, crowd, 9, read_side=True, mode_epoch=1)),
        (0, MessageChange(GROUP, crowd, 7, T0)),
        (0, StateChange(GROUP, ("ann",), 9, pinned=True)),
        (1, StateChange(GROUP, crowd[:2], 9, membership=Membership(member=True, **NEW_MEMBER))),
    ]
    journal = Journal()
    run(Sink(journal, journal, lambda: T0, Watched(1.0)).apply(effects, ()))
    assert taken == [30, 2]


def test_changes_keep_their_order_and_partition() -> None:
    journal = Journal()
    effects = everything()
    apply(journal, effects)
    sent = [what for name, what in journal.done if name == topics.CHANGES.name]
    assert [(place, decode_change(value)) for place, value in sent] == effects.changes


def test_what_is_written_is_what_the_effects_say() -> None:
    journal = Journal()
    apply(journal, everything())
    head = journal.table("conversation_heads")[GROUP,]
    expected = {
        "max_seq": 7,
        "active_at_ms": T0,
        "updated_at_ms": T0 + 5,
        "mode": Mode.READ,
        "mode_epoch": 2,
        "mode_since_ms": T0,
        "mode_reason": "cost",
        "member_count": 4,
        "diffusion": "always_read",
        "activity_at_ms": T0,
        "activity_stamp": 9,
        "rate": 0.5,
        "volume": 0.25,
        "excess": 3.0,
    }
    assert {column: head[column] for column in expected} == expected
    assert journal.table("members_by_conversation") == {(GROUP, "bob"): {"member": True}}


def test_who_belongs_waits_for_the_delivery() -> None:
    journal = Journal()
    journal.flush_error = NotDelivered("away")
    with pytest.raises(NotDelivered):
        apply(journal, everything())
    assert kinds(journal)[-1] == "flush"
    assert "members_by_conversation" not in dict(journal.done)


def test_nothing_is_told_before_the_heads_are_written() -> None:
    journal = Journal()
    journal.crash_in = 1
    with pytest.raises(Killed):
        apply(journal, everything())
    assert kinds(journal) == ["heads"]


def test_nothing_to_do_is_nothing_done() -> None:
    journal = Journal()
    apply(journal, Effects())
    assert journal.done == []


def test_dead_letters_are_delivered_with_the_changes() -> None:
    journal = Journal()
    dead = letter((topics.USER_WRITES.name, 3, 44), 1, "no such type", b"{}", T0)
    apply(journal, Effects(), [dead])
    (name, (partition, value)), flush = journal.done
    assert (name, partition) == (topics.dead_letters(topics.USER_WRITES.name), 0)
    assert decode(value) == dead
    assert flush == ("flush", None)


def test_doing_it_again_changes_nothing() -> None:
    journal = Journal()
    apply(journal, everything())
    before = msgspec.json.encode(sorted(map(str, journal.rows.items())))
    apply(journal, everything())
    assert msgspec.json.encode(sorted(map(str, journal.rows.items()))) == before


def test_changes_whose_writes_have_an_id_carry_it_and_the_others_have_no_header() -> None:
    class Headed(Journal):
        def __init__(self) -> None:
            super().__init__()
            self.headers: list[Any] = []

        def produce(self, *given: Any, **more: Any) -> None:
            super().produce(*given)
            self.headers.append(more)

    journal, effects = Headed(), everything()
    origin = Origin(TraceContext("a" * 32, "b" * 16, 1), "t/0/7")
    effects.origins[1] = (origin,)
    apply(journal, effects)
    assert journal.headers == [{}, {"headers": headers_of_change([origin])}]
