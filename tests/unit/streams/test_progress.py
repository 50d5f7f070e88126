"""Records behind, and commits made once more where a rebalance refused them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka.errors import IllegalStateError
from faust.types import TP

from streams.progress import Progress
from streams.worker import SourceRecord

TOPIC = "writes"


class Group:
    """A consumer of two partitions, one of which is of another topic."""

    def __init__(self) -> None:
        self.positions: dict[TP, int | None] = {TP(TOPIC, 0): None, TP("other", 0): 7}
        self.ends: dict[TP, int | None] = {TP(TOPIC, 0): None, TP("other", 0): 9}
        self._committed_offset: dict[TP, int | None] = {}
        self.commits: list[int] = []
        self.refuses = False
        self.goes = False
        self.meanwhile: Progress | None = None

    def assignment(self) -> set[TP]:
        return set(self.positions)

    def highwater(self, tp: TP, /) -> int | None:
        return self.ends[tp]

    async def position(self, tp: TP, /) -> int | None:
        if self.goes:
            raise IllegalStateError(tp)
        return self.positions[tp]

    async def _commit(self, offsets: Mapping[TP, int], /) -> bool:
        if self.meanwhile is not None:
            self.taken(self.meanwhile, 6)
            self.meanwhile = None
        if self.refuses:
            return False
        assert set(offsets) == {TP(TOPIC, 0)}
        self.commits += offsets.values()
        return True

    def came(self, at: int | None) -> None:
        """The partition is this worker's from now on, again or still: so far it is committed."""
        self.positions[TP(TOPIC, 0)] = self._committed_offset[TP(TOPIC, 0)] = at

    def taken(self, progress: Progress, upto: int) -> None:
        """All before `upto` is taken and done, and Faust asked to commit it."""
        self.came(upto)
        progress.finished([done(upto)])


def done(upto: int) -> SourceRecord:
    return SourceRecord(TOPIC, 0, upto - 1, 0, b"")


def look(progress: Progress, group: Group, times: int = 1) -> int:
    return [asyncio.run(progress.look(group)) for _ in range(times)][-1]


def test_nothing_is_known_before_the_first_fetch() -> None:
    assert look(Progress(TOPIC), Group(), times=3) == 0


def test_behind_is_what_is_not_done_by_the_end_that_is_known() -> None:
    progress, group = Progress(TOPIC), Group()
    group.positions[TP(TOPIC, 0)], group.ends[TP(TOPIC, 0)] = 4, 10
    assert look(progress, group) == 6, "nothing done here yet: from where it was taken over"
    group.taken(progress, 5)
    group.positions[TP(TOPIC, 0)] = 9
    assert look(progress, group) == 5, "done, not taken, counts"
    group._committed_offset[TP(TOPIC, 0)] = 4
    assert look(progress, group) == 5, "done, not committed, counts"
    group.came(10)
    assert look(progress, group) == 0, "others did the rest"


def test_what_stands_is_committed_once_more_and_then_no_more() -> None:
    progress, group = Progress(TOPIC), Group()
    group.taken(progress, 5)
    look(progress, group)
    assert group.commits == [], "still in motion: the ordinary commit comes by itself"
    look(progress, group, times=5)
    assert group.commits == [5]
    group.taken(progress, 6)
    look(progress, group, times=5)
    assert group.commits == [5, 6]


def test_a_commit_that_is_refused_again_is_made_again() -> None:
    progress, group = Progress(TOPIC), Group()
    group.refuses = True
    group.taken(progress, 5)
    look(progress, group, times=4)
    group.refuses = False
    look(progress, group, times=4)
    assert group.commits == [5]


def test_a_batch_from_before_a_rebalance_takes_no_commit_back() -> None:
    """It ends after the partition went to another worker, which got to 8, and came back."""
    progress, group = Progress(TOPIC), Group()
    group.came(8)
    group.ends[TP(TOPIC, 0)] = 8
    progress.finished([done(5)])
    assert look(progress, group, times=4) == 0
    assert group.commits == []
    group.taken(progress, 9)
    look(progress, group, times=4)
    assert group.commits == [9]


def test_nothing_is_committed_over_a_record_that_faust_waits_for() -> None:
    """Of what it lost itself, it never commits what is behind; nor may this."""
    progress, group = Progress(TOPIC), Group()
    group.came(3)
    group.positions[TP(TOPIC, 0)] = group.ends[TP(TOPIC, 0)] = 9
    progress.finished([done(9)])
    look(progress, group, times=4)
    assert group.commits == []


def test_what_a_rebalance_refused_is_taken_again_and_committed_after_it() -> None:
    progress, group = Progress(TOPIC), Group()
    group.taken(progress, 5)
    group.came(3)
    look(progress, group, times=4)
    assert group.commits == []
    group.taken(progress, 5)
    look(progress, group, times=4)
    assert group.commits == [5]


def test_before_the_first_fetch_of_a_partition_that_came_back_nothing_is_decided() -> None:
    progress, group = Progress(TOPIC), Group()
    group.taken(progress, 5)
    group.positions[TP(TOPIC, 0)] = None
    look(progress, group, times=4)
    assert group.commits == []


def test_a_partition_that_goes_while_it_is_asked_about_is_passed_over() -> None:
    progress, group = Progress(TOPIC), Group()
    group.taken(progress, 5)
    group.goes = True
    assert look(progress, group, times=4) == 0
    assert group.commits == []


def test_what_was_overtaken_is_committed_at_its_newer_place() -> None:
    """Ours may have reached the broker after the newer one of Faust, and have taken it back."""
    progress, group = Progress(TOPIC), Group()
    group.taken(progress, 5)
    group.meanwhile = progress
    look(progress, group, times=5)
    assert group.commits == [5, 6]
