"""What the tests of the stream stage share: rules, events of one conversation, a loop."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from infra.cassandra.topic_epochs import Epoch
from infra.settings import Settings
from schemas import topics
from schemas.changes import Change
from schemas.events import ConversationEvent
from schemas.heads import Head
from schemas.versions import stamp_of, version_of
from streams.activity import Costs
from streams.diffusion import Conversation, Diffusion
from streams.effects import Effects
from streams.pace import Pace
from streams.policy import Rules
from tests.unit.consumers.support import WINDOW_MS

T = TypeVar("T")

T0 = 1_700_000_400_000
GROUP = "sg_1"
PARTITIONS = 3
SETTINGS = Settings()
POLICY = SETTINGS.policy
COSTS = Costs(
    row_cost=POLICY.row_cost,
    mark_cost=POLICY.mark_cost,
    check_cost=POLICY.check_cost,
    sync_rate=POLICY.sync_rate_per_hour / 3_600,
    window_ms=WINDOW_MS,
)
"""The costs as they come if nothing is configured."""


def ordinary(**others: Any) -> Rules:
    """Rules as they come if nothing is configured; `others` as named."""
    given: dict[str, Any] = {
        "members_max": POLICY.members_max,
        "members_return": POLICY.members_return,
        "small_members": POLICY.small_members,
        "rows_per_second_max": POLICY.rows_per_second_max,
        "dwell_s": POLICY.dwell_seconds,
        "costs": COSTS,
    }
    return Rules(**given | others)


def sizes(members_max: int, members_return: int) -> Rules:
    """Rules by which size alone decides: looks are so dear that the cost never has a say."""
    return Rules(
        members_max=members_max,
        members_return=members_return,
        small_members=1,
        rows_per_second_max=1e9,
        dwell_s=0,
        costs=Costs(
            row_cost=1e-9, mark_cost=0.0, check_cost=1.0, sync_rate=1.0, window_ms=WINDOW_MS
        ),
    )


def lively() -> Rules:
    """Rules by which a few messages send a conversation away, and a few minutes bring it back."""
    return Rules(
        members_max=50,
        members_return=40,
        small_members=1,
        rows_per_second_max=1e9,
        dwell_s=5,
        costs=Costs(
            row_cost=1.0, mark_cost=2.0, check_cost=1.0, sync_rate=0.02, window_ms=WINDOW_MS
        ),
    )


RULES = sizes(4, 2)
UNPACED = Pace(1e12)
EPOCHS = {
    spec.name: Epoch(spec.name, 1, "id", PARTITIONS if spec is topics.CHANGES else 1, WINDOW_MS)
    for spec in topics.TOPICS
}


def stamp(number: int) -> int:
    """The stamp of the first event of record `number`."""
    return stamp_of(version_of(1, number), 0)


def diffuse(
    conversation: Conversation,
    events: Sequence[ConversationEvent],
    rules: Rules = RULES,
    partitions: int = PARTITIONS,
    first: int = 1,
) -> Effects:
    """Take events of one conversation as one batch, each a record of its own."""
    diffusion = Diffusion({conversation.head.conversation_id: conversation}, partitions, rules)
    for number, event in enumerate(events, first):
        diffusion.conversation_event(event, stamp(number), T0 + number)
    return diffusion.finish()


def conversation(members: Sequence[str] | None, **head: Any) -> Conversation:
    """A conversation with a head as given."""
    count = 0 if members is None else len(members)
    return Conversation(Head(GROUP, **{"member_count": count, **head}), members)


def told(effects: Effects, kind: type[Change]) -> dict[str, list[Any]]:
    """Changes of a kind, by user, in their order."""
    found: dict[str, list[Any]] = {}
    for _, change in effects.changes:
        if isinstance(change, kind):
            for user in change.users:
                found.setdefault(user, []).append(change)
    return found


_LOOP = asyncio.new_event_loop()
atexit.register(_LOOP.close)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on one loop for all tests: making one takes longer than most of them."""
    return _LOOP.run_until_complete(work)
