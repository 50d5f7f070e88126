"""The poke feed: a thread that follows the change log, and says which connected users to poke.

It asks Kafka twice: for the records of the change log, and, while something waits, for the
committed offsets of the materializers. Cassandra is not asked, whatever the number of connections.
`syncapi.poke_book` decides. Every process reads the whole log, of which it decodes the users alone:
at 10,000 marks a second that is 1 MB/s and 3% of a core, whoever is connected.

Kafka being away hinders neither syncs nor readiness: pokes come late, or everybody gets one when
the feed is back. Conversations on the read side are not in the change log: their messages poke
nobody, clients find them when they sync.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from infra import metrics
from infra.clock import monotonic_s, now_ms
from infra.faults import Seldom, trace_of
from infra.kafka.admin import Admin, BrokerUnavailable
from infra.kafka.tail import Tail
from infra.settings import KafkaSettings
from schemas.errors import DiffusionError
from schemas.topics import CHANGES
from syncapi.poke_book import Due, PokeBook

log = logging.getLogger("diffusion.api")

POKE_TICK_S: Final = 0.1
"""How often committed offsets are asked for, in one small request. It adds a half of this to a
poke on average, and all of it at worst."""

TOPIC_CHECK_S: Final = 30.0
"""How often the topic is looked at: made anew, or repartitioned, which a person does by hand."""

RETRY_S: Final = 3.0
"""Pause before the feed is opened again."""

WARN_S: Final = 60.0
"""Kafka being away is said once in so long."""

STOP_TIMEOUT_S: Final = 2.0
"""A call to a Kafka that is away may take longer; the thread does not keep the process alive."""

Deliver = Callable[[list[str]], None]


class _Marked(msgspec.Struct, gc=False):
    """Of a change record, whom it marks: the rest is for the materializers."""

    users: tuple[str, ...]


_decoder: Final = msgspec.json.Decoder(_Marked)


class PokeFeed:
    """Follows the change log in a thread of its own.

    `connected` are the ids of connected users, changed by another thread (a dict's keys do).
    `deliver` is called on the feed's thread with users to poke, and must return at once.
    """

    def __init__(
        self, settings: KafkaSettings, connected: Collection[str], deliver: Deliver
    ) -> None:
        # librdkafka would write a line to standard error for every try to reach a broker.
        quiet = {"log_level": "2", **settings.options}
        self._settings = settings.model_copy(update={"options": quiet})
        self._deliver = deliver
        self._book = PokeBook(connected)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poke-feed", daemon=True)
        self._warned = Seldom(WARN_S)

    def start(self) -> None:
        """Begin; returns at once, whether Kafka is there or not."""
        self._thread.start()

    def stop(self) -> None:
        """End it; nothing is delivered afterwards, but what is being delivered."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with Admin(self._settings) as admin, Tail(self._settings, admin, CHANGES.name) as t:
                    self._follow(admin, t)
            except DiffusionError as error:
                self._warn("pokes are suspended: %s", error)
            except Exception as error:  # noqa: BLE001
                # Clients still sync when they like; a feed that ended would be noticed by nobody.
                told = trace_of(error)
                log.error("the poke feed failed and is opened again\n%s", told)  # noqa: TRY400
            metrics.api_poke_feed.set(0)
            self._stop.wait(RETRY_S)

    def _follow(self, admin: Admin, tail: Tail) -> None:
        """Work until the feed breaks, or is to stop."""
        self._book.gap(tail.starts)
        metrics.api_poke_feed.set(1)
        metrics.api_poke_feed_gaps.inc()
        look_s = check_s = monotonic_s()
        while not self._stop.is_set():
            records = tail.read(max(0.0, look_s - monotonic_s()))
            for record in records:
                self._saw(record.partition, record.offset, record.value, record.at_ms)
            if records:
                lag_ms = max(0, now_ms() - records[-1].at_ms)
                metrics.api_poke_feed_lag_seconds.set(lag_ms / 1_000)
            now_s = monotonic_s()
            if now_s < look_s:
                continue
            look_s = now_s + POKE_TICK_S
            try:
                self._look(admin, tail)
                if now_s - check_s >= TOPIC_CHECK_S:
                    check_s = now_s
                    tail.check()
            except BrokerUnavailable as error:
                # What waits goes on waiting, and the records are still followed: no gap.
                self._warn("pokes are late: %s", error)

    def _saw(self, partition: int, offset: int, value: bytes, at_ms: int) -> None:
        if self._book.is_idle:
            self._book.pass_by(partition, offset)
            return
        try:
            users = _decoder.decode(value).users
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # a dead letter of the materializers, who need more of it than we
        self._book.saw(partition, offset, users, at_ms)

    def _look(self, admin: Admin, tail: Tail) -> None:
        committed: dict[int, int] = {}
        if self._book.waits:
            group = self._settings.materializer_group
            committed = admin.committed_of(group, CHANGES.name, tail.starts)
        found = self._book.due(committed, monotonic_s())
        if found and not self._stop.is_set():
            _observe(found)
            self._deliver([due.user_id for due in found])

    def _warn(self, message: str, error: Exception) -> None:
        if self._warned.is_due(monotonic_s()):
            log.warning(message, error)


def _observe(found: list[Due]) -> None:
    at_ms = now_ms()
    for due in found:
        if due.at_ms is not None:
            metrics.api_poke_seconds.observe(max(0, at_ms - due.at_ms) / 1_000)
