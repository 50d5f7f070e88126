"""Dead letters: records that cannot be used, kept with where they came from and why."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.errors import DecodeError
from schemas.record_version import Versioned, refusal

UPGRADE: Final = "use the `diffusion` of the workers that wrote it"

MAX_VALUE_BYTES: Final = 600_000
"""Base64 makes 4 bytes of 3: a letter stays under Kafka's default 1 MiB. Longer values are cut, and
`size` tells; the record itself is still at its offset in the source topic."""

REASON_CHARS_MAX: Final = 1_000


class DeadLetter(Versioned, frozen=True):
    """One record, or one event of it (`index`), that could not be used. `value` is Base64 in
    JSON.
    """

    topic: str
    partition: int
    offset: int
    index: int | None
    reason: str
    at_ms: int
    size: int
    value: bytes


def letter(
    source: tuple[str, int, int], index: int | None, reason: str, value: bytes, at_ms: int
) -> DeadLetter:
    """Make a letter of (topic, partition, offset), the event's index, the reason and the bytes."""
    topic, partition, offset = source
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        index=index,
        reason=reason[:REASON_CHARS_MAX],
        at_ms=at_ms,
        size=len(value),
        value=value[:MAX_VALUE_BYTES],
    )


def encode(dead: DeadLetter) -> bytes:
    """Encode as JSON."""
    return msgspec.json.encode(dead)


def decode(value: bytes) -> DeadLetter:
    """Decode a letter; raises `DecodeError` with the reason."""
    try:
        return msgspec.json.decode(value, type=DeadLetter)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        newer = refusal(value, str(error), UPGRADE)
        raise DecodeError(f"A dead letter cannot be read: {newer or error}.") from error
