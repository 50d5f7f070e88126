"""How active a conversation is, and what that costs. PURE.

The account. Diffusing a message costs a mark for each member, and a row for each if it is the
first of its window (coalescing folds the others into that row). Reading costs a look at the head
for each sync of each member, whether or not anything was written. `excess` adds up what the
present mode has cost more than the other one would have, since the last switch, and is never below
0: messages count when they come, looks as time passes.

The rates. Two exponentially weighted averages over event time (the time of the source records):
`rate` over `RATE_TAU_S` bounds bursts and says whether pushing pays right now; `volume` over
`VOLUME_TAU_S` is the message volume of the day. Both decay continuously, so no timer has to tick.

Deterministic under replay: a message whose stamp is not above `stamp` was counted already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from schemas.heads import Activity
from schemas.versions import window_start

RATE_TAU_S: Final = 300.0
"""Half a window of 10 minutes: the rate tells of this window and the last, and not of the hour."""

VOLUME_TAU_S: Final = 3_600.0
"""An hour: long enough to span the pauses of a conversation that goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Costs in rows: 1 is one row of one user, written through the materializer.

    `mark_cost`: one user named by a change that coalescing then folds into a row that exists.
    `check_cost`: one head looked at by one sync of one member. `sync_rate`: syncs a second of an
    average member. `window_ms`: length of a window of the change index.
    """

    row_cost: float
    mark_cost: float
    check_cost: float
    sync_rate: float
    window_ms: int

    def switch(self, members: int) -> float:
        """What a switch costs, in either direction: every member's fence, an index row and a row
        of his read-side set; and two writes of the head.
        """
        return self.row_cost * (2 * members + 2)

    def push(self, rate: float) -> float:
        """Rows a second and member that diffusing costs at a rate: at most one a window."""
        return min(rate, 1_000 / self.window_ms)

    def pushing_pays(self, activity: Activity) -> bool:
        """Whether, at the present rates, diffusing costs less than looking. The size cancels
        out.
        """
        pushed = self.row_cost * self.push(activity.rate) + self.mark_cost * activity.volume
        return pushed < self.check_cost * self.sync_rate


def restored(activity: Activity, costs: Costs) -> Activity:
    """Find the window that is not stored: at rest `at_ms` is the time of the last message, or of
    the last switch, whose fence is a row too.

    A worker that reads a head must count as the one that held it. Two that decide otherwise on the
    same events leave members with the fence of the one, and messages by the mode of the other.
    """
    if activity.window_ms or not activity.at_ms:
        return activity
    return replace(activity, window_ms=window_start(activity.at_ms, costs.window_ms))


def advance(
    activity: Activity, costs: Costs, *, diffused: bool, members: int, now_ms: int
) -> Activity:
    """Let time pass until `now_ms`; an earlier time than the last changes nothing."""
    if not activity.at_ms:
        return replace(activity, at_ms=now_ms)
    span_s = (now_ms - activity.at_ms) / 1_000
    if span_s <= 0:
        return activity
    looks = members * costs.check_cost * costs.sync_rate * span_s
    return replace(
        activity,
        at_ms=now_ms,
        rate=activity.rate * math.exp(-span_s / RATE_TAU_S),
        volume=activity.volume * math.exp(-span_s / VOLUME_TAU_S),
        excess=max(0.0, activity.excess + (-looks if diffused else looks)),
    )


def observe(
    activity: Activity, costs: Costs, *, diffused: bool, members: int, stamp: int
) -> Activity:
    """Count one message at the time that `advance` reached."""
    window_ms = window_start(activity.at_ms, costs.window_ms)
    rows = costs.row_cost if window_ms != activity.window_ms else 0.0
    pushed = members * (rows + costs.mark_cost)
    return replace(
        activity,
        stamp=stamp,
        window_ms=window_ms,
        rate=activity.rate + 1 / RATE_TAU_S,
        volume=activity.volume + 1 / VOLUME_TAU_S,
        excess=max(0.0, activity.excess + (pushed if diffused else -pushed)),
    )
