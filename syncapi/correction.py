"""Snapshot correction: where a client's state differs from the user's. PURE.

The mathematics are in `schemas.digests` and `schemas.sketch`, which both ends share; here is what
one answer says of them, and how much of it fits. The server is the authority: it names what to
replace and what to drop, and takes nothing over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas import digests, sketch
from schemas.digests import DigestRow
from schemas.limits import CONVERSATIONS_PER_CORRECTION_MAX, RANGE_DIGEST_BYTES
from schemas.protocol import ConversationEntry, Correction, RangeDigests
from syncapi.room import Room
from syncapi.snapshot import state_of

GONE_BYTES: Final = RANGE_DIGEST_BYTES
"""Of one row in `gone`: a row hash, or an id of a sketch, which is as long."""

assert sketch.ID_BYTES == GONE_BYTES


@dataclass(frozen=True, slots=True)
class Differing:
    """What a correction found: conversations to be told whole, the digests of ranges, what the
    client should drop; `has_more` if not all of it fits, `undecoded` if a sketch was too small.
    """

    conversation_ids: list[str]
    parts: tuple[RangeDigests, ...] = ()
    gone: bytes = b""
    has_more: bool = False
    undecoded: bool = False


def whole(rows: Sequence[DigestRow], room: Room) -> RangeDigests:
    """Digests of the parts of the whole state; fewer of them, if there is no room for as many as
    its size asks for. `rows` in order of keys, here and below.
    """
    bits = digests.bits_for(len(rows))
    while bits > 1 and not room.part(RANGE_DIGEST_BYTES << bits):
        bits -= 1
    return digests.parts(digests.WHOLE, rows, bits)


def compare(
    asked: Correction,
    rows: Sequence[DigestRow],
    room: Room,
    most: int = CONVERSATIONS_PER_CORRECTION_MAX,
) -> Differing:
    """Answer a correction request, with at most `most` conversations.

    Raises `InputError` for ranges that overlap or are none, and for bytes that are not what they
    should be.
    """
    digests.check_ranges([*asked.split, *(one.range for one in asked.listed)])
    if asked.sketch is not None:
        decoded = sketch.decode(asked.sketch, rows)
        if decoded is None:
            return Differing([], undecoded=True)
        return _cut(decoded.changed, sketch.gone_bytes(decoded.gone), (), room, most)
    if not (asked.listed or asked.split):
        return Differing([], (whole(rows, room),))
    changed: list[str] = []
    gone = b""
    for one in asked.listed:
        missing, unmatched = digests.compare_listed(one, rows)
        changed += missing
        gone += unmatched
    parts: list[RangeDigests] = []
    for key_range in asked.split:
        found = digests.parts(
            key_range, rows, digests.bits_for(len(digests.rows_in(key_range, rows)))
        )
        if not room.part(len(found.digests)):
            return _cut(changed, b"", tuple(parts), room, 0)
        parts.append(found)
    return _cut(changed, gone, tuple(parts), room, most)


def _cut(
    changed: list[str], gone: bytes, parts: tuple[RangeDigests, ...], room: Room, most: int
) -> Differing:
    """Take what fits. Of a cut answer nothing may be dropped by: what is gone is only known when
    everything was told; the client comes again, and differs in less. What is told is
    spread over all keys, or the client would take those that are left for fewer than they are.
    """
    told: list[str] = []
    for conversation_id in sorted(changed, key=_spread):
        if len(told) == most or not room.entry(conversation_id):
            return Differing(told, parts, has_more=True)
        told.append(conversation_id)
    while gone and not room.raw(len(gone)):
        # All is told, so any part of what is gone may be dropped; the rest differs the next time.
        gone = gone[: len(gone) // 2 // GONE_BYTES * GONE_BYTES]
    return Differing(told, parts, gone)


def root_after(rows: Sequence[DigestRow], entries: Iterable[ConversationEntry]) -> bytes:
    """Root of what a client holds who holds `rows`, and replaces some of them by `entries`, which
    were read later.
    """
    told = {entry.conversation_id: entry for entry in entries}
    root = digests.root_of(row for row in rows if row.conversation_id not in told)
    for entry in told.values():
        root = digests.moved_root(root, new=digests.row_digest(state_of(entry)))
    return root


def _spread(conversation_id: str) -> int:
    """The end of the key, which says nothing of the ranges it is in."""
    return digests.key_of(conversation_id) & 0xFFFF_FFFF
