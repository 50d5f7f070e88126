"""Batching: order, bounds, keys and due times, for every sequence of events."""

from __future__ import annotations

from collections import defaultdict

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import EVENT_RECORD_BYTES_MAX, EVENTS_PER_RECORD_MAX
from schemas.records import Batcher, Place, Record, bytes_held

A, B = Place("t", 0), Place("t", 1)


def add(batcher: Batcher, key: str, value: bytes = b"{}", now_s: float = 0.0) -> list[Record]:
    return batcher.add(A, key, value, generation=0, now_s=now_s)


def test_one_event_is_a_record_without_an_array_once_it_is_due() -> None:
    batcher = Batcher(linger_s=0.5)
    assert batcher.next_due_s() is None
    assert add(batcher, "k", b'{"a":1}', now_s=10.0) == []
    assert batcher.next_due_s() == 10.5
    assert batcher.due(10.4) == []
    (record,) = batcher.due(10.5)
    assert (record.value(), record.key, record.place) == (b'{"a":1}', b"k", A)
    assert batcher.next_due_s() is None


def test_a_record_is_sealed_when_it_holds_its_number_of_events() -> None:
    batcher = Batcher(linger_s=1, events_max=3)
    assert add(batcher, "k", b"1") == []
    assert add(batcher, "k", b"2") == []
    (record,) = add(batcher, "k", b"3")
    assert (record.value(), record.key) == (b"[1,2,3]", b"k")


def test_the_key_is_left_out_when_events_of_several_share_the_record() -> None:
    batcher = Batcher(linger_s=1)
    for key in ("k", "l", "k"):
        add(batcher, key)
    assert [record.key for record in batcher.seal_all()] == [None]


def test_a_record_is_sealed_before_it_would_be_too_large() -> None:
    batcher = Batcher(linger_s=1, bytes_max=20)
    assert add(batcher, "k", b"12345678") == []
    (record,) = add(batcher, "k", b"1234567890")  # with 8 bytes, a comma, two brackets: 21
    assert record.value() == b"12345678"
    (record,) = add(batcher, "k", b"1234567")  # with 10 bytes, a comma, two brackets: 20, full
    assert record.value() == b"[1234567890,1234567]"
    assert batcher.seal_all() == []


def test_an_event_as_large_as_a_record_seals_the_one_before_and_itself() -> None:
    batcher = Batcher(linger_s=1)
    largest = b"1" * EVENT_RECORD_BYTES_MAX
    assert add(batcher, "k", b"1") == []
    first, second = add(batcher, "k", largest)
    assert (first.value(), second.value()) == (b"1", largest)
    assert batcher.seal_all() == []


def test_records_are_due_in_the_order_in_which_they_were_opened() -> None:
    batcher = Batcher(linger_s=1)
    batcher.add(B, "k", b"1", generation=0, now_s=0.0)
    batcher.add(A, "k", b"2", generation=0, now_s=0.5)
    batcher.add(B, "k", b"3", generation=0, now_s=0.9)
    assert [record.place for record in batcher.due(1.0)] == [B]
    assert batcher.next_due_s() == 1.5
    assert [record.place for record in batcher.due(9.0)] == [A]


events = st.lists(
    st.tuples(
        st.integers(0, 2),  # partition
        st.sampled_from("ab"),  # key
        st.integers(0, 60),  # bytes of padding
        st.floats(0, 0.4),  # seconds since the event before
    )
)


@given(events, st.integers(1, 7), st.integers(20, 200))
def test_whatever_comes_records_keep_order_and_bounds(
    steps: list[tuple[int, str, int, float]], events_max: int, bytes_max: int
) -> None:
    batcher = Batcher(linger_s=1.0, events_max=events_max, bytes_max=bytes_max)
    added: dict[Place, list[tuple[str, bytes]]] = defaultdict(list)
    records: list[Record] = []
    now_s = 0.0
    for number, (partition, key, padding, pause_s) in enumerate(steps):
        now_s += pause_s
        records += batcher.due(now_s)
        place, value = Place("t", partition), orjson.dumps([number, "x" * padding])
        added[place].append((key, value))
        records += batcher.add(place, key, value, generation=0, now_s=now_s)
        due_s = batcher.next_due_s()
        assert due_s is None or now_s < due_s <= now_s + 1.0
    records += batcher.seal_all()

    seen: dict[Place, list[bytes]] = defaultdict(list)
    for record in records:
        values, value = list(record.values), record.value()
        keys = {key for key, _ in added[record.place][len(seen[record.place]) :][: len(values)]}
        seen[record.place] += values
        assert record.key == (keys.pop().encode() if len(keys) == 1 else None)
        assert 1 <= len(values) <= events_max <= EVENTS_PER_RECORD_MAX
        assert len(value) <= bytes_max or len(values) == 1
        assert record.bytes_held == sum(map(bytes_held, values))
        decoded = orjson.loads(value)
        assert (decoded if len(values) > 1 else [decoded]) == list(map(orjson.loads, values))
    assert seen == {place: [value for _, value in pairs] for place, pairs in added.items()}
