"""The pinned list: the last writer by source stamp wins, in whatever order writes arrive."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from infra.cassandra import pinned_by_user
from tests.unit.infra.cassandra.support import Cells, written


def pins(cells: Cells, user_id: str = "ann") -> list[str]:
    return asyncio.run(pinned_by_user.read(cells, user_id))


def put(cells: Cells, conversation_id: str, *, on: bool, stamp: int, user: str = "ann") -> None:
    cells.apply(pinned_by_user.pinned(cells, user, conversation_id, value=on, stamp=stamp))


def test_the_list_has_what_is_pinned_in_byte_order() -> None:
    cells = Cells()
    for stamp, conversation_id in enumerate(
        ["sg_b", "sg_a", "sg_\N{GREEK SMALL LETTER ALPHA}", "sg_B"]
    ):
        put(cells, conversation_id, on=True, stamp=stamp)
    put(cells, "sg_c", on=False, stamp=9)
    put(cells, "sg_0", on=True, stamp=9, user="bob")
    found = pins(cells)
    assert found == ["sg_B", "sg_a", "sg_b", "sg_\N{GREEK SMALL LETTER ALPHA}"]
    assert found == sorted(found, key=str.encode)


def test_who_never_pinned_anything_has_an_empty_list() -> None:
    assert pins(Cells()) == []


def test_unpinning_is_a_state_that_stays() -> None:
    """Were the row deleted or did it expire, an older pin that arrives later would win."""
    cells = Cells()
    put(cells, "sg_1", on=False, stamp=2)
    assert written(cells.writes[-1])[3:] == (2, None)
    put(cells, "sg_1", on=True, stamp=1)
    assert pins(cells) == []
    put(cells, "sg_1", on=True, stamp=3)
    assert pins(cells) == ["sg_1"]


writes = st.lists(
    st.tuples(st.sampled_from(["sg_1", "sg_2", "sg_3"]), st.booleans()), max_size=12
).map(lambda found: [(cid, on, stamp) for stamp, (cid, on) in enumerate(found, 1)])


@given(writes, st.randoms(use_true_random=False))
def test_any_order_with_repetitions_ends_in_the_same_list(log: list, order: object) -> None:
    expected = {cid: on for cid, on, _ in log}
    shuffled = log + log[: len(log) // 2]
    order.shuffle(shuffled)
    cells = Cells()
    for cid, on, stamp in shuffled:
        put(cells, cid, on=on, stamp=stamp)
    assert pins(cells) == sorted(cid for cid, on in expected.items() if on)
