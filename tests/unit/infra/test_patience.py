"""Programs start while what they need is away."""

from __future__ import annotations

import logging

import pytest

from infra import patience
from infra.patience import patiently
from schemas.errors import PermanentError, RetryableError


class Away:
    """Is there after so many tries; time passes by what is waited."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self.now_s = 0.0
        self.waits: list[float] = []

    def __call__(self) -> str:
        self.tries -= 1
        if self.tries >= 0:
            raise RetryableError("Kafka does not answer.")
        return "there"

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    def clock(self) -> float:
        return self.now_s


def test_it_is_said_once_and_tried_again_until_it_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = Away(20)
    with caplog.at_level(logging.WARNING):
        assert patiently(away, wait=away.wait, clock=away.clock) == "there"
    assert caplog.messages == ["Kafka does not answer. Trying again until it does."]
    assert len(away.waits) == 20
    assert away.waits[0] <= patience.WAIT_FIRST_S
    assert max(away.waits) <= patience.WAIT_LONGEST_S
    assert min(away.waits[5:]) >= patience.WAIT_LONGEST_S / 2


def test_it_ends_with_the_sentence_when_nothing_comes() -> None:
    away = Away(10_000)
    with pytest.raises(RetryableError, match="Kafka does not answer"):
        patiently(away, wait=away.wait, clock=away.clock)
    waited_s = sum(away.waits)
    assert patience.GIVE_UP_S <= waited_s <= patience.GIVE_UP_S + patience.WAIT_LONGEST_S


def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    def refuse() -> str:
        raise PermanentError("no tables")

    away = Away(0)
    with pytest.raises(PermanentError):
        patiently(refuse, wait=away.wait, clock=away.clock)
    assert away.waits == []
