"""The sender with no broker to be found: nothing is lost silently, nobody waits for ever.

librdkafka itself runs here, against a port on which nobody listens.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from schemas.errors import PermanentError, RetryableError
from schemas.events import Read, WriteEvent
from schemas.records import Batcher, Place, Record
from schemas.routes import routed
from schemas.topics import USER_WRITES
from sdk.backend import DeliveryError, OnError, ProducerSettings, WriteProducer
from sdk.backend.options import configuration
from sdk.backend.sender import Sender

NOWHERE = "127.0.0.1:1"
PLACE = Place(USER_WRITES.name, 0)


class Losses:
    """An `on_error` that remembers."""

    def __init__(self) -> None:
        self.events: list[WriteEvent] = []
        self.reasons: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, events: Sequence[WriteEvent], reason: str) -> None:
        """Remember a loss."""
        self.events += events
        self.reasons.append(reason)
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def losses() -> Losses:
    return Losses()


def sender_of(
    losses: OnError, *, delivery_s: float = 60, waiting_bytes: int = 10_000_000
) -> Sender:
    settings = ProducerSettings(delivery_timeout_s=delivery_s)
    extra = {"log_level": "0"}
    sender = Sender(
        configuration(NOWHERE, "test", settings, extra),
        Batcher(linger_s=0.005, events_max=10),
        waiting_bytes_max=waiting_bytes,
        on_error=losses,
    )
    sender.start()
    return sender


@pytest.fixture
def sender(losses: Losses) -> Iterator[Sender]:
    sender = sender_of(losses)
    yield sender
    with contextlib.suppress(DeliveryError):
        sender.close(0)


def reads(count: int) -> list[Read]:
    return [Read("u", "sg_1", seq) for seq in range(count)]


def put(sender: Sender, events: Sequence[Read], timeout_s: float = 1.0) -> None:
    for event in events:
        sender.put(PLACE, event.user_id, routed(event).value, timeout_s)


def stuck_by(monkeypatch: pytest.MonkeyPatch, sender: Sender) -> threading.Event:
    """As when librdkafka's queue is full: records are handed over only once the event is set."""
    stuck, hand_over = threading.Event(), sender.link.hand_over

    def late(record: Record) -> None:
        stuck.wait()
        hand_over(record)

    monkeypatch.setattr(sender.link, "hand_over", late)
    return stuck


def test_close_gives_up_in_time_and_reports_every_event_in_order(
    sender: Sender, losses: Losses
) -> None:
    put(sender, reads(25))
    began_s = time.monotonic()
    with pytest.raises(DeliveryError, match=r"25 events were not delivered.*of closing") as lost:
        sender.close(0.2)
    assert time.monotonic() - began_s < 3
    assert lost.value.count == 25
    assert losses.events == reads(25)
    assert losses.threads == {"write-producer"}
    stats = sender.stats()
    assert (stats.accepted, stats.failed, stats.outstanding, stats.waiting_bytes) == (25, 25, 0, 0)


def test_after_close_calls_are_refused_and_a_second_close_is_nothing(sender: Sender) -> None:
    sender.close(1)
    sender.close(1)
    with pytest.raises(PermanentError, match="closed"):
        put(sender, reads(1))


def test_events_that_run_out_of_time_are_lost_aloud(losses: Losses) -> None:
    sender = sender_of(losses, delivery_s=1)
    put(sender, reads(12))
    with pytest.raises(DeliveryError, match=r"12 events .*timed out"):
        sender.flush(10)
    assert losses.events == reads(12)
    sender.flush(1)  # told once
    assert sender.stats().last_error
    sender.close(1)


def test_flush_says_what_is_still_on_its_way(sender: Sender) -> None:
    put(sender, reads(3))
    with pytest.raises(RetryableError, match=r"3 events are still on their way after 0\.1 s"):
        sender.flush(0.1)


def test_flush_of_nothing_returns_at_once(sender: Sender) -> None:
    sender.flush(0)


def test_an_error_in_on_error_does_not_stop_the_producer() -> None:
    def broken(_events: Sequence[WriteEvent], _reason: str) -> None:
        raise ValueError

    sender = sender_of(broken)
    put(sender, reads(15))
    with pytest.raises(DeliveryError, match="15 events"):
        sender.close(0)


def test_a_full_waiting_room_blocks_then_refuses_and_keeps_nothing_of_the_refused(
    losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = sender_of(losses, waiting_bytes=500)
    stuck = stuck_by(monkeypatch, sender)
    with pytest.raises(RetryableError, match="the event was not accepted"):
        put(sender, reads(1_000), timeout_s=0.05)
    accepted = sender.stats().accepted
    assert 1 < accepted < 1_000
    stuck.set()
    with pytest.raises(DeliveryError):
        sender.close(0)
    assert losses.events == reads(accepted)


def test_closing_wakes_who_waits_for_room(losses: Losses, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = sender_of(losses, waiting_bytes=1)
    stuck = stuck_by(monkeypatch, sender)
    put(sender, reads(1))
    refused: list[Exception] = []

    def waiter() -> None:
        try:
            put(sender, reads(1), timeout_s=30)
        except PermanentError as error:
            refused.append(error)

    waiting = threading.Thread(target=waiter)
    waiting.start()
    waiting.join(0.05)
    threading.Timer(0.1, stuck.set).start()
    with pytest.raises(DeliveryError):
        sender.close(0)
    waiting.join(5)
    assert len(refused) == 1


def test_a_defect_in_the_thread_reaches_the_callers(
    losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = sender_of(losses)

    def broken(_timeout_s: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sender.link, "poll", broken)
    put(sender, reads(1))
    with pytest.raises(DeliveryError, match="1 events"):
        sender.flush(5)
    assert losses.events == reads(1)
    with pytest.raises(PermanentError, match=r"beyond repair.*ZeroDivisionError"):
        put(sender, reads(1))
    sender.close(1)


def test_an_unreachable_cluster_is_said_in_time() -> None:
    settings = ProducerSettings(connect_timeout_s=0.2)
    with pytest.raises(RetryableError, match=r"no broker answered within 0\.2 s"):
        WriteProducer(NOWHERE, settings=settings, extra={"log_level": "0"})


def test_a_configuration_that_librdkafka_refuses_is_said() -> None:
    with pytest.raises(PermanentError, match=r"refuses the configuration.*no\.such\.option"):
        WriteProducer(NOWHERE, extra={"no.such.option": "1"})
