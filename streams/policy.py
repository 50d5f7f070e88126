"""Who is diffused, and the fences between the two ways.

PURE. Rule 1: a mode changes only by `Switch`, and only in this file. Rule 2: the rules are the
table `FENCES`; whoever carries a switch out does its three steps in order.

A switch has three steps, because a crash may fall anywhere:
1. `during` is persisted: LEAVING or RETURNING, in which the head is written *and* members diffused;
2. every member gets one change (the fence) that puts the conversation into his read-side set, or
   takes it out; it is delivered;
3. `after` is persisted: READ or WRITE.
A crash before 1: nothing happened. Between 1 and 3: whoever finds LEAVING or RETURNING does 2 and
3; a fence sent twice changes nothing. Persisting READ before the fence is delivered would lose
messages for members who do not look at the head yet; sending the fence of a return before
RETURNING is persisted would lose those written in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from schemas.heads import Head, Mode

WRITE_MEMBERS_MAX: Final = 10_000
"""No override diffuses a conversation larger than this: one event must not cost without bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeLimits:
    """Above `members_max` members a conversation is read-diffused; at `members_return` it
    returns.
    """

    members_max: int
    members_return: int

    def __post_init__(self) -> None:
        assert 0 < self.members_return < self.members_max <= WRITE_MEMBERS_MAX


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


def wanted(head: Head, members: int, limits: SizeLimits) -> Mode:
    """Decide WRITE or READ for a conversation of `members` members.

    An override stands above the sizes, except that nothing above `WRITE_MEMBERS_MAX` is diffused.
    """
    if head.diffusion == "always_read" or members > WRITE_MEMBERS_MAX:
        return Mode.READ
    if head.diffusion == "always_write":
        return Mode.WRITE
    bound = limits.members_return if head.mode is Mode.READ else limits.members_max
    return Mode.WRITE if members <= bound else Mode.READ


def switch(head: Head, members: int, limits: SizeLimits, at_ms: int) -> Switch | None:
    """Find the switch that a conversation needs now, also one that somebody left unfinished."""
    unfinished = UNFINISHED.get(head.mode)
    if unfinished is not None:
        return Switch(head, _enter(head, unfinished.after, at_ms), unfinished.read_side)
    fence = FENCES.get((head.mode, wanted(head, members, limits)))
    if fence is None:
        return None
    during = _enter(head, fence.during, at_ms)
    return Switch(during, _enter(during, fence.after, at_ms), fence.read_side)


def _enter(head: Head, mode: Mode, at_ms: int) -> Head:
    return replace(head, mode=mode, mode_epoch=head.mode_epoch + 1, mode_since_ms=at_ms)
