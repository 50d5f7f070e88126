"""What an answer is: its place in the course of a sync, and whether its contents keep the bounds.

Pure. The session (`sdk.client.session`) decides what follows from it.
"""

from __future__ import annotations

from enum import Enum

from schemas import limits
from schemas.protocol import ConversationEntry, ModuleEntry, SyncResponse
from sdk.client.errors import InvalidAnswerError


class Event(Enum):
    """What came back, as far as the course of the sync is concerned."""

    DELTA = "delta"
    FIRST_PAGE = "first page, more to come"
    ONLY_PAGE = "first and last page"
    NEXT_PAGE = "further page, more to come"
    LAST_PAGE = "last page"
    REFUSED = "token refused"
    FAILED = "failed otherwise"


def event_of(response: SyncResponse) -> Event:
    """Name an answer; raises `InvalidAnswerError` for one that contradicts itself."""
    for token in (response.cursor, response.page):
        if token is not None and not 0 < len(token) <= limits.CURSOR_CHARS_MAX:
            raise InvalidAnswerError("the answer carries an empty or an oversized token")
    last = response.cursor is not None
    if last == (response.page is not None):
        raise InvalidAnswerError("the answer must carry either a cursor or a next page")
    if response.path == "delta":
        if not last or response.reset is not None:
            raise InvalidAnswerError("a delta must carry a cursor, and no reset")
        return Event.DELTA
    if response.reset is not None:
        return Event.ONLY_PAGE if last else Event.FIRST_PAGE
    return Event.LAST_PAGE if last else Event.NEXT_PAGE


def check_contents(response: SyncResponse) -> None:
    """Raise `InvalidAnswerError` for contents out of the contract's bounds.

    The types are checked when the answer is decoded; the bounds are checked here, once, so that
    nothing behind this line meets a number that SQLite cannot hold or an id that the server would
    refuse.
    """
    for entry in response.conversations:
        _check_entry(entry)
    for item in response.modules:
        _check_module(item)


def _check_entry(entry: ConversationEntry) -> None:
    numbers = [entry.version, entry.max_seq or 0, entry.active_at_ms or 0, entry.read_seq or 0]
    own = entry.own
    if own is not None:
        numbers += [own.membership_at_ms, own.user_max_seq, own.min_seq, own.deleted_at_ms]
        numbers.append(own.deleted_seq + 1)
    _check_numbers(numbers, entry.conversation_id)
    if not 0 < len(entry.conversation_id) <= limits.CONVERSATION_ID_CHARS_MAX:
        raise InvalidAnswerError("a conversation id in the answer is empty or too long")


def _check_module(item: ModuleEntry) -> None:
    _check_numbers([item.version, item.item_version], f"{item.module}/{item.item_id}")
    if not 0 < len(item.module) <= limits.MODULE_NAME_CHARS_MAX:
        raise InvalidAnswerError("a module name in the answer is empty or too long")
    if not 0 < len(item.item_id) <= limits.MODULE_ITEM_ID_CHARS_MAX:
        raise InvalidAnswerError("an item id in the answer is empty or too long")


def _check_numbers(numbers: list[int], where: str) -> None:
    if min(numbers) < 0 or max(numbers) > limits.SEQ_MAX:
        raise InvalidAnswerError(
            f"a number of {where[:64]!r} is out of 0 to {limits.SEQ_MAX:,}, both inclusive"
        )
