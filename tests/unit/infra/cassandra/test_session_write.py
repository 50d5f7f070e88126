"""Writing: again until acknowledged, never for longer than the deadline, and a refusal at once.

Or once, for what may be lost.

The driver's session is a script here: what it answers to each statement, one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut
from prometheus_client import REGISTRY

from infra.cassandra import session as session_module
from infra.cassandra.on_loop import Home
from infra.cassandra.session import WRITE_DEADLINE_S, Session, StoreRefused, StoreUnavailable

LATE_S = 10.0


class Clock:
    """Time passes only by waiting and by statements that are not answered."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Driver:
    """Answers at once; `answer` gives None, or the error of a statement."""

    def __init__(self, answer: Callable[[Any], Exception | None]) -> None:
        self.answer = answer
        self.sent: list[Any] = []

    def execute_async(self, statement: Any) -> Driver:
        self.sent.append(statement)
        return self

    def add_callbacks(
        self, on_done: Any, on_error: Any, callback_args: Any = (), errback_args: Any = ()
    ) -> None:
        error = self.answer(self.sent[-1])
        if error is None:
            on_done([], *callback_args)
        else:
            on_error(error, *errback_args)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(session_module, "time", clock)
    return clock


def session_on(driver: Driver) -> Session:
    session = Session.__new__(Session)
    session._session = driver
    session._home = Home()
    return session


def test_what_failed_is_written_again_and_nothing_else(clock: Clock) -> None:
    failures = {"b": 2, "d": 1}

    def answer(statement: str) -> Exception | None:
        if failures.get(statement, 0):
            failures[statement] -= 1
            return OperationTimedOut()
        return None

    driver = Driver(answer)
    session_on(driver).write(["a", "b", "c", "d"], in_flight=2)
    assert driver.sent == ["a", "b", "c", "d", "b", "d", "b"]


def test_a_refusal_is_raised_at_once_even_beside_outages(clock: Clock) -> None:
    driver = Driver(lambda one: InvalidRequest("no") if one == "b" else OperationTimedOut())
    with pytest.raises(StoreRefused):
        session_on(driver).write(["a", "b", "c"], in_flight=3)
    assert driver.sent == ["a", "b", "c"]


def test_an_outage_ends_at_the_deadline(clock: Clock) -> None:
    def answer(_: Any) -> Exception:
        clock.now_s += LATE_S
        return OperationTimedOut()

    driver = Driver(answer)
    with pytest.raises(StoreUnavailable):
        session_on(driver).write(["a"], in_flight=1)
    assert len(driver.sent) <= WRITE_DEADLINE_S / LATE_S + 1


def test_one_long_round_ends_at_the_deadline_too(clock: Clock) -> None:
    """A head carries the time when its write began. Were the last of thousands sent after an outage
    of many minutes, it would be news older than any cursor looks back for.
    """

    def answer(_: Any) -> Exception:
        clock.now_s += LATE_S
        return OperationTimedOut()

    driver = Driver(answer)
    with pytest.raises(StoreUnavailable):
        session_on(driver).write([str(n) for n in range(1_000)], in_flight=1)
    assert len(driver.sent) <= WRITE_DEADLINE_S / LATE_S + 1


def test_nothing_to_write_is_nothing_sent(clock: Clock) -> None:
    driver = Driver(lambda _: None)
    session_on(driver).write([], in_flight=1)
    assert driver.sent == []


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"diffusion_store_{name}", labels) or 0.0


def test_each_statement_is_timed_and_each_failure_counted(clock: Clock) -> None:
    waits = iter([OperationTimedOut(), None, InvalidRequest("no")])

    def answer(_: Any) -> Exception | None:
        clock.now_s += 0.25
        return next(waits)

    names = ("seconds_count", "seconds_sum")
    timed = [counted(name, operation="write") for name in names]
    failed = {
        outcome: counted("failures_total", operation="write", outcome=outcome)
        for outcome in ("away", "refused")
    }
    session = session_on(Driver(answer))
    session.write(["a"], in_flight=1)
    with pytest.raises(StoreRefused):
        session.write(["b"], in_flight=1)
    now = [counted(name, operation="write") for name in names]
    assert now == pytest.approx([timed[0] + 1, timed[1] + 0.25])
    for outcome, before in failed.items():
        assert counted("failures_total", operation="write", outcome=outcome) == before + 1


# Once, in an event loop.


def test_what_is_written_once_is_not_written_again(clock: Clock) -> None:
    driver = Driver(lambda _: None)
    asyncio.run(session_on(driver).awrite_once("a"))
    assert driver.sent == ["a"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OperationTimedOut(), StoreUnavailable), (InvalidRequest("no"), StoreRefused)],
)
def test_a_failure_of_what_is_written_once_is_ours_and_at_once(
    clock: Clock, error: Exception, raised: type[Exception]
) -> None:
    driver = Driver(lambda _: error)
    with pytest.raises(raised):
        asyncio.run(session_on(driver).awrite_once("a"))
    assert driver.sent == ["a"]
    assert clock.now_s == 0


def test_an_answer_after_its_waiter_has_gone_harms_nobody(clock: Clock) -> None:
    class Silent(Driver):
        def add_callbacks(self, on_done: Any, *_: Any, **__: Any) -> None:
            self.on_done = on_done

    async def course() -> None:
        driver = Silent(lambda _: None)
        writing = asyncio.create_task(session_on(driver).awrite_once("a"))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        driver.on_done([])
        await asyncio.sleep(0)
        assert writing.cancelled()

    asyncio.run(course())
