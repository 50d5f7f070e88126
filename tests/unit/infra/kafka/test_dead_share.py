"""One bad record is put aside, a flood stops the worker."""

from __future__ import annotations

import pytest

from infra.kafka.dead_share import EVENTS_MIN, WINDOW_EVENTS, DeadShare, TooManyDead

HALF = 0.5


def share(share_max: float = HALF) -> DeadShare:
    return DeadShare("im.user-writes.v1", share_max, "THE_SETTING")


def bad(count: int) -> list[str]:
    return [f"reason {number}" for number in range(count)]


def test_a_flood_is_refused_with_what_to_do() -> None:
    with pytest.raises(TooManyDead) as refused:
        share().add(40, bad(60))
    assert str(refused.value).startswith(
        "60 of the last 100 events of im.user-writes.v1 cannot be read, the last because: reason 59."
    )
    assert "THE_SETTING=1" in str(refused.value)


def test_up_to_the_share_it_goes_on() -> None:
    one = share()
    for _ in range(100):
        one.add(30, bad(30))


def test_of_few_events_no_share_is_taken() -> None:
    share().add(0, bad(EVENTS_MIN - 1))
    with pytest.raises(TooManyDead):
        share().add(0, bad(EVENTS_MIN))


def test_a_trickle_adds_up() -> None:
    one = share()
    for _ in range(EVENTS_MIN - 1):
        one.add(0, bad(1))
    one.add(WINDOW_EVENTS, [])
    for _ in range(WINDOW_EVENTS // 2 - EVENTS_MIN):
        one.add(0, bad(1))


def test_what_is_long_ago_does_not_count() -> None:
    one = share()
    one.add(30, bad(20))
    one.add(0, [])
    one.add(WINDOW_EVENTS, [])
    one.add(WINDOW_EVENTS, bad(1))
    with pytest.raises(TooManyDead):
        one.add(0, bad(WINDOW_EVENTS + 100))


def test_after_good_events_alone_nothing_is_refused() -> None:
    one = share(0.0)
    one.add(EVENTS_MIN, [])
    with pytest.raises(TooManyDead):
        one.add(0, bad(1))


def test_1_never_stops() -> None:
    share(1.0).add(0, bad(5_000))
