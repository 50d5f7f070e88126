"""The books: every accepted event is counted until its end, and a flush knows which are its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdk.backend.ledger import Ledger


def test_a_flush_waits_for_what_was_accepted_before_it_and_no_longer() -> None:
    ledger = Ledger()
    first = ledger.accept(10)
    closed = ledger.close_generation()
    later = ledger.accept(10)
    assert closed == first != later
    assert not ledger.settled(closed)
    ledger.end(later, 1, None)
    assert not ledger.settled(closed)
    ledger.end(first, 1, None)
    assert ledger.settled(closed)
    assert ledger.settled(ledger.close_generation())


def test_lost_events_are_told_once_with_the_first_reason() -> None:
    ledger = Ledger()
    for _ in range(5):
        ledger.accept(1)
    ledger.end(0, 2, "timed out")
    ledger.end(0, 3, "purged")
    assert ledger.take_failures() == (5, "timed out")
    assert ledger.take_failures() == (0, "")
    assert ledger.stats().failed == 5
    assert ledger.stats().last_error == "purged"


def test_nothing_accepted_is_settled() -> None:
    ledger = Ledger()
    assert ledger.settled(ledger.close_generation())


steps = st.lists(st.sampled_from(["accept", "deliver", "fail", "flush"]))


@given(steps)
def test_the_books_always_balance(steps: list[str]) -> None:
    ledger = Ledger()
    open_events: list[int] = []
    closed: list[int] = []
    for step in steps:
        if step == "accept":
            open_events.append(ledger.accept(1))
        elif step == "flush":
            closed.append(ledger.close_generation())
        elif open_events:
            generation = open_events.pop(0)
            ledger.end(generation, 1, None if step == "deliver" else "lost")
        stats = ledger.stats()
        assert stats.accepted == stats.delivered + stats.failed + stats.outstanding
        assert stats.outstanding == len(open_events)
        for generation in closed:
            assert ledger.settled(generation) == all(g > generation for g in open_events)
