"""What must hold for each record, whatever its bytes."""

from __future__ import annotations

import traceback
from typing import Final

import msgspec

from diffusion.fuzz import contract
from diffusion.fuzz.records import CHANGES, Specimen
from diffusion.fuzz.ways import Course, Ways, letter_index
from schemas import dead_letters
from schemas.limits import (
    CHANGE_RECORD_BYTES_MAX,
    CONVERSATION_ID_CHARS_MAX,
    EVENTS_PER_RECORD_MAX,
    MEMBERS_PER_EVENT_MAX,
    USER_ID_CHARS_MAX,
)
from streams.policy import WRITE_MEMBERS_MAX

CRASH: Final = "crash"
ACCOUNTED: Final = "accounted"
BOUNDED: Final = "bounded"
READABLE: Final = "readable"

LAWS: Final = {
    CRASH: "nothing is raised, and Cassandra has room for every value",
    ACCOUNTED: "accepted and dead-lettered are together what was sent, and the right ones",
    BOUNDED: "marks and bytes of what comes of it are below their bounds",
    READABLE: "what the stream stage writes, the materializer can use; what is a letter, dlq can",
}

MARKS_PER_EVENT_MAX: Final = WRITE_MEMBERS_MAX + 2 * MEMBERS_PER_EVENT_MAX
"""A message is told to all members, of which the last join may have made a thousand too many; a
join or leave is told to those whom it names. A switch costs as much once more, and comes at most
once for a conversation in a batch."""

LETTER_BYTES_MAX: Final = 1_000_000
"""Below Kafka's default of 1 MiB for a record, with room for its headers."""

CHAR_BYTES: Final = 6
"""A character at its longest in JSON: a control character, escaped."""

CHANGE_FIXED_BYTES: Final = 512
CHANGE_BYTES_MAX: Final = CHANGE_FIXED_BYTES + CHAR_BYTES * (
    CONVERSATION_ID_CHARS_MAX + 2 * (USER_ID_CHARS_MAX + 1)
)
"""Of a change with one user, who may be named as its sender too."""

Broken = tuple[str, str]
"""A law, and what was seen."""


def judge(ways: Ways, specimen: Specimen) -> tuple[Course, list[Broken]]:
    """Take a record and say which laws it broke."""
    try:
        course = ways.take(specimen)
    except Exception as error:  # noqa: BLE001  # what is looked for
        return Course(), [(CRASH, _shown(error))]
    broken = [*_unaccounted(specimen, course), *_unbounded(course), *_unreadable(course)]
    return course, broken


def _unaccounted(specimen: Specimen, course: Course) -> list[Broken]:
    accepted, letters = course.accepted, len(course.letters)
    seen = f"{accepted} accepted, {letters} dead letters"
    if specimen.topic == CHANGES:
        return [] if accepted + letters == 1 else [(ACCOUNTED, seen)]
    found = contract.read(specimen.topic, specimen.value)
    expected = f"{seen} of {found.events} events, of which {found.fit} fit"
    whole = [letter_index(one) for one in course.letters] == [None]
    if found.whole and not (whole and accepted == 0):
        return [(ACCOUNTED, f"{expected}; to be refused as a whole")]
    if found.events is not None and accepted + letters != found.events:
        return [(ACCOUNTED, expected)]
    if found.fit is not None and accepted != found.fit:
        return [(ACCOUNTED, expected)]
    if accepted + letters > EVENTS_PER_RECORD_MAX or (whole and accepted):
        return [(ACCOUNTED, seen)]
    return []


def _unbounded(course: Course) -> list[Broken]:
    broken: list[Broken] = []
    each = min(course.members + MEMBERS_PER_EVENT_MAX, MARKS_PER_EVENT_MAX)
    if course.marks > (course.accepted + course.conversations) * each:
        broken.append((BOUNDED, f"{course.marks:,} marks of {course.accepted} events"))
    size = sum(map(len, course.changes))
    if size > course.marks * CHANGE_BYTES_MAX:
        broken.append((BOUNDED, f"{size:,} bytes of changes for {course.marks:,} marks"))
    if any(len(one) > CHANGE_RECORD_BYTES_MAX for one in course.changes):
        broken.append((BOUNDED, "a change record that is too large"))
    if any(len(one) > LETTER_BYTES_MAX for one in course.letters):
        broken.append((BOUNDED, "a dead letter that is too large"))
    return broken


def _unreadable(course: Course) -> list[Broken]:
    if course.late_letters:
        return [(READABLE, f"{course.late_letters} change records became dead letters")]
    for one in course.letters:
        try:
            dead_letters.decode(one)
        except (ValueError, msgspec.MsgspecError) as error:
            return [(READABLE, f"a dead letter: {error}")]
    return []


def _shown(error: Exception) -> str:
    (last,) = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{type(error).__name__} at {last.filename.rsplit('/', 1)[-1]}:{last.lineno}: {error}"[
        :500
    ]
