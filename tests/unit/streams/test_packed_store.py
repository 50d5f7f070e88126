"""Packed conversations within a bound, whatever is put and taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.packed import OVERHEAD_BYTES
from streams.packed_store import GENERATIONS, GENERATIONS_MAX, PackedStore


def size(name: str, packed: bytes) -> int:
    return len(name) + len(packed) + OVERHEAD_BYTES


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=200))
def test_what_is_taken_is_what_was_put_and_what_is_counted_is_held(
    steps: list[tuple[int, int]],
) -> None:
    store, model = PackedStore(5_000), dict[str, bytes]()
    for number, length in steps:
        name = f"sg_{number}"
        taken = store.take(name)
        assert taken is None or taken == model[name]
        if taken is not None:
            del model[name]
            assert name not in store
        store.put(name, bytes(length))
        model[name] = bytes(length)
        model = {name: packed for name, packed in model.items() if name in store}
        assert len(store) == len(model)
        assert store.size == sum(size(*one) for one in model.items()) <= 5_000


def test_the_oldest_are_let_go_and_no_more_than_a_sixteenth_at_a_time() -> None:
    store = PackedStore(160 * size("sg_1000", b"x"))
    names = [f"sg_{number}" for number in range(1_000, 2_000)]
    for count, name in enumerate(names, 1):
        store.put(name, b"x")
        kept = [one for one in names[:count] if one in store]
        assert kept == names[count - len(kept) : count], "the youngest"
        assert len(kept) >= min(count, 160 - 160 // GENERATIONS)


def test_generations_of_what_is_taken_again_and_again_do_not_gather() -> None:
    store = PackedStore(160 * size("sg_1000", b"x"))
    store.put("sg_once", b"x")
    for _ in range(50):
        for number in range(1_000, 1_100):
            store.take(f"sg_{number}")
            store.put(f"sg_{number}", b"x")
    assert len(store._generations) <= GENERATIONS_MAX
    assert all(f"sg_{number}" in store for number in range(1_000, 1_100))
    assert "sg_once" not in store


def test_nothing_is_kept_of_what_is_larger_than_the_bound_or_was_cleared() -> None:
    store = PackedStore(1_000)
    store.put("sg_1", bytes(2_000))
    assert len(store) == 0
    store.put("sg_2", b"x")
    assert "sg_2" in store
    store.clear()
    assert (len(store), store.size, store.take("sg_2")) == (0, 0, None)
    nothing = PackedStore(0)
    nothing.put("sg_3", b"")
    assert len(nothing) == 0
