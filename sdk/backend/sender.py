"""Between the callers and Kafka: a bounded waiting room, and the one thread that empties it.

    caller -> put() -> Batcher -> sealed records -> the thread -> Link -> reports
              blocks while `waiting_bytes` is at its bound       blocks while librdkafka is full

A caller only puts its event into the open record of its partition. The thread alone hands records
over, so those of a partition go in the order in which they were sealed, and `on_error` is never
called from two threads at once. Everything shared is under one lock; the thread never holds it
while it talks to Kafka or to the caller's code.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from schemas.codec import CONVERSATION_EVENTS, USER_EVENTS, EventDecoder
from schemas.errors import PermanentError, RetryableError
from schemas.events import WriteEvent
from schemas.records import Batcher, Place, Record, bytes_held
from schemas.topics import CONVERSATION_WRITES, USER_WRITES
from schemas.trace_context import TraceContext
from sdk.backend.errors import DeliveryError
from sdk.backend.ledger import Ledger, ProducerStats
from sdk.backend.link import Link, Report

OnError: TypeAlias = Callable[[Sequence[WriteEvent], str], None]
"""Called with the events of one record that was not delivered, in order, and the reason."""

POLL_S: Final = 0.005
"""Wait for delivery reports while some are outstanding; a newly sealed record waits no longer."""

IDLE_POLL_S: Final = 1.0
"""How often an idle producer hears what librdkafka has to say: lost brokers, refused logins."""

_DECODERS: Final[dict[str, EventDecoder[Any]]] = {
    CONVERSATION_WRITES.name: CONVERSATION_EVENTS,
    USER_WRITES.name: USER_EVENTS,
}

_log = logging.getLogger(__name__)


class Sender:
    """Owns the connection, the open records and the thread."""

    def __init__(
        self,
        config: dict[str, Any],
        batcher: Batcher,
        *,
        waiting_bytes_max: int,
        on_error: OnError | None = None,
    ) -> None:
        """Make the client; `start` begins the work. Raises `PermanentError` as `Link` does."""
        self.link = Link(config, ended=self._ended, complained=self._complained)
        self._batcher = batcher
        self._waiting_bytes_max = waiting_bytes_max
        self._on_error = on_error
        self._ledger = Ledger()
        self._sealed: deque[Record] = deque()
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._broken: str | None = None
        self._closed = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="write-producer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(
        self,
        place: Place,
        key: str,
        value: bytes,
        timeout_s: float,
        context: TraceContext | None = None,
    ) -> None:
        """Accept an event, or raise and have accepted nothing; blocks up to `timeout_s`."""
        # on_error may send again, but only this thread makes room: there it must not wait.
        wait_s = 0.0 if threading.current_thread() is self._thread else timeout_s
        with self._work:
            self._room.wait_for(self._has_room_or_ended, wait_s)
            self._refuse_if_ended()
            if not self._has_room_or_ended():
                raise RetryableError(
                    f"{self._ledger.waiting_bytes:,} bytes of events wait for Kafka, and none was "
                    f"taken within {wait_s:g} s; the event was not accepted: call again later"
                )
            generation = self._ledger.accept(bytes_held(value))
            idle = self._batcher.next_due_s() is None
            now_s = time.monotonic()
            sealed = self._batcher.add(
                place, key, value, generation=generation, now_s=now_s, context=context
            )
            self._sealed.extend(sealed)
            if sealed or idle:
                self._work.notify()

    def flush(self, timeout_s: float) -> None:
        """Wait until everything accepted before came to its end.

        Raises `DeliveryError` when events were lost since the last flush, `RetryableError` when
        some are still on their way after `timeout_s`.
        """
        assert threading.current_thread() is not self._thread, "on_error must not flush or close"
        with self._work:
            self._sealed.extend(self._batcher.seal_all())
            generation = self._ledger.close_generation()
            self._work.notify()
            done = self._settled.wait_for(lambda: self._ledger.settled(generation), timeout_s)
            count, reason = self._ledger.take_failures()
            outstanding = self._ledger.stats().outstanding
        if count:
            raise DeliveryError(count, reason)
        if not done:
            raise RetryableError(
                f"{outstanding:,} events are still on their way after {timeout_s:g} s; "
                "flush again, or look whether the brokers take writes"
            )

    def close(self, timeout_s: float) -> None:
        """Flush, then stop. What is not delivered by then is given up and reported as lost."""
        with self._work:
            if self._closed:
                return
            self._closed = True
            self._room.notify_all()
        count, reason = 0, f"not delivered within {timeout_s:g} s of closing"
        try:
            self.flush(timeout_s)
        except DeliveryError as error:
            count, reason = error.count, error.reason
        except RetryableError:
            pass  # out of time: what is left is counted below
        finally:
            self._stop()
        with self._work:
            given_up, _ = self._ledger.take_failures()
        if count + given_up:
            raise DeliveryError(count + given_up, reason)

    def stats(self) -> ProducerStats:
        """Take a picture of the counters."""
        with self._work:
            return self._ledger.stats()

    def _has_room_or_ended(self) -> bool:
        ended = self._closed or self._broken is not None
        return ended or self._ledger.waiting_bytes < self._waiting_bytes_max

    def _refuse_if_ended(self) -> None:
        if self._closed:
            raise PermanentError("the producer is closed; make a new one")
        if self._broken is not None:
            raise PermanentError(f"the producer is beyond repair: {self._broken}; make a new one")

    def _stop(self) -> None:
        with self._work:
            self._stopping = self.link.closing = True
            self._work.notify()
        self._thread.join()

    # What follows runs on the thread alone.

    def _run(self) -> None:
        try:
            while not self._stopping:
                wait_s = self._next()
                self._hand_over_sealed()
                self.link.poll(wait_s)
        except Exception as error:  # noqa: BLE001 -- a defect, and callers must not wait forever
            self._complained(f"its thread ended by {type(error).__name__}: {error}", fatal=True)
        self.link.closing = True
        with self._work:
            self._sealed.extend(self._batcher.seal_all())
        try:
            self._hand_over_sealed()
        finally:  # whatever a defect leaves here, what Kafka's client has is told of
            self.link.give_up()

    def _next(self) -> float:
        """Wait for sealed records; returns how long to wait for delivery reports afterwards."""
        with self._work:
            now_s = time.monotonic()
            self._sealed.extend(self._batcher.due(now_s))
            due_s = self._batcher.next_due_s()
            wait_s = IDLE_POLL_S if due_s is None else min(IDLE_POLL_S, due_s - now_s)
            if not self._sealed and not self.link.in_flight and not self._stopping:
                self._work.wait(wait_s)
                wait_s = 0.0
            return 0.0 if self._sealed else min(wait_s, POLL_S)

    def _hand_over_sealed(self) -> None:
        while self._sealed:
            # Taken off only afterwards: if a defect ends the thread, the record is still found.
            record = self._sealed[0]
            self.link.hand_over(record)
            self._sealed.popleft()
            with self._work:
                self._ledger.waiting_bytes -= record.bytes_held
                self._room.notify_all()

    def _ended(self, report: Report) -> None:
        if report.reason is not None and self._on_error is not None:
            try:
                self._on_error(_DECODERS[report.topic].decode(report.value).events, report.reason)
            except Exception:  # noqa: BLE001 -- the caller's code; the books must go on
                _log.exception("on_error raised, which it must not; the events are only counted")
        with self._work:
            self._ledger.end(report.generation, report.count, report.reason)
            self._settled.notify_all()

    def _complained(self, reason: str, fatal: bool) -> None:  # noqa: FBT001 -- as Link calls it
        with self._work:
            self._ledger.last_error = reason
            if fatal:
                self._broken = reason
                self._room.notify_all()
        if fatal:
            _log.error("the producer is beyond repair: %s", reason)
