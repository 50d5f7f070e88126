"""How much fits into an answer: entries, and bytes of the cap that the client gave. PURE.

Sizes are bounds: those of the entry in JSON, which is the larger format, with its numbers at their
longest. So a frame is never above the cap, and commonly far below.
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.conversations import OwnState
from schemas.limits import (
    ANSWER_BYTES_MIN,
    CONVERSATION_ID_CHARS_MAX,
    CURSOR_CHARS_MAX,
    MODULE_ITEM_ID_CHARS_MAX,
    MODULE_NAME_CHARS_MAX,
    SEQ_MAX,
)
from schemas.protocol import ConversationEntry, ModuleEntry

_encode = msgspec.json.Encoder().encode

ENTRY_BYTES: Final = len(
    _encode(
        ConversationEntry(
            "",
            SEQ_MAX,
            SEQ_MAX,
            SEQ_MAX,
            SEQ_MAX,
            OwnState(False, SEQ_MAX, SEQ_MAX - 1, SEQ_MAX, SEQ_MAX, SEQ_MAX, True, True),  # noqa: FBT003 (a value, not a call's switch)
        )
    )
)
"""An entry without its id."""

ITEM_BYTES: Final = len(_encode(ModuleEntry("", "", "update", SEQ_MAX, SEQ_MAX)))
"""A module item without its names."""

FIXED_BYTES: Final = CURSOR_CHARS_MAX + 1_024
"""What stands in an answer beside lists: a cursor or page token, names, numbers, a root."""

RANGE_BYTES: Final = 32
"""A range beside its digests: brackets, bits, a prefix of ten digits, quotes, padding."""

CHAR_BYTES: Final = 6
"""A character at its longest: a control character, escaped."""

assert (
    FIXED_BYTES
    + ENTRY_BYTES
    + ITEM_BYTES
    + CHAR_BYTES * max(CONVERSATION_ID_CHARS_MAX, MODULE_NAME_CHARS_MAX + MODULE_ITEM_ID_CHARS_MAX)
) <= ANSWER_BYTES_MIN, "an answer has room for something, so that every page makes progress"


class Room:
    """What is left of an answer, in bytes."""

    __slots__ = ("bytes_left",)

    def __init__(self, bytes_max: int) -> None:
        self.bytes_left = bytes_max - FIXED_BYTES

    def entry(self, conversation_id: str) -> bool:
        """Take room for an entry; False if there is none left."""
        return self._take(ENTRY_BYTES + text_bytes(conversation_id))

    def item(self, module: str, item_id: str) -> bool:
        """Take room for a module item; False if there is none left."""
        return self._take(ITEM_BYTES + text_bytes(module) + text_bytes(item_id))

    def ids(self, texts: tuple[str, ...]) -> bool:
        """Take room for a list of ids as a whole; False if there is none for all of it."""
        return self._take(sum(map(text_bytes, texts)))

    def raw(self, count: int) -> bool:
        """Take room for so many bytes, which JSON writes in base64."""
        return self._take(count * 4 // 3 + 4)

    def part(self, count: int) -> bool:
        """Take room for the digests of a range, `count` bytes of them."""
        return self._take(count * 4 // 3 + RANGE_BYTES)

    def _take(self, count: int) -> bool:
        if count > self.bytes_left:
            return False
        self.bytes_left -= count
        return True


def text_bytes(text: str) -> int:
    """Bytes of a text in JSON, with its quotes and a comma."""
    return len(_encode(text)) + 1
