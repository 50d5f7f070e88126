"""`diffusion explain`: how a conversation is diffused, since when, why, and what would change it.

`explain` is pure; `fetch` reads the head.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from infra.cassandra import conversation_heads, topic_epochs
from infra.cassandra.schema import open_session
from infra.clock import now_ms
from infra.settings import Settings
from schemas.errors import PermanentError
from schemas.heads import Head, Mode
from schemas.topics import CHANGES
from streams import policy
from streams.app import rules_of
from streams.policy import Rules

HORIZON_MS: Final = 30 * 86_400_000
"""How far ahead a return is looked for."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the policy knows and would do. Rates are a second, costs in rows, times since 1970."""

    conversation_id: str
    mode: str
    reason: str
    since_ms: int
    mode_epoch: int
    members: int
    override: str
    max_seq: int
    messages_per_second: float
    messages_per_hour: float
    rows_per_second: float
    pushing_pays: bool
    excess: float
    switch_cost: float
    dwell_left_s: float
    wanted: str
    wanted_reason: str
    changes_without_a_message_ms: int | None
    would_change: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def explain(head: Head, rules: Rules, at_ms: int) -> Explanation:
    """Explain a head as of `at_ms`."""
    now = policy.until(head, rules, at_ms)
    members, costs = head.member_count, rules.costs
    mode, reason = policy.wanted(head, members, rules, at_ms)
    young_s = rules.dwell_s - (at_ms - head.mode_since_ms) / 1_000
    return Explanation(
        conversation_id=head.conversation_id,
        mode=head.mode.name.lower(),
        reason=head.mode_reason.value,
        since_ms=head.mode_since_ms,
        mode_epoch=head.mode_epoch,
        members=members,
        override=head.diffusion,
        max_seq=head.max_seq,
        messages_per_second=round(now.activity.rate, 4),
        messages_per_hour=round(now.activity.volume * 3_600, 1),
        rows_per_second=round(members * costs.push(now.activity.rate), 3),
        pushing_pays=costs.pushing_pays(now.activity),
        excess=round(now.activity.excess, 1),
        switch_cost=costs.switch(members),
        dwell_left_s=round(max(0.0, young_s), 1) if head.mode_epoch else 0.0,
        wanted=mode.name.lower(),
        wanted_reason=reason.value,
        changes_without_a_message_ms=_change_ms(head, rules, at_ms),
        would_change=tuple(_would_change(now, rules)),
    )


def _change_ms(head: Head, rules: Rules, at_ms: int) -> int | None:
    """When the mode would change if nothing more were written; None if not within the horizon.

    Without messages the excess of READ only grows and that of WRITE only shrinks, and rates fall:
    so what is wanted changes once at most, and bisection finds when.
    """

    def changes(then_ms: int) -> bool:
        return policy.switch(head, head.member_count, rules, 0, then_ms) is not None

    if changes(at_ms):
        return at_ms
    low, high = at_ms, at_ms + HORIZON_MS
    if not changes(high):
        return None
    while high - low > 1_000:
        middle = (low + high) // 2
        low, high = (low, middle) if changes(middle) else (middle, high)
    return high


def _would_change(now: Head, rules: Rules) -> list[str]:
    members, costs, found = now.member_count, rules.costs, []
    if now.diffusion != "auto":
        found.append(f"the override is {now.diffusion}; set it back to auto")
    left = costs.switch(members) - now.activity.excess
    if now.mode is Mode.WRITE:
        found.append(f"more than {rules.members_max:,} members: read")
        if members > rules.small_members:
            per_message = members * (costs.row_cost + costs.mark_cost)
            messages = max(1, round(left / per_message))
            found.append(
                f"about {messages:,} more messages, each in a new window, and few syncs: read"
            )
        else:
            found.append(f"more than {rules.small_members} members: its activity would count")
    elif now.mode is Mode.READ:
        if members > rules.members_return:
            found.append(f"at most {rules.members_return:,} members: write")
        looks = members * costs.check_cost * costs.sync_rate
        if looks > 0 and left > 0:
            found.append(f"about {left / looks / 60:,.0f} minutes without a message: write")
    else:
        found.append("a switch is under way; the next event or sweep finishes it")
    return found


async def fetch(settings: Settings, conversation_id: str) -> Explanation:
    """Read a conversation's head and explain it; raises `PermanentError` for an unknown one."""
    session = open_session(settings.cassandra)
    try:
        heads = await conversation_heads.read(session, [conversation_id])
        epoch = await topic_epochs.alatest(session, CHANGES.name)
    finally:
        session.close()
    if conversation_id not in heads:
        raise PermanentError(f"Nothing was ever written to conversation {conversation_id}.")
    window_ms = epoch.window_ms if epoch is not None else settings.log.window_ms
    return explain(heads[conversation_id], rules_of(settings.policy, window_ms), now_ms())


def run(settings: Settings, conversation_id: str) -> Explanation:
    """`fetch`, blocking."""
    return asyncio.run(fetch(settings, conversation_id))


def show(found: Explanation) -> None:
    """Print an explanation for a person."""
    console = Console(highlight=False)
    since = _time(found.since_ms) if found.mode_epoch else "the beginning"
    console.print(
        f"{found.conversation_id}: {found.mode}, since {since} (reason: {found.reason})",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, value, unit in (
        ("members", f"{found.members:,}", f"override: {found.override}"),
        ("messages", f"{found.messages_per_second:,.4f}", "a second, just now"),
        ("", f"{found.messages_per_hour:,.1f}", "an hour, over the last hours"),
        ("diffusing costs", f"{found.rows_per_second:,.3f}", "rows a second, at most"),
        ("excess of this mode", f"{found.excess:,.1f}", "rows since the last switch"),
        ("a switch costs", f"{found.switch_cost:,.0f}", "rows"),
        ("dwell", f"{found.dwell_left_s:,.0f}", "s until cost may switch again"),
    ):
        table.add_row(name, value, unit)
    console.print(table)
    if found.wanted != found.mode:
        console.print(f"Due: {found.wanted} (reason: {found.wanted_reason}).")
    elif found.changes_without_a_message_ms is not None:
        console.print(
            f"Without a message it changes at {_time(found.changes_without_a_message_ms)}."
        )
    for sentence in found.would_change:
        console.print(f"- {sentence}", markup=False)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
