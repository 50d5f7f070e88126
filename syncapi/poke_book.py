"""Who is to be poked, and when: pure bookkeeping over the change log and its committed offsets.

A change may be poked for once it is readable: when the committed offset of the materializers is
past it, because they commit after their rows are acknowledged. So the book keeps, by partition and
user, the oldest and the newest change that was seen and is not committed, and gives out the users
whose oldest is.

What may happen in which order, and why nothing is missed:
* Commit before the record is seen here: the user is due at the next look.
* The user connects after the record was seen: users are noted whether they are connected or not,
  and asked for only when their change is readable. Who connects later than that is told by the
  protocol to sync once the connection stands, and then sees it.
* Changes that do not stop: with the newest alone kept, it would never be committed. The oldest is;
  what is left is noted anew, as of the newest record seen.
* More waiting than `waiting_max`, because the materializers are behind: those who are not connected
  are forgotten, and everybody is poked when what was forgotten is readable.
* Nobody is connected: records go by unread, as if all they name were forgotten at once. To read
  them took a quarter of a core from the syncs of a storm in which nobody held a connection.
* A gap: what was missed lies before the place where reading goes on. Everybody is poked, over some
  seconds, when that is committed. Before, it would be of no use.

So a poke may be superfluous. Conversations on the read side are in no change record: their
messages poke nobody, which is the price of not being diffused.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

POKE_INTERVAL_S: Final = 1.0
"""Pokes of one user are at least so far apart; more changes by then are one poke."""

WAITING_USERS_MAX: Final = 50_000
"""Users with a change that is not readable yet, of 16 MB together: a second of 50,000 marks."""

CROWD_SPREAD_S: Final = 8.0
"""Everybody is poked over so long: 5,000 users would sync at 600 a second, not all at once."""


class Due(NamedTuple):
    """A user to be poked; the append time of his oldest change, None if it is not known."""

    user_id: str
    at_ms: int | None


class _Seen(NamedTuple):
    """The last record seen of a partition."""

    offset: int
    at_ms: int


class _Waiting:
    """Changes of a user that are not committed: offsets of the oldest and newest."""

    __slots__ = ("at_ms", "newest", "oldest")

    def __init__(self, oldest: int, newest: int, at_ms: int) -> None:
        self.oldest = oldest
        self.newest = newest
        self.at_ms = at_ms


class PokeBook:
    """The book. `connected` is asked by user id, and gone through when everybody is poked.

    For one thread; `connected` may change under it, if single look-ups and a copy are atomic.
    """

    def __init__(
        self,
        connected: Collection[str],
        *,
        waiting_max: int = WAITING_USERS_MAX,
        interval_s: float = POKE_INTERVAL_S,
        spread_s: float = CROWD_SPREAD_S,
    ) -> None:
        self._connected = connected
        self._waiting_max = waiting_max
        self._interval_s = interval_s
        self._spread_s = spread_s
        self._waiting: dict[int, dict[str, _Waiting]] = {}
        self._size = 0
        self._shed_at = waiting_max
        self._seen: dict[int, _Seen] = {}
        self._floor: dict[int, int] | None = None
        self._next_floor: dict[int, int] = {}
        self._crowd: deque[str] = deque()
        self._crowd_per_s = 0.0
        self._looked_s = math.inf
        self._raised: dict[str, int | None] = {}
        self._poked: dict[str, float] = {}

    @property
    def waits(self) -> bool:
        """Whether anything waits for a commit."""
        return self._size > 0 or self._floor is not None

    def gap(self, starts: Mapping[int, int]) -> None:
        """Reading goes on at these offsets, by partition; what was before may have been missed."""
        self._waiting.clear()
        self._size = 0
        self._seen = {}
        self._floor, self._next_floor = dict(starts), {}

    def saw(self, partition: int, offset: int, users: Iterable[str], at_ms: int) -> None:
        """A change record was seen; offsets of a partition grow."""
        self._seen[partition] = _Seen(offset, at_ms)
        mine = self._waiting.setdefault(partition, {})
        before = len(mine)
        for user_id in users:
            held = mine.get(user_id)
            if held is None:
                mine[user_id] = _Waiting(offset, offset, at_ms)
            else:
                held.newest = offset
        self._size += len(mine) - before
        if self._size > self._shed_at:
            self._shed()

    @property
    def is_idle(self) -> bool:
        """Whether nobody is connected, so that records need not be read (`pass_by`)."""
        return not self._connected

    def pass_by(self, partition: int, offset: int) -> None:
        """A change record was not read. Whoever connects before it is committed is poked then."""
        self._raise_floor({partition: offset + 1})

    def due(self, committed: Mapping[int, int], now_s: float) -> list[Due]:
        """Who is to be poked now, given the committed offset (that of the next record) by
        partition.
        """
        for partition, mine in self._waiting.items():
            self._raise_committed(mine, partition, committed.get(partition, 0))
        self._set_shed_at()
        self._pass_floor(committed)
        self._raise_crowd(now_s)
        return self._release(now_s)

    def _raise_committed(self, mine: dict[str, _Waiting], partition: int, committed: int) -> None:
        ready: list[tuple[str, _Waiting]] = []
        for user_id, held in mine.items():  # in the order of their oldest
            if held.oldest >= committed:
                break
            ready.append((user_id, held))
        for user_id, held in ready:
            del mine[user_id]
            self._raise(user_id, held.at_ms)
            if held.newest >= committed:
                last = self._seen[partition]
                mine[user_id] = _Waiting(last.offset, last.offset, last.at_ms)
            else:
                self._size -= 1

    def _raise(self, user_id: str, at_ms: int | None) -> None:
        if user_id in self._connected:
            self._raised.setdefault(user_id, at_ms)

    def _shed(self) -> None:
        """Forget who is not connected; everybody is poked when what was forgotten is committed."""
        floor: dict[int, int] = {}
        self._size = 0
        for partition, mine in self._waiting.items():
            kept = {user: held for user, held in mine.items() if user in self._connected}
            if len(kept) < len(mine):
                floor[partition] = self._seen[partition].offset + 1
            self._waiting[partition] = kept
            self._size += len(kept)
        self._raise_floor(floor)
        self._set_shed_at()

    def _raise_floor(self, floor: dict[int, int]) -> None:
        if self._floor is None:
            self._floor = floor
        else:
            # A floor that is raised while it is waited for would never be reached.
            self._next_floor |= floor

    def _set_shed_at(self) -> None:
        # Twice what must be kept, so that forgetting is seldom.
        self._shed_at = max(self._waiting_max, 2 * len(self._connected))

    def _pass_floor(self, committed: Mapping[int, int]) -> None:
        if self._floor is None or self._crowd:
            return
        if any(committed.get(partition, 0) < at for partition, at in self._floor.items()):
            return
        self._floor, self._next_floor = self._next_floor or None, {}
        self._crowd = deque(list(self._connected))
        self._crowd_per_s = len(self._crowd) / self._spread_s

    def _raise_crowd(self, now_s: float) -> None:
        # A look that comes late does not make up for all of it at once.
        passed_s = min(self._interval_s, now_s - self._looked_s)
        self._looked_s = now_s
        share = math.ceil(self._crowd_per_s * max(0.0, passed_s))
        for _ in range(min(len(self._crowd), share)):
            self._raise(self._crowd.popleft(), None)

    def _release(self, now_s: float) -> list[Due]:
        recent = iter(self._poked.items())  # in the order of time
        for user_id in [user for user, at_s in _until(recent, now_s - self._interval_s)]:
            del self._poked[user_id]
        found: list[Due] = []
        for user_id, at_ms in list(self._raised.items()):
            if user_id in self._poked:
                continue
            del self._raised[user_id]
            if user_id in self._connected:
                self._poked[user_id] = now_s
                found.append(Due(user_id, at_ms))
        return found


def _until(poked: Iterable[tuple[str, float]], last_s: float) -> Iterable[tuple[str, float]]:
    for user_id, at_s in poked:
        if at_s > last_s:
            return
        yield user_id, at_s
