"""What an answer is: its place in the course of a sync, and whether its contents keep the bounds.

Pure. The course (`sdk.client.course`) decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from schemas import limits
from schemas.protocol import (
    ALL_MODULES,
    RESETS,
    SUPPORTED_VERSIONS,
    ConversationEntry,
    Reason,
    SyncResponse,
)
from sdk.client.errors import InvalidAnswerError


class Event(Enum):
    """What came back, as far as the course of the sync is concerned.

    The last six do not come from the server alone: they are what a look at the own state says.
    """

    DELTA = "delta"
    DELTA_PAGE = "delta, more to come"
    FIRST_PAGE = "first page, more to come"
    ONLY_PAGE = "first and last page"
    NEXT_PAGE = "further page, more to come"
    LAST_PAGE = "last page"
    PARTS = "digests of parts"
    UNDECODED = "sketch too small"
    ROWS = "rows that differ"
    SOME_ROWS = "rows that differ, cut off"
    REFUSED = "token refused"
    FAILED = "failed otherwise"
    EQUAL = "equal states"
    DIFFERENT = "different states"
    UNSETTLED = "different states, after deltas enough"
    HOPELESS = "different states, once more than allowed"
    TOP_ONLY = "first page, whose rest is put off"
    PUT_OFF = "different states, and no full correction yet"


def event_of(response: SyncResponse) -> Event:
    """Name an answer; raises `InvalidAnswerError` for one that contradicts itself."""
    if response.v not in SUPPORTED_VERSIONS:
        raise InvalidAnswerError(f"the answer is of protocol version {response.v}")
    for token in (response.cursor, response.page):
        if token is not None and not 0 < len(token) <= limits.CURSOR_CHARS_MAX:
            raise InvalidAnswerError("the answer carries an empty or an oversized token")
    if response.path == "full":
        return _page_event(response)
    if response.page is not None:
        raise InvalidAnswerError("only a full correction has a next page")
    return _delta_event(response) if response.path == "delta" else _correction_event(response)


def _page_event(response: SyncResponse) -> Event:
    last = response.cursor is not None
    if last == (response.page is not None):
        raise InvalidAnswerError("a page must carry either a cursor or a next page")
    if response.reason in RESETS:
        return Event.ONLY_PAGE if last else Event.FIRST_PAGE
    if response.reason is not Reason.PAGING:
        raise InvalidAnswerError("a page must say why there is no delta")
    return Event.LAST_PAGE if last else Event.NEXT_PAGE


def _delta_event(response: SyncResponse) -> Event:
    if response.reason is not (Reason.PAGING if response.has_more else None):
        raise InvalidAnswerError("a delta has the reason `paging` if there is more, and else none")
    if response.has_more and response.cursor is None:
        raise InvalidAnswerError("a delta of which there is more must carry a cursor")
    return Event.DELTA_PAGE if response.has_more else Event.DELTA


def _correction_event(response: SyncResponse) -> Event:
    if response.reason is not Reason.DIGEST_MISMATCH:
        raise InvalidAnswerError("a correction must have the reason `digest_mismatch`")
    rows = bool(response.conversations or response.gone)
    if bool(response.parts) + response.undecoded + rows > 1:
        raise InvalidAnswerError("a correction has either parts, or rows, or was not decoded")
    if response.parts:
        return Event.PARTS
    if response.undecoded:
        return Event.UNDECODED
    return Event.SOME_ROWS if response.has_more else Event.ROWS


def check_contents(response: SyncResponse) -> None:
    """Raise `InvalidAnswerError` for contents out of the contract's bounds.

    The types are checked when the answer is decoded; the bounds are checked here, once, so that
    nothing behind this line meets a number that SQLite cannot hold or an id that the server would
    refuse.
    """
    for entry in response.conversations:
        _check_entry(entry)
    for item in response.modules:
        _check_numbers([item.version, item.item_version], f"{item.module}/{item.item_id}")
        _check_text("item id", item.item_id, limits.MODULE_ITEM_ID_CHARS_MAX)
    for module in _modules_of(response):
        _check_text("module name", module, limits.MODULE_NAME_CHARS_MAX)
    if any(item.module == ALL_MODULES for item in response.modules):
        raise InvalidAnswerError(f"no module has the name {ALL_MODULES!r}")
    for conversation_id in response.pinned or ():
        _check_text("conversation id", conversation_id, limits.CONVERSATION_ID_CHARS_MAX)
    _check_numbers([response.total or 0], "the answer")
    if response.root is not None and len(response.root) != limits.ROOT_BYTES:
        raise InvalidAnswerError(f"a root has {limits.ROOT_BYTES} bytes, not {len(response.root)}")


def _modules_of(response: SyncResponse) -> Iterable[str]:
    return (*response.module_resets, *(item.module for item in response.modules))


def _check_entry(entry: ConversationEntry) -> None:
    numbers = [entry.version, entry.max_seq or 0, entry.active_at_ms or 0, entry.read_seq or 0]
    own = entry.own
    if own is not None:
        numbers += [own.membership_at_ms, own.user_max_seq, own.min_seq, own.deleted_at_ms]
        numbers.append(own.deleted_seq + 1)
    _check_numbers(numbers, entry.conversation_id)
    _check_text("conversation id", entry.conversation_id, limits.CONVERSATION_ID_CHARS_MAX)


def _check_numbers(numbers: list[int], where: str) -> None:
    if min(numbers) < 0 or max(numbers) > limits.SEQ_MAX:
        raise InvalidAnswerError(
            f"a number of {where[:64]!r} is out of 0 to {limits.SEQ_MAX:,}, both inclusive"
        )


def _check_text(what: str, text: str, chars_max: int) -> None:
    if not 0 < len(text) <= chars_max:
        raise InvalidAnswerError(f"a {what} in the answer is empty or too long")
