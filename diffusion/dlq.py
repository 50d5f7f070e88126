"""Dead letters by hand: look at them, write them again, let them go (`diffusion dlq`).

Each topic has its line of dead letters, in the order in which they were found, and they stay there.
What was replayed or dropped lies before a place in that line, which is the committed offset of
`GROUP`: so they are dealt with from the front, in their order.

Crash points of a replay: before Kafka has a batch, nothing happened; after that and before the
commit, the same letters are replayed again, to the same effect as any event that is written twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.console import Console
from rich.table import Table

from infra.kafka.admin import Admin, BrokerUnavailable
from infra.kafka.config import common
from infra.kafka.delivery import Delivery
from infra.settings import KafkaSettings
from schemas import dead_letters, topics
from schemas.codec import CONVERSATION_EVENTS, USER_EVENTS, decode_change
from schemas.dead_letters import DeadLetter
from schemas.errors import DecodeError, PermanentError
from schemas.partitioner import partition_of
from schemas.record_version import is_newer
from schemas.routes import routed

GROUP: Final = "diffusion-dlq"
READ_TIMEOUT_S: Final = 10.0
GATHER_S: Final = 0.01
READ_AT_ONCE: Final = 500
"""Letters between two commits of a replay, at most 400 MB of the longest."""

SHOWN_CHARS: Final = 60
NAMES: Final = {spec.name.split(".")[1]: spec.name for spec in topics.TOPICS} | {
    "openim": topics.OPENIM_RECORDS
}
"""Short names of the topics: `conversation-writes`, `user-writes`, `changes`; and of what the tap
of an OpenIM deployment could not use.
"""

DECODERS: Final[dict[str, Any]] = {
    topics.CONVERSATION_WRITES.name: CONVERSATION_EVENTS,
    topics.USER_WRITES.name: USER_EVENTS,
}


class StillDead(PermanentError):
    """A letter that is not usable yet; what came before it was replayed."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and its number: its offset in the line."""

    number: int
    dead: DeadLetter

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON; the value as text, with what is no UTF-8 replaced."""
        told: dict[str, Any] = msgspec.to_builtins(self.dead)
        return {"number": self.number} | told | {"value": self.text}

    @property
    def text(self) -> str:
        """What came, as far as it is text."""
        return self.dead.value.decode("utf-8", "replace")

    @property
    def source(self) -> str:
        """Where it came from: partition, offset, and the event's place in its record."""
        dead = self.dead
        place = f"{dead.partition}:{dead.offset}"
        return place if dead.index is None else f"{place}[{dead.index}]"


@dataclass(frozen=True, slots=True)
class Line:
    """The letters of a topic that nobody dealt with: numbers from `first` to before `end`."""

    topic: str
    first: int
    end: int

    @property
    def waiting(self) -> int:
        """How many there are."""
        return self.end - self.first


def topic_of(name: str) -> str:
    """The topic of a name, short or whole; raises `PermanentError` for any other."""
    found = NAMES.get(name, name)
    if found not in NAMES.values():
        raise PermanentError(f"There is no topic {name}. There are: {', '.join(NAMES)}.")
    return found


class DeadLetters:
    """The lines of dead letters of a Kafka. Blocking. Close it."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin = Admin(settings)
        self._reader = Consumer(
            common(settings, GROUP)
            | {
                "group.id": GROUP,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
        )

    def close(self) -> None:
        """Close what reads."""
        self._reader.close()
        self._admin.close()

    def line(self, topic: str) -> Line:
        """What is waiting of a topic."""
        name = topics.dead_letters(topic)
        try:
            low, high = self._reader.get_watermark_offsets(
                TopicPartition(name, 0), timeout=READ_TIMEOUT_S
            )
        except KafkaException as error:
            raise self._away(error) from error
        done = self._admin.committed_of(GROUP, name, [0])[0]
        return Line(topic, min(high, max(low, done)), high)

    def read(self, topic: str, first: int, end: int) -> Iterator[Letter]:
        """Letters of these numbers, in their order."""
        name = topics.dead_letters(topic)
        for number, value in self._records(name, 0, first, end):
            yield Letter(number, dead_letters.decode(value))

    def drop(self, topic: str, end: int) -> int:
        """Let go of all before a number; how many. They stay in Kafka, where nobody looks."""
        line = self._checked(topic, end)
        self._commit(topic, end)
        return end - line.first

    def replay(self, topic: str, end: int) -> int:
        """Write all before a number to their topic again, in their order; how many.

        Raises `StillDead` for the first that cannot be used still, `PermanentError` for records of
        OpenIM's, which only its tap understands.
        """
        if topic == topics.OPENIM_RECORDS:
            raise PermanentError(
                "Records of OpenIM are not replayed from here. Once a tap understands them, set "
                "the offsets of its group back to before the first of them: it tells again what "
                "followed, to the same effect."
            )
        first = self._checked(topic, end).first
        _, partitions = self._admin.describe(topic)
        delivery = Delivery(self._settings, GROUP)
        for begin in range(first, end, READ_AT_ONCE):
            upto = min(end, begin + READ_AT_ONCE)
            failed: StillDead | None = None
            # All are read before one is looked at: what was cut is read by the same reader.
            for letter in list(self.read(topic, begin, upto)):
                try:
                    records = self._records_of(letter, partitions)
                except StillDead as error:
                    failed, upto = error, letter.number
                    break
                for partition, value in records:
                    delivery.produce(topic, partition, value)
            delivery.flush()
            self._commit(topic, upto)
            if failed is not None:
                raise failed
        return end - first

    def _checked(self, topic: str, end: int) -> Line:
        line = self.line(topic)
        if not line.first <= end <= line.end:
            raise PermanentError(
                f"Of {topic} the letters {line.first} to {line.end - 1} are waiting, and none to "
                f"{end - 1}."
                if line.waiting
                else f"No dead letter of {topic} is waiting."
            )
        return line

    def _records_of(self, letter: Letter, partitions: int) -> Sequence[tuple[int, bytes]]:
        """What to write for a letter: (partition, record), the topic having so many partitions."""
        dead, value = letter.dead, self._whole(letter)
        if dead.topic == topics.CHANGES.name:
            try:
                users = decode_change(value).users
            except DecodeError as error:
                raise _still_dead(letter, str(error)) from error
            if any(partition_of(user, partitions) != dead.partition for user in users):
                raise _still_dead(letter, "its users are in other partitions by now")
            return [(dead.partition, value)]
        decoded = DECODERS[dead.topic].decode(value)
        if decoded.rejected:
            raise _still_dead(letter, decoded.rejected[0].reason)
        if any(is_newer(event.v) for event in decoded.events):
            # It would be written without the fields that are not known here.
            raise _still_dead(letter, "it is newer than this program: replay it with a newer one")
        sent = [routed(event) for event in decoded.events]
        return [(partition_of(one.key, partitions), one.value) for one in sent]

    def _whole(self, letter: Letter) -> bytes:
        """The bytes that came. A letter that was cut is read where it came from."""
        dead = letter.dead
        if len(dead.value) == dead.size:
            return dead.value
        if dead.index is not None:
            raise _still_dead(letter, "it was cut, and is a part of its record")
        found = list(self._records(dead.topic, dead.partition, dead.offset, dead.offset + 1))
        if not found or found[0][0] != dead.offset:
            raise _still_dead(letter, "it was cut, and its record is gone")
        return found[0][1]

    def _records(
        self, topic: str, partition: int, first: int, end: int
    ) -> Iterator[tuple[int, bytes]]:
        """Offsets and values of a partition."""
        if first >= end:
            return
        reader = self._reader
        reader.assign([TopicPartition(topic, partition, first)])
        try:
            while True:
                # Not at once as many as may come: librdkafka would wait for all of them.
                records = reader.consume(1, READ_TIMEOUT_S)
                records += reader.consume(READ_AT_ONCE, GATHER_S) if records else []
                if not records:
                    raise BrokerUnavailable(f"Kafka does not give the records of {topic}.")
                for record in records:
                    error = record.error()
                    if error is not None:
                        raise self._away(KafkaException(error))
                    offset = record.offset()
                    assert offset is not None, "a record without an error has a place"
                    if offset >= end:
                        return
                    yield offset, record.value() or b""
                    if offset + 1 >= end:
                        return
        finally:
            reader.unassign()

    def _commit(self, topic: str, number: int) -> None:
        place = TopicPartition(topics.dead_letters(topic), 0, number)
        try:
            self._reader.commit(offsets=[place], asynchronous=False)
        except KafkaException as error:
            raise self._away(error) from error

    def _away(self, error: KafkaException) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"Kafka at {self._settings.bootstrap_servers} does not answer: {error.args[0].str()}"
        )


def _still_dead(letter: Letter, reason: str) -> StillDead:
    return StillDead(
        f"Letter {letter.number} of {letter.dead.topic} cannot be used still: {reason}. What came "
        f"before it was replayed. Mend what refuses it, or drop it: diffusion dlq drop "
        f"{letter.dead.topic} --upto {letter.number}"
    )


def show_lines(lines: Sequence[Line], letters: Sequence[Letter]) -> None:
    """Print what is waiting, and the first letters of it."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("topic", "waiting", "first number", "last"):
        table.add_column(name, justify="left" if name == "topic" else "right")
    for line in lines:
        ends = (line.first, line.end - 1) if line.waiting else ("", "")
        table.add_row(line.topic, f"{line.waiting:,}", *map(str, ends))
    console.print(table)
    if not letters:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("number", "came from", "when", "why", "what"):
        table.add_column(name)
    for letter in letters:
        when = datetime.fromtimestamp(letter.dead.at_ms / 1_000, UTC)
        table.add_row(
            str(letter.number),
            letter.source,
            f"{when:%Y-%m-%d %H:%M:%S}",
            letter.dead.reason[:SHOWN_CHARS],
            letter.text[:SHOWN_CHARS],
        )
    console.print(table)
