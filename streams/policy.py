"""Who is diffused, and the fences between the two ways. PURE.

Rule 1: a mode changes only by `Switch`, and only in this file. Rule 2: what is wanted is the table
`RULES`, the first that has an answer counts. Rule 3: how it is done is the table `FENCES`; whoever
carries a switch out does its three steps in order.

A switch has three steps, because a crash may fall anywhere:
1. `during` is persisted: LEAVING or RETURNING, in which the head is written *and* members diffused;
2. every member gets one change (the fence) that puts the conversation into his read-side set, or
   takes it out; it is delivered;
3. `after` is persisted: READ or WRITE.
A crash before 1: nothing happened. Between 1 and 3: whoever finds LEAVING or RETURNING does 2 and
3; a fence sent twice changes nothing. Persisting READ before the fence is delivered would lose
messages for members who do not look at the head yet; sending the fence of a return before
RETURNING is persisted would lose those written in between.

Why by cost: for one member, pushing pays while the rows it costs are cheaper than the looks it
saves, `min(rate, 1/window) * row_cost < sync_rate * check_cost`, as in "Feeding Frenzy" (SIGMOD
2010). Why by accumulated excess: the two modes are a metrical task system of two states, for which
switching when the present one has cost a switch too much is 3-competitive against the offline
optimum, and no deterministic rule is better (arXiv 1905.07145).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec.structs import replace

from schemas.heads import Head, Mode, ModeReason
from streams import activity
from streams.activity import Costs

WRITE_MEMBERS_MAX: Final = 10_000
"""No override diffuses a conversation larger than this: one event must not cost without bound."""

ROWS_RETURN_SHARE: Final = 0.5
"""A conversation that left because of its rows a second returns at half of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the decision stands on; each is a setting of the section `policy`.

    Conversations of at most `small_members` are always diffused, and their activity is not kept.
    """

    members_max: int
    members_return: int
    small_members: int
    rows_per_second_max: float
    dwell_s: float
    costs: Costs

    def __post_init__(self) -> None:
        assert 0 < self.small_members <= self.members_return < self.members_max
        assert self.members_max <= WRITE_MEMBERS_MAX


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation at a moment: its activity is advanced to `now_ms` already."""

    head: Head
    members: int
    rules: Rules
    now_ms: int

    @property
    def rows_per_second(self) -> float:
        """What diffusing it costs at its present rate."""
        return self.members * self.rules.costs.push(self.head.activity.rate)

    @property
    def pushing_pays(self) -> bool:
        """Whether, at the present rates, diffusing costs less than looking; the size cancels
        out.
        """
        return self.rules.costs.pushing_pays(self.head.activity)


Answer: TypeAlias = tuple[Mode, ModeReason]
Rule: TypeAlias = Callable[[Question], Answer | None]


def too_large_for_any(q: Question) -> Answer | None:
    """Above the hard bound nothing is diffused, not even by an override."""
    return (Mode.READ, ModeReason.MEMBERS) if q.members > WRITE_MEMBERS_MAX else None


def overridden(q: Question) -> Answer | None:
    """The backend decides for this conversation."""
    if q.head.diffusion == "auto":
        return None
    mode = Mode.READ if q.head.diffusion == "always_read" else Mode.WRITE
    return mode, ModeReason.OVERRIDE


def too_large(q: Question) -> Answer | None:
    """Size alone: leave above `members_max`, come back at `members_return`."""
    left_for_size = q.head.mode is Mode.READ and q.head.mode_reason is ModeReason.MEMBERS
    bound = q.rules.members_return if left_for_size else q.rules.members_max
    return (Mode.READ, ModeReason.MEMBERS) if q.members > bound else None


def too_many_rows(q: Question) -> Answer | None:
    """A burst bound: so many rows a second are not written for one conversation."""
    left_for_rows = q.head.mode is Mode.READ and q.head.mode_reason is ModeReason.ROWS
    share = ROWS_RETURN_SHARE if left_for_rows else 1.0
    above = q.rows_per_second > q.rules.rows_per_second_max * share
    return (Mode.READ, ModeReason.ROWS) if above else None


def small(q: Question) -> Answer | None:
    """A handful of members is never worth a switch."""
    return (Mode.WRITE, ModeReason.MEMBERS) if q.members <= q.rules.small_members else None


def freed(q: Question) -> Answer | None:
    """What was decided from outside the cost (an override, a size) ends with its reason, if pushing
    pays as things are; else the cost decides when it does.
    """
    outside = {ModeReason.OVERRIDE, ModeReason.MEMBERS}
    if q.head.mode is Mode.READ and q.head.mode_reason in outside and q.pushing_pays:
        return Mode.WRITE, q.head.mode_reason
    return None


def dwelling(q: Question) -> Answer | None:
    """For a while after a switch the cost has no say."""
    young = q.now_ms - q.head.mode_since_ms < q.rules.dwell_s * 1_000
    return (q.head.mode, q.head.mode_reason) if q.head.mode_epoch and young else None


def too_costly(q: Question) -> Answer | None:
    """The present mode has cost a whole switch more than the other one would have."""
    if q.head.activity.excess < q.rules.costs.switch(q.members):
        return None
    return (Mode.READ if q.head.mode is Mode.WRITE else Mode.WRITE), ModeReason.COST


RULES: Final[tuple[Rule, ...]] = (
    too_large_for_any,
    overridden,
    too_large,
    too_many_rows,
    small,
    freed,
    dwelling,
    too_costly,
)
"""In the order of their weight. Without an answer a conversation stays as it is."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What lies between two stable modes. `read_side` is what the fence tells every member."""

    during: Mode
    after: Mode
    read_side: bool


FENCES: Final = {
    (Mode.WRITE, Mode.READ): Fence(Mode.LEAVING, Mode.READ, read_side=True),
    (Mode.READ, Mode.WRITE): Fence(Mode.RETURNING, Mode.WRITE, read_side=False),
}
UNFINISHED: Final = {fence.during: fence for fence in FENCES.values()}


@dataclass(frozen=True, slots=True)
class Switch:
    """A mode change to carry out: the head in step 1 and in step 3, and what the fence says."""

    during: Head
    after: Head
    read_side: bool


def observe(head: Head, rules: Rules, stamp: int, at_ms: int) -> Head:
    """Count a message. Not for small conversations, and no stamp twice."""
    if head.member_count <= rules.small_members or stamp <= head.activity.stamp:
        return head
    known = replace(head, activity=activity.restored(head.activity, rules.costs))
    counted = activity.observe(
        until(known, rules, at_ms).activity,
        rules.costs,
        diffused=not head.mode.on_read_side,
        members=head.member_count,
        stamp=stamp,
    )
    return replace(head, activity=counted)


def until(head: Head, rules: Rules, now_ms: int) -> Head:
    """The head with its activity advanced to `now_ms`.

    In between, where both is done, the account is that of the mode to come: where a batch ends must
    not decide what the messages behind a switch count for.
    """
    moved = activity.advance(
        head.activity,
        rules.costs,
        diffused=not head.mode.on_read_side,
        members=head.member_count,
        now_ms=now_ms,
    )
    return replace(head, activity=moved)


def wanted(head: Head, members: int, rules: Rules, now_ms: int) -> Answer:
    """Decide the mode of a conversation in WRITE or READ, and name the reason."""
    question = Question(until(head, rules, now_ms), members, rules, now_ms)
    answers = (rule(question) for rule in RULES)
    return next((answer for answer in answers if answer is not None), (head.mode, head.mode_reason))


def stays(head: Head, members: int, rules: Rules) -> bool:
    """Whether a conversation is diffused and so small that no rule can say otherwise, at a glance:
    nearly all conversations are, and asking all rules takes longer than telling the message.
    """
    return (
        head.mode is Mode.WRITE
        and members <= rules.small_members
        and head.diffusion != "always_read"
        and head.activity.rate == 0.0
    )


def switch(head: Head, members: int, rules: Rules, stamp: int, now_ms: int) -> Switch | None:
    """Find the switch that a conversation needs now, also one that somebody left unfinished."""
    if stays(head, members, rules):
        return None
    unfinished = UNFINISHED.get(head.mode)
    if unfinished is not None:
        advanced = until(head, rules, now_ms)
        after = _enter(advanced, unfinished.after, head.mode_reason, stamp, now_ms)
        return Switch(head, after, unfinished.read_side)
    mode, reason = wanted(head, members, rules, now_ms)
    fence = FENCES.get((head.mode, mode))
    if fence is None:
        return None
    during = _enter(until(head, rules, now_ms), fence.during, reason, stamp, now_ms)
    return Switch(during, _enter(during, fence.after, reason, stamp, now_ms), fence.read_side)


def _enter(head: Head, mode: Mode, reason: ModeReason, stamp: int, now_ms: int) -> Head:
    return replace(
        head,
        mode=mode,
        mode_epoch=head.mode_epoch + 1,
        mode_since_ms=now_ms,
        mode_reason=reason,
        # A switch settles the account; its stamp is that of the event that brought it about, and
        # the fence is a row of its window.
        activity=replace(
            head.activity, excess=0.0, window_ms=0, stamp=max(head.activity.stamp, stamp)
        ),
    )
