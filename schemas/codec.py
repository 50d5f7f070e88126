"""Bytes to values and back, for everything on Kafka. The one place that decides what is decodable.

A write record is one JSON event or an array of events. An array is taken apart event by event when
it does not decode as a whole, so that one bad event costs itself and not its neighbours, also one
that is no JSON: a `NaN`, half of a surrogate pair, a hundred thousand brackets.

Records of newer versions (`schemas.record_version`) that cannot be used:
* A write event becomes a dead letter like any other bad one. It waits there for workers that know
  it, at the price of its place among the others. It does not stop the worker, because everybody
  who may write to the topic could then stop everybody's conversations by one wrong field; only
  when most of what comes cannot be used, it does (`infra.kafka.dead_share`).
* A change record is a `NewerRecordError`, because its readers must not go on without it.
Both hold also for a type that is not known in a newer minor version: to pass it by would lose it.
So a new type is read by all workers before anybody writes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, TypeVar

import msgspec

from schemas.changes import Change
from schemas.errors import DecodeError, NewerRecordError
from schemas.events import ConversationEvent, UserEvent, WriteEvent
from schemas.limits import EVENT_RECORD_BYTES_MAX, EVENTS_PER_RECORD_MAX
from schemas.record_version import refusal

UPGRADE_WORKERS: Final = (
    "upgrade the stream workers before the backends, and then replay it with `diffusion dlq replay`"
)
UPGRADE_MATERIALIZERS: Final = "upgrade the materializers before the stream workers"

E = TypeVar("E")

_parts: Final = msgspec.json.Decoder(list[msgspec.Raw])

_SPACES: Final = b" \t\r\n"
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]+|[\]}]+|[",]', re.DOTALL)
"""Whole strings, what gives JSON its shape, and a quotation mark that none ends. Never steps back:
what came is hostile.
"""

TOKENS_MAX: Final = 65_536
"""Of a record that is no JSON: 130 for each of its events, which have some 20. A record with more
costs as a whole; looking at all of 900,000 brackets would cost as much as a hundred good records.
"""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event, or a whole record (`index` None), that cannot be used; `value` is what came."""

    index: int | None
    reason: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Decoded(Generic[E]):
    """The usable events of one record, in order, and what was wrong with the others."""

    events: Sequence[E]
    rejected: Sequence[Rejected] = ()


class EventDecoder(Generic[E]):
    """Decodes the records of one write topic."""

    def __init__(self, event_type: Any) -> None:
        self._type = event_type
        self._one = msgspec.json.Decoder(event_type)
        self._many = msgspec.json.Decoder(list[event_type])

    def decode(self, value: bytes | None) -> Decoded[E]:
        """Take a record apart. Never raises: what cannot be used comes back as `rejected`."""
        if not value:
            return _refuse(b"", "the record is empty")
        if len(value) > EVENT_RECORD_BYTES_MAX:
            return _refuse(value, f"the record is larger than {EVENT_RECORD_BYTES_MAX:,} bytes")
        try:
            if value[:1] != b"[":
                return Decoded((self._one.decode(value),))
            events = self._many.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return self._apart(value, error)
        if len(events) > EVENTS_PER_RECORD_MAX:
            return _refuse(value, f"the record holds more than {EVENTS_PER_RECORD_MAX} events")
        return Decoded(events)

    def _apart(self, value: bytes, whole: Exception) -> Decoded[E]:
        raw = _elements(value)
        if raw is None:
            return _refuse(value, _reason(value, whole))
        if len(raw) > EVENTS_PER_RECORD_MAX:
            return _refuse(value, f"the record holds more than {EVENTS_PER_RECORD_MAX} events")
        events: list[E] = []
        rejected: list[Rejected] = []
        for index, item in enumerate(raw):
            try:
                events.append(self._one.decode(item))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                found = bytes(item)
                rejected.append(Rejected(index, _reason(found, error), found))
        return Decoded(events, rejected)


def _elements(value: bytes) -> Sequence[msgspec.Raw | bytes] | None:
    """Take an array apart; None for what is none. Each event stays the bytes that came: parsing and
    writing it again would fail on what is nested too deeply, and a dead letter would not be what
    was sent.
    """
    try:
        return _parts.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _by_shape(value)


def _by_shape(value: bytes) -> list[bytes] | None:
    """Take apart an array of which some are no JSON, by brackets, commas and strings alone."""
    text = value.strip(_SPACES)
    if text[:1] != b"[":
        return None
    found: list[bytes] = []
    depth = begin = end = 0
    for token in islice(_TOKENS.finditer(text), TOKENS_MAX):
        match token[0][:1]:
            case b"[" | b"{":
                begin = begin or token.start() + 1
                depth += len(token[0])
            case b"]" | b"}":
                end = token.start() + depth - 1
                depth = max(0, depth - len(token[0]))
            case b"," if depth == 1:
                found.append(text[begin : token.start()].strip(_SPACES))
                begin = token.end()
            case b'"' if len(token[0]) == 1:  # a string that does not end
                return None
        if depth == 0 or len(found) > EVENTS_PER_RECORD_MAX:
            break
    closed = depth == 0 and text[end:] == b"]"
    if not closed and len(found) <= EVENTS_PER_RECORD_MAX:
        return None
    return [*found, text[begin:end].strip(_SPACES)]


def _reason(value: bytes, error: Exception) -> str:
    return refusal(value, str(error), UPGRADE_WORKERS) or str(error)


def _refuse(value: bytes, reason: str) -> Decoded[Any]:
    return Decoded((), (Rejected(None, reason, value),))


CONVERSATION_EVENTS: Final[EventDecoder[ConversationEvent]] = EventDecoder(ConversationEvent)
USER_EVENTS: Final[EventDecoder[UserEvent]] = EventDecoder(UserEvent)

_encoder: Final = msgspec.json.Encoder()
_change_decoder: Final[msgspec.json.Decoder[Change]] = msgspec.json.Decoder(Change)


def encode_event(event: WriteEvent) -> bytes:
    """Encode one event as JSON."""
    return _encoder.encode(event)


def join_events(encoded: Sequence[bytes]) -> bytes:
    """Make one record of already encoded events: the event itself, or an array of several."""
    return encoded[0] if len(encoded) == 1 else b"[" + b",".join(encoded) + b"]"


def encode_change(change: Change) -> bytes:
    """Encode one change record."""
    return _encoder.encode(change)


def decode_change(value: bytes | None) -> Change:
    """Decode one change record; raises `DecodeError` with the reason, `NewerRecordError` for one
    that a newer program wrote.
    """
    if not value:
        raise DecodeError("the change record is empty")
    try:
        return _change_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        newer = refusal(value, str(error), UPGRADE_MATERIALIZERS)
        if newer is not None:
            raise NewerRecordError(newer) from error
        raise DecodeError(str(error)) from error
