"""`diffusion bench policy`: what the policy costs, beside what others would, on five worlds.

The decision is the engine's own (`streams.policy`); costs are counted as they fall, in rows: a row
for each member and window with a message that was diffused, a mark for each member and message
diffused, a look for each sync of each member while the conversation is read, and the fences of a
switch. The optimum is dynamic programming over the two modes with the whole future known; it is
charged a row for a window at most once, which makes it a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from diffusion.bench.worlds import Integral, Message, World, worlds
from schemas.heads import Head, Mode
from streams import policy
from streams.policy import Rules

RATIO_MAX: Final = 3.0
RATIO_REAL_MAX: Final = 1.3
RATIO_STATIC_MAX: Final = 1.1

START_MS: Final = 1_700_000_000_000
"""Traces are moved here: the decision works on milliseconds since 1970, and 0 means "never"."""


@dataclass(frozen=True, slots=True)
class Costed:
    """Costs of one world under each policy, in rows."""

    name: str
    real: bool
    conversations: int
    messages: int
    cost: float
    optimum: float
    always_write: float
    always_read: float
    size_only: float
    switches: int

    @property
    def ratio(self) -> float:
        """Cost against the optimum."""
        return self.cost / self.optimum if self.optimum else 1.0

    @property
    def ratio_static(self) -> float:
        """Cost against the better of the two ways that never switch."""
        return self.cost / min(self.always_write, self.always_read)

    @property
    def held(self) -> bool:
        """Whether all three bounds hold."""
        bound = RATIO_REAL_MAX if self.real else RATIO_MAX
        return self.ratio <= bound and self.ratio_static <= RATIO_STATIC_MAX

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {
            "ratio": round(self.ratio, 3),
            "ratio_static": round(self.ratio_static, 3),
            "held": self.held,
        }


def run(data: Path, rules: Rules, sweep_s: float, seed: int) -> list[Costed]:
    """Cost all worlds."""
    return [cost(world, rules, sweep_s) for world in worlds(data, seed, rules.costs.sync_rate)]


def cost(world: World, rules: Rules, sweep_s: float) -> Costed:
    """Cost one world under each policy."""
    total = switches = best = write = read = sized = 0.0
    for messages, until_s in zip(world.conversations, world.until_s, strict=True):
        one = _Account(rules, world.syncs)
        live = _Live(rules, one, sweep_s)
        live.play(messages, until_s)
        total, switches = total + one.total, switches + live.switches
        best += optimum(messages, until_s, rules, world.syncs)
        write += fixed(messages, until_s, rules, world.syncs, members_max=math.inf)
        read += fixed(messages, until_s, rules, world.syncs, members_max=0)
        sized += fixed(messages, until_s, rules, world.syncs, members_max=SIZE_ONLY_MEMBERS)
    return Costed(
        name=world.name,
        real=world.real,
        conversations=len(world.conversations),
        messages=sum(map(len, world.conversations)),
        cost=round(total, 1),
        optimum=round(best, 1),
        always_write=round(write, 1),
        always_read=round(read, 1),
        size_only=round(sized, 1),
        switches=int(switches),
    )


SIZE_ONLY_MEMBERS: Final = 500
"""Where products that look at the size alone switch."""


class _Account:
    """Adds up what falls due in one conversation."""

    def __init__(self, rules: Rules, syncs: Integral) -> None:
        self._costs = rules.costs
        self._syncs = syncs
        self._window = -1
        self.total = 0.0

    def message(self, at_s: float, members: int) -> None:
        """A message that is diffused."""
        window = int(at_s * 1_000 // self._costs.window_ms)
        rows = members if window != self._window else 0
        self._window = window
        self.total += self._costs.row_cost * rows + self._costs.mark_cost * members

    def looks(self, start_s: float, end_s: float, members: int) -> None:
        """Time in which members look at the head themselves."""
        self.total += self._costs.check_cost * members * self._syncs(start_s, end_s)

    def switch(self, members: int) -> None:
        """A switch in either direction."""
        self.total += self._costs.switch(members)


class _Live:
    """The engine's decision, message by message, with a sweep that needs none."""

    def __init__(self, rules: Rules, account: _Account, sweep_s: float) -> None:
        self._rules = rules
        self._account = account
        self._sweep_s = sweep_s
        self._head = Head("bench")
        self._stamp = 0
        self.switches = 0

    def play(self, messages: Sequence[Message], until_s: float) -> None:
        at_s = messages[0][0]
        for sent_s, members in messages:
            self._pass(at_s, sent_s)
            at_s = sent_s
            self._head = replace(self._head, member_count=members)
            self._stamp += 1
            if self._head.mode is Mode.WRITE:
                self._account.message(sent_s, members)
            self._head = policy.observe(self._head, self._rules, self._stamp, _ms(sent_s))
            if self._head.mode is Mode.WRITE:
                self._decide(sent_s)
        self._pass(at_s, until_s)

    def _pass(self, start_s: float, end_s: float) -> None:
        at_s = start_s
        while self._head.mode is Mode.READ and at_s < end_s:
            then_s = min(end_s, (at_s // self._sweep_s + 1) * self._sweep_s)
            self._account.looks(at_s, then_s, self._head.member_count)
            at_s = then_s
            self._decide(at_s)

    def _decide(self, at_s: float) -> None:
        members = self._head.member_count
        found = policy.switch(self._head, members, self._rules, self._stamp, _ms(at_s))
        if found is not None:
            self._head = found.after
            self._account.switch(members)
            self.switches += 1


def fixed(
    messages: Sequence[Message],
    until_s: float,
    rules: Rules,
    syncs: Integral,
    *,
    members_max: float,
) -> float:
    """Cost of diffusing exactly while the members are at most `members_max`."""
    account = _Account(rules, syncs)
    for (at_s, members), (then_s, _) in zip(messages, [*messages[1:], (until_s, 0)], strict=True):
        if members <= members_max:
            account.message(at_s, members)
        else:
            account.looks(at_s, then_s, members)
    return account.total


def optimum(messages: Sequence[Message], until_s: float, rules: Rules, syncs: Integral) -> float:
    """Least cost of any sequence of modes, the future known; begins in WRITE, as all do."""
    costs = rules.costs
    write, read, window = 0.0, math.inf, -1
    for (at_s, members), (then_s, _) in zip(messages, [*messages[1:], (until_s, 0)], strict=True):
        over = costs.switch(members)
        write, read = min(write, read + over), min(read, write + over)
        rows = members if int(at_s * 1_000 // costs.window_ms) != window else 0
        window = int(at_s * 1_000 // costs.window_ms)
        write += costs.row_cost * rows + costs.mark_cost * members
        write, read = min(write, read + over), min(read, write + over)
        read += costs.check_cost * members * syncs(at_s, then_s)
    return min(write, read)


def _ms(at_s: float) -> int:
    return START_MS + int(at_s * 1_000)
