"""Bookkeeping of pokes: never missed, never early, at most one a second and user."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from syncapi.poke_book import PokeBook


def names(book: PokeBook, committed: dict[int, int], now_s: float) -> list[str]:
    return [due.user_id for due in book.due(committed, now_s)]


def test_a_change_is_poked_for_when_it_is_committed_and_not_before() -> None:
    book = PokeBook({"ann"})
    book.saw(0, 7, ["ann"], 1_000)
    assert book.waits
    assert names(book, {}, 0) == []
    assert names(book, {0: 7, 1: 99}, 1) == [], "7 is the next to be read"
    assert book.due({0: 8}, 2) == [("ann", 1_000)]
    assert not book.waits
    assert names(book, {0: 8}, 9) == []


def test_a_commit_may_be_known_before_the_record() -> None:
    book = PokeBook({"ann"})
    assert names(book, {0: 100}, 0) == []
    book.saw(0, 7, ["ann"], 0)
    assert names(book, {0: 100}, 1) == ["ann"]


def test_who_is_not_connected_is_not_poked() -> None:
    book = PokeBook({"ann"})
    book.saw(0, 1, ["bob", "ann", "cid"], 0)
    assert names(book, {0: 2}, 0) == ["ann"]


def test_who_connects_between_record_and_commit_is_poked() -> None:
    connected: set[str] = set()
    book = PokeBook(connected)
    book.saw(0, 1, ["ann"], 0)
    connected.add("ann")
    assert names(book, {0: 2}, 0) == ["ann"]


def test_nobody_is_poked_for_what_went_by_before_it_is_committed() -> None:
    connected: set[str] = set()
    book = PokeBook(connected)
    assert book.is_idle
    book.pass_by(0, 7)
    connected.add("ann")
    assert not book.is_idle
    assert book.waits
    assert names(book, {0: 7}, 0) == []
    assert [name for tick in range(1, 5) for name in names(book, {0: 8}, tick)] == ["ann"]


def test_what_went_by_and_is_committed_concerns_nobody_who_comes_later() -> None:
    connected: set[str] = set()
    book = PokeBook(connected)
    for offset in range(100):
        book.pass_by(0, offset)
        assert names(book, {0: offset + 1}, offset) == []
    assert names(book, {0: 100}, 100) == []
    assert not book.waits
    connected.add("ann")
    assert names(book, {0: 100}, 200) == []


def test_changes_that_do_not_stop_do_not_hold_back_the_poke() -> None:
    """With the newest alone, what is committed would never reach it."""
    book = PokeBook({"ann"})
    pokes = 0
    for offset in range(100):
        book.saw(0, offset, ["ann"], 0)
        pokes += len(book.due({0: offset - 5}, float(offset)))
    assert pokes >= 10


def test_many_changes_within_a_second_are_one_poke_and_one_more_after_it() -> None:
    book = PokeBook({"ann"})
    found = []
    for tick in range(12):
        if tick < 4:
            book.saw(0, tick, ["ann"], 0)
        found += [(tick, name) for name in names(book, {0: tick + 1}, tick * 0.25)]
    assert found == [(0, "ann"), (4, "ann")]


def test_a_poke_held_back_is_dropped_with_the_connection() -> None:
    connected = {"ann"}
    book = PokeBook(connected)
    book.saw(0, 0, ["ann"], 0)
    assert names(book, {0: 1}, 0) == ["ann"]
    book.saw(0, 1, ["ann"], 0)
    assert names(book, {0: 2}, 0.5) == []
    connected.clear()
    assert names(book, {}, 5) == []


def test_after_a_gap_everybody_is_poked_once_it_is_committed_spread() -> None:
    everybody = {f"u{n}" for n in range(80)}
    book = PokeBook(everybody, spread_s=8)
    book.saw(0, 3, ["u1"], 0)
    book.gap({0: 10, 1: 20})
    assert book.waits
    assert names(book, {0: 10, 1: 19}, 0) == [], "what was missed is not readable yet"
    found: list[list[str]] = [names(book, {0: 10, 1: 20}, 60 + tick) for tick in range(12)]
    assert sorted(name for some in found for name in some) == sorted(everybody)
    assert max(map(len, found)) <= 11
    assert not book.waits


def test_a_gap_of_an_empty_topic_needs_no_commit() -> None:
    book = PokeBook({"ann"})
    book.gap({0: 0})
    assert names(book, {}, 0) + names(book, {}, 8) == ["ann"]


def test_too_many_that_wait_are_forgotten_but_for_who_is_connected() -> None:
    connected = {"ann"}
    book = PokeBook(connected, waiting_max=10, spread_s=1)
    book.saw(0, 0, ["ann"], 0)
    for offset in range(1, 50):
        book.saw(0, offset, [f"u{offset}"], 0)
    assert sum(map(len, book._waiting.values())) <= 11
    connected.add("u1")  # forgotten by now
    assert names(book, {0: 1}, 0) == ["ann"]
    for tick in range(1, 6):
        found = names(book, {0: 50}, tick * 2.0)
        if "u1" in found:
            return
    raise AssertionError("who connected after being forgotten was not poked")


def test_more_connected_users_than_may_wait_are_all_kept() -> None:
    connected = {f"u{n}" for n in range(100)}
    book = PokeBook(connected, waiting_max=10)
    book.saw(0, 0, sorted(connected), 0)
    assert set(names(book, {0: 1}, 0)) == connected


def test_a_floor_that_rises_is_reached_all_the_same() -> None:
    """The materializers stay behind for ever, and too many wait all the time."""
    connected = {"late"}
    book = PokeBook(connected, waiting_max=5, spread_s=0.1)
    poked = 0
    for offset in range(400):
        book.saw(0, offset, [f"u{offset}"], 0)
        poked += names(book, {0: offset - 40}, float(offset)).count("late")
    assert poked >= 3


def test_what_is_forgotten_while_a_floor_is_waited_for_has_a_floor_of_its_own() -> None:
    connected: set[str] = set()
    book = PokeBook(connected, waiting_max=5, spread_s=1)
    book.gap({0: 100})
    for offset in range(100, 120):
        book.saw(0, offset, [f"u{offset}"], 0)
    connected.add("u101")  # forgotten by now
    assert [names(book, {0: 100}, now_s) for now_s in (0.0, 2.0)] == [[], ["u101"]]
    assert [names(book, {0: 120}, now_s) for now_s in (4.0, 6.0)] == [["u101"], []]


def test_a_crowd_that_is_being_poked_is_finished_first() -> None:
    connected = {f"u{n}" for n in range(50)}
    book = PokeBook(connected, spread_s=10)
    seen: set[str] = set()
    for tick in range(60):
        if tick % 5 == 0:
            book.gap({0: tick})
        seen |= set(names(book, {0: tick + 1}, tick * 0.25))
    assert seen == connected


# Whatever happens, in whatever order.


USERS = ["a", "b", "c", "d", "e", "f", "g"]


def partition_of(user: str) -> int:
    return USERS.index(user) % 2


class World:
    """A log, materializers that commit, a tail that is late or breaks, users that come and go."""

    def __init__(self) -> None:
        self.connected: dict[str, None] = {}
        self.log: list[list[tuple[str, ...]]] = [[], []]
        self.read = [0, 0]
        self.committed = [0, 0]
        self.now_s = 0.0
        self.readable_at_connect: dict[str, int] = {}
        self.pokes: dict[str, list[tuple[float, int]]] = {}
        self.book = PokeBook(self.connected, waiting_max=4, spread_s=2)
        self.gap()

    def write(self, users: list[str]) -> None:
        for partition in (0, 1):
            mine = tuple(u for u in dict.fromkeys(users) if partition_of(u) == partition)
            if mine:
                self.log[partition].append(mine)

    def tail(self, partition: int, count: int) -> None:
        for at in range(self.read[partition], len(self.log[partition]))[:count]:
            if self.book.is_idle:
                self.book.pass_by(partition, at)
            else:
                self.book.saw(partition, at, self.log[partition][at], 0)
            self.read[partition] += 1

    def commit(self, partition: int, count: int) -> None:
        left = len(self.log[partition]) - self.committed[partition]
        self.committed[partition] += min(count, left)

    def connect(self, user: str) -> None:
        if user not in self.connected:
            self.connected[user] = None
            self.readable_at_connect[user] = self.committed[partition_of(user)]
            self.pokes.pop(user, None)

    def leave(self, user: str) -> None:
        if user in self.connected:
            del self.connected[user]
            self.now_s += 1.0  # he comes back when a poke of before does not hold one back

    def gap(self) -> None:
        self.read = [len(records) for records in self.log]
        self.book.gap(dict(enumerate(self.read)))

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def look(self) -> None:
        committed = dict(enumerate(self.committed)) if self.book.waits else {}
        for due in self.book.due(committed, self.now_s):
            assert due.user_id in self.connected
            mine = self.pokes.setdefault(due.user_id, [])
            assert not mine or self.now_s - mine[-1][0] >= 1.0, "at most one a second"
            mine.append((self.now_s, self.committed[partition_of(due.user_id)]))

    def settle(self) -> None:
        """The tail comes to see everything, and everything is committed."""
        for _ in range(40):
            for partition in (0, 1):
                self.tail(partition, 9)
                self.commit(partition, 9)
            self.now_s += 0.25
            self.look()


partitions, users = st.integers(0, 1), st.sampled_from(USERS)
steps = st.one_of(
    st.tuples(st.just("write"), st.lists(users, min_size=1, max_size=3)),
    st.tuples(st.just("tail"), partitions, st.integers(1, 4)),
    st.tuples(st.just("commit"), partitions, st.integers(1, 4)),
    st.tuples(st.just("connect"), users),
    st.tuples(st.just("leave"), users),
    st.tuples(st.just("gap")),
    st.tuples(st.just("wait"), st.sampled_from([0.25, 0.5, 2.0])),
)


@settings(max_examples=300)
@given(st.lists(steps, max_size=80))
def test_every_change_of_a_connected_user_is_poked_for_at_or_after_its_commit(
    found: list[tuple[Any, ...]],
) -> None:
    world = World()
    for name, *arguments in found:
        getattr(world, name)(*arguments)
        world.look()
    world.settle()
    for user in world.connected:
        for at, marked in enumerate(world.log[partition_of(user)]):
            # What was readable when he connected he saw by syncing then.
            if user in marked and at >= world.readable_at_connect[user]:
                assert any(done > at for _, done in world.pokes.get(user, []))
