"""What a write record holds, in words of its own: how many events, and how many of them fit.

Nothing of the decoder is used: another parser, and the fields of each event as a table. Where the
two need not agree (a field named twice, text that is no UTF-8, nesting beyond what a parser takes),
it says so by None.
"""

from __future__ import annotations

import json  # noqa: TID251  # another parser than the one that is looked at
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from schemas import limits, topics

Check: TypeAlias = Callable[[Any], bool]

COUNTED_BYTES_MAX: Final = 65_536
"""Up to so many, what is no JSON is counted byte by byte."""


class Reading(NamedTuple):
    """Events in a record, and how many of them fit; None where it cannot be told. `whole`: the
    record is refused as one.
    """

    events: int | None
    fit: int | None
    whole: bool = False


WHOLE: Final = Reading(1, 0, whole=True)


def read(topic: str, value: bytes | None) -> Reading:
    """Read a record of a write topic."""
    if not value or len(value) > limits.EVENT_RECORD_BYTES_MAX:
        return WHOLE
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return _by_shape(value)
    try:
        found = _parser.decode(text)
    except (ValueError, RecursionError):
        return _by_shape(value)
    events = found if isinstance(found, list) else [found]
    if len(events) > limits.EVENTS_PER_RECORD_MAX:
        return WHOLE
    if len(value) > COUNTED_BYTES_MAX and "\\ud" in text.lower():
        # This parser takes half of a surrogate pair. Others do not, and may give up for the size.
        return Reading(None, None)
    verdicts = [_fits(_TABLE[topic], event) for event in events]
    return Reading(len(events), None if None in verdicts else verdicts.count(True))


def _text(longest: int) -> Check:
    return lambda value: isinstance(value, str) and 1 <= len(value) <= longest


def _whole(least: int, greatest: int) -> Check:
    return lambda value: type(value) is int and least <= value <= greatest


def _one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list(least: int, most: int) -> Check:
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= most and all(map(_user, value))
    )


def _absent_or(check: Check) -> Check:
    return lambda value: value is _ABSENT or check(value)


def _module_name(value: Any) -> bool:
    return value != "*" and _text(64)(value)


_ABSENT: Final = object()
_user: Final = _text(128)
_conversation: Final = _text(300)
_seq: Final = _whole(1, 2**53 - 1)
_seq_or_zero: Final = _whole(0, 2**53 - 1)
_at_ms: Final = _whole(946_684_800_000, 4_102_444_800_000)
_sides: Final = _absent_or(lambda value: value is None or _list(1, 2)(value))
_PLACE: Final[dict[str, Check]] = {"user_id": _user, "conversation_id": _conversation}
_LIST: Final[dict[str, Check]] = {
    "conversation_id": _conversation,
    "user_ids": _list(1, 1_000),
    "seq": _seq_or_zero,
    "at_ms": _at_ms,
}

_TABLE: Final[dict[str, dict[str, dict[str, Check]]]] = {
    topics.CONVERSATION_WRITES.name: {
        "message": {
            "conversation_id": _conversation,
            "seq": _seq,
            "sender_id": _user,
            "sent_at_ms": _at_ms,
            "members": _sides,
        },
        "members_joined": _LIST | {"history": _absent_or(_flag)},
        "members_left": _LIST | {"reason": _one_of("quit", "kick", "dismiss")},
        "conversation_settings": {
            "conversation_id": _conversation,
            "diffusion": _one_of("auto", "always_write", "always_read"),
        },
        "reconsider": {"conversation_id": _conversation},
    },
    topics.USER_WRITES.name: {
        "read": _PLACE | {"read_seq": _seq_or_zero},
        "conversation_settings": _PLACE | {"pinned": _absent_or(_flag), "muted": _absent_or(_flag)},
        "conversation_cleared": _PLACE | {"min_seq": _seq},
        "conversation_deleted": _PLACE | {"deleted_seq": _seq_or_zero, "at_ms": _at_ms},
        "module_changed": {
            "user_id": _user,
            "module": _module_name,
            "item_id": _text(300),
            "op": _one_of("insert", "update", "delete"),
            "version": _seq_or_zero,
        },
    },
}
"""Topic, type and field: what a value must be. Numbers are written out, to be another's word."""


def _fits(types: dict[str, dict[str, Check]], event: Any) -> bool | None:
    if not _is_text(event):
        return False
    if _twice(event):
        return None
    if not isinstance(event, dict):
        return False
    kind = event.get("type")
    fields = types.get(kind) if isinstance(kind, str) else None
    return fields is not None and all(
        check(event.get(name, _ABSENT)) for name, check in fields.items()
    )


class _Twice(dict[str, Any]):
    """An object that names a field twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twice(found)


def _inside(value: Any) -> list[Any]:
    """A value, and all values in it."""
    found = [value]
    for one in found:
        if isinstance(one, dict):
            found += [*one, *one.values()]
        elif isinstance(one, list):
            found += one
    return found


def _twice(value: Any) -> bool:
    return any(isinstance(one, _Twice) for one in _inside(value))


def _is_text(value: Any) -> bool:
    """Whether no text in it has half of a surrogate pair."""
    texts = [one for one in _inside(value) if isinstance(one, str) and not one.isascii()]
    return not any("\ud800" <= char <= "\udfff" for text in texts for char in text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_parser: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


def _by_shape(value: bytes) -> Reading:
    """Count the elements of what is no JSON; how many of them fit is not told."""
    stripped = value.strip(b" \t\r\n")
    if not stripped.startswith(b"["):
        return Reading(1, None)
    if len(value) > COUNTED_BYTES_MAX:
        return Reading(None, None)
    depth, commas, quoted, escaped = 0, 0, False, False
    for place, byte in enumerate(stripped):
        if quoted:
            quoted = escaped or byte != ord('"')
            escaped = byte == ord("\\") and not escaped
        elif byte == ord('"'):
            quoted = True
        elif byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
            if not depth:
                ends = place == len(stripped) - 1 and byte == ord("]")
                fits = commas < limits.EVENTS_PER_RECORD_MAX
                return Reading(commas + 1, None) if ends and fits else WHOLE
        elif byte == ord(",") and depth == 1:
            commas += 1
    return WHOLE
