"""`diffusion trace`: from what a device was told back to the write, by the version of the row.

A row of the change index has no correlation id, which would cost every row its bytes. It has the
version of its change record, and that is a place in the change log: its headers name the writes, if
these had an id, and the source records they are in. `places` is pure; `fetch` reads.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from infra.cassandra import changes_by_user, topic_epochs
from infra.cassandra.schema import open_session
from infra.kafka.peek import Peek, Peeked
from infra.settings import Settings
from schemas.errors import PermanentError
from schemas.partitioner import partition_of
from schemas.rows import ChangeRow
from schemas.topics import CHANGES
from schemas.trace_context import place
from schemas.versions import epoch_of, offset_of

ROWS_MAX: Final = 100_000
"""Rows of the user that are looked through, newest window first: a week of a very busy one."""

PLACE: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,18})")
"""A partition and an offset of Kafka: numbers of 32 and 64 bits, with a sign."""

KINDS: Final = ("message", "read", "state")
"""As the columns of the index have them."""

GONE: Final = "not in the log any more"
OTHER_LOG: Final = "of a log before this one"
NONE: Final = (
    "The index has no row of this conversation for this user: nothing of it changed within the "
    "retention, or it is read-diffused, and its members look at its head."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A change record, and which kind of change of the conversation it was the newest of."""

    kind: str
    version: int
    partition: int
    offset: int
    readable: bool
    """Whether its log is the present one."""


@dataclass(frozen=True, slots=True)
class WrittenBy:
    """One write: its trace, and its record (`topic/partition/offset`; empty: unknown)."""

    trace_id: str
    traceparent: str
    sampled: bool
    source: str


@dataclass(frozen=True, slots=True)
class Step:
    """A change record, as found: `lost` says why it could not be read."""

    kind: str
    version: int
    record: str
    appended_at_ms: int | None
    lost: str | None
    written_by: tuple[WrittenBy, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def places(
    rows: Iterable[ChangeRow], conversation_id: str, partition: int, epoch: int
) -> list[Place]:
    """The newest change of each kind of a conversation, newest first; of the index rows of a user
    whose changes are in `partition`.
    """
    newest = dict.fromkeys(KINDS, 0)
    for row in rows:
        if row.conversation_id == conversation_id:
            versions = (row.message_version, row.read_version, row.state_version)
            for kind, version in zip(KINDS, versions, strict=True):
                newest[kind] = max(newest[kind], version)
    found = [
        Place(kind, version, partition, offset_of(version), epoch_of(version) == epoch)
        for kind, version in newest.items()
        if version
    ]
    return sorted(found, key=lambda one: -one.version)


def step(one: Place, read: Callable[[int, int], Peeked | None]) -> Step:
    """Look up a change record; `read` gives it by partition and offset."""
    record = place(CHANGES.name, one.partition, one.offset)
    peeked = read(one.partition, one.offset) if one.readable else None
    if peeked is None:
        lost = GONE if one.readable else OTHER_LOG
        return Step(one.kind, one.version, record, None, lost, ())
    written_by = tuple(
        WrittenBy(context.trace_id, str(context), context.sampled, source)
        for context, source in peeked.origins
    )
    return Step(one.kind, one.version, record, peeked.at_ms, None, written_by)


def fetch(settings: Settings, user_id: str, conversation_id: str) -> list[Step]:
    """Follow a user's row of a conversation; empty if the index has none.

    Raises `PermanentError` when nothing was migrated yet, and what the servers raise when away.
    """
    session = open_session(settings.cassandra)
    try:
        epoch = topic_epochs.latest(session, CHANGES.name)
        if epoch is None:
            raise PermanentError("The change log has no epoch yet. Run `diffusion migrate`.")
        rows = changes_by_user.read_all(session, user_id, ROWS_MAX)
    finally:
        session.close()
    found = places(rows, conversation_id, partition_of(user_id, epoch.partitions), epoch.epoch)
    with Peek(settings.kafka) as peek:
        return [step(one, lambda *at: peek.at(CHANGES.name, *at)) for one in found]


def at(settings: Settings, text: str) -> list[Step]:
    """Look up a change record by `PARTITION/OFFSET`, as a span of a sync has it; raises
    `PermanentError` for what is none.
    """
    found = PLACE.fullmatch(text.removeprefix(f"{CHANGES.name}/"))
    if found is None:
        raise PermanentError(f"{text!r:.100} is no place: give PARTITION/OFFSET, as 3/1234.")
    one = Place("change", 0, int(found[1]), int(found[2]), readable=True)
    with Peek(settings.kafka) as peek:
        return [step(one, lambda *where: peek.at(CHANGES.name, *where))]


def show(found: Sequence[Step]) -> None:
    """Print it for a person. In lines, because ids are to be copied whole."""
    lines = [line for one in found for line in _lines(one)]
    sys.stdout.write("\n".join(lines or [NONE]) + "\n")


def _lines(one: Step) -> Iterator[str]:
    when = "" if one.appended_at_ms is None else f"  appended {_time(one.appended_at_ms)} UTC"
    yield f"{one.kind}: {one.record}{when}"
    if not one.written_by:
        yield f"  {one.lost or 'its writes had no id'}"
    for write in one.written_by:
        note = "" if write.sampled else " (not sampled)"
        yield f"  trace {write.trace_id}{note}, written as {write.source or 'unknown'}"


def _time(at_ms: int) -> str:
    text = datetime.fromtimestamp(at_ms / 1_000, UTC)
    return text.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "")
