"""Conversations to decide about: two real traces and three made ones. Seeded, no I/O but the
traces.

A conversation is its messages, (seconds, members at that moment), in order of time, and how long
it is watched; a world is its conversations and how often members sync at a time.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from diffusion.trace import GroupRow, read_trace

Message: TypeAlias = tuple[float, int]
Integral: TypeAlias = Callable[[float, float], float]
"""Syncs of an average member between two times, in seconds."""

HOUR_S: Final = 3_600.0
DAY_S: Final = 24 * HOUR_S
PEAK_DAYS: Final = 3
REAL: Final = True
MADE: Final = False


@dataclass(frozen=True, slots=True)
class World:
    """Conversations under one pattern of syncs. `real` says whether people wrote the messages."""

    name: str
    real: bool
    conversations: Sequence[Sequence[Message]]
    until_s: Sequence[float]
    syncs: Integral


def steady(sync_rate: float) -> Integral:
    """Members sync at a constant rate, a second."""
    return lambda start_s, end_s: sync_rate * (end_s - start_s)


def worlds(data: Path, seed: int, sync_rate: float) -> list[World]:
    """All five. The made ones have the same mean sync rate as the policy assumes, except the day
    with login peaks, which has it only on average.
    """
    return [
        real("private", data / "private_messages.csv.gz", sync_rate),
        real("group", data / "group_messages.csv.gz", sync_rate),
        huge_busy_group(seed, sync_rate),
        quiet_groups_with_bursts(seed, sync_rate),
        login_peaks(seed, sync_rate),
    ]


def real(name: str, trace: Path, sync_rate: float) -> World:
    """A trace: each conversation from its first message to its last. Members of a group are those
    who have spoken.
    """
    messages: dict[object, list[Message]] = defaultdict(list)
    members: dict[object, set[int]] = defaultdict(set)
    for row in read_trace(trace):
        if isinstance(row, GroupRow):
            key: object = row.group
            members[key].add(row.sender)
        else:
            key = frozenset((row.sender, row.recipient))
            members[key].update((row.sender, row.recipient))
        messages[key].append((float(row.sent_at_s), len(members[key])))
    found = list(messages.values())
    return World(name, REAL, found, [one[-1][0] for one in found], steady(sync_rate))


def huge_busy_group(seed: int, sync_rate: float) -> World:
    """5,000 members, 20 messages a second for an hour, then silence for the rest of the day."""
    rng = random.Random(seed)  # noqa: S311  # a reproducible world
    times = sorted(rng.uniform(0, HOUR_S) for _ in range(int(20 * HOUR_S)))
    return World(
        "huge busy group", MADE, [[(at, 5_000) for at in times]], [DAY_S], steady(sync_rate)
    )


def quiet_groups_with_bursts(seed: int, sync_rate: float) -> World:
    """200 groups of 30 to 300, a few messages a day, and three bursts of 20 minutes a day."""
    rng = random.Random(seed + 1)  # noqa: S311  # a reproducible world
    groups: list[list[Message]] = []
    for _ in range(200):
        members = rng.randint(30, 300)
        times = [rng.uniform(0, 2 * DAY_S) for _ in range(rng.randint(2, 10))]
        for _ in range(6):
            start = rng.uniform(0, 2 * DAY_S - 1_200)
            times += [start + rng.uniform(0, 1_200) for _ in range(rng.randint(50, 200))]
        groups.append([(at, members) for at in sorted(times)])
    return World(
        "quiet groups with bursts", MADE, groups, [2 * DAY_S] * len(groups), steady(sync_rate)
    )


def login_peaks(seed: int, sync_rate: float) -> World:
    """100 groups of 200 that talk by day; members sync five times as often from 9 to 10 and 18 to
    19 as the mean, and accordingly less at other times. Three such days, so that a night is one
    between two days and not the end of the world.
    """
    rng = random.Random(seed + 2)  # noqa: S311  # a reproducible world
    peaks = ((9 * HOUR_S, 10 * HOUR_S), (18 * HOUR_S, 19 * HOUR_S))
    high = 5 * sync_rate
    low = (DAY_S * sync_rate - 2 * HOUR_S * high) / (22 * HOUR_S)

    def until(end_s: float) -> float:
        days, rest_s = divmod(end_s, DAY_S)
        inside_s = sum(max(0.0, min(rest_s, b) - a) for a, b in peaks)
        return days * DAY_S * sync_rate + inside_s * high + (rest_s - inside_s) * low

    groups: list[list[Message]] = []
    for _ in range(100):
        messages = rng.uniform(5, 400)
        times = [day * DAY_S + at for day in range(PEAK_DAYS) for at in _day(rng, messages)]
        groups.append([(at, 200) for at in sorted(times)])
    return World(
        "login peaks",
        MADE,
        groups,
        [PEAK_DAYS * DAY_S] * len(groups),
        lambda start_s, end_s: until(end_s) - until(start_s),
    )


def _day(rng: random.Random, messages: float) -> Iterable[float]:
    for _ in range(int(messages)):
        # Two humps: most is written before noon and in the evening.
        hour = rng.gauss(11, 2) if rng.random() < 0.5 else rng.gauss(19, 2)
        yield min(DAY_S - 1, max(0.0, hour * HOUR_S))
