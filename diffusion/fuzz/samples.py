"""Good events and changes of every kind, drawn; mostly ordinary, sometimes at their bounds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, TypeVar

from schemas import limits
from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationEvent,
    ConversationSettings,
    LeaveReason,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    ModuleOp,
    Read,
    Reconsider,
    UserConversationSettings,
    UserEvent,
)

T = TypeVar("T")

USERS: Final = tuple(f"fz-{number}" for number in range(24))
CONVERSATIONS: Final = tuple(f"sg_fz-{number}" for number in range(4))
"""Few, so that the events of a record meet."""

BOUND_SHARE: Final = 0.05
"""Of values that are the least or the greatest."""

ALPHABETS: Final = ("a", "\u4e2d", "\U0001f600", "\x01", '"', "_")
"""Of ids of the full length: escaped in JSON, or several bytes a character."""

REASONS: Final[tuple[LeaveReason, ...]] = ("quit", "kick", "dismiss")
OPS: Final[tuple[ModuleOp, ...]] = ("insert", "update", "delete")


def _text(rng: random.Random, usual: tuple[str, ...], longest: int) -> str:
    if rng.random() >= BOUND_SHARE:
        return rng.choice(usual)
    return rng.choice(ALPHABETS) * rng.choice((1, longest))


def _user(rng: random.Random) -> str:
    return _text(rng, USERS, limits.USER_ID_CHARS_MAX)


def _users(rng: random.Random, most: int) -> tuple[str, ...]:
    if rng.random() < BOUND_SHARE / 10:
        return tuple(f"fz-many-{number}" for number in range(most))
    return tuple(_user(rng) for _ in range(rng.randint(1, 4)))


def _conversation(rng: random.Random) -> str:
    return _text(rng, CONVERSATIONS, limits.CONVERSATION_ID_CHARS_MAX)


def _seq(rng: random.Random, least: int) -> int:
    if rng.random() < BOUND_SHARE:
        return rng.choice((least, limits.SEQ_MAX))
    return rng.randint(least, 1_000)


def _at_ms(rng: random.Random) -> int:
    if rng.random() < BOUND_SHARE:
        return rng.choice((limits.TIME_MS_MIN, limits.TIME_MS_MAX))
    return rng.randint(1_700_000_000_000, 1_800_000_000_000)


def _coin(rng: random.Random) -> bool:
    return rng.random() < 0.5


def _message(rng: random.Random) -> ConversationEvent:
    members = None if _coin(rng) else (_user(rng), _user(rng))
    return Message(_conversation(rng), _seq(rng, 1), _user(rng), _at_ms(rng), members)


def _joined(rng: random.Random) -> ConversationEvent:
    users = _users(rng, limits.MEMBERS_PER_EVENT_MAX)
    return MembersJoined(_conversation(rng), users, _seq(rng, 0), _at_ms(rng), history=_coin(rng))


def _left(rng: random.Random) -> ConversationEvent:
    users = _users(rng, limits.MEMBERS_PER_EVENT_MAX)
    return MembersLeft(_conversation(rng), users, _seq(rng, 0), _at_ms(rng), rng.choice(REASONS))


def _override(rng: random.Random) -> ConversationEvent:
    return ConversationSettings(
        _conversation(rng), rng.choice(("auto", "always_write", "always_read"))
    )


def _module(rng: random.Random) -> UserEvent:
    item = _text(rng, USERS, limits.MODULE_ITEM_ID_CHARS_MAX)
    module = rng.choice(("friends", "folders"))
    return ModuleChanged(_user(rng), module, item, rng.choice(OPS), _seq(rng, 0))


_CONVERSATION: Final[tuple[Callable[[random.Random], ConversationEvent], ...]] = (
    _message,
    _message,
    _joined,
    _left,
    _override,
    lambda rng: Reconsider(_conversation(rng)),
)
_USER: Final[tuple[Callable[[random.Random], UserEvent], ...]] = (
    lambda rng: Read(_user(rng), _conversation(rng), _seq(rng, 0)),
    lambda rng: UserConversationSettings(_user(rng), _conversation(rng), pinned=_coin(rng)),
    lambda rng: UserConversationSettings(_user(rng), _conversation(rng), muted=_coin(rng)),
    lambda rng: ConversationCleared(_user(rng), _conversation(rng), _seq(rng, 1)),
    lambda rng: ConversationDeleted(_user(rng), _conversation(rng), _seq(rng, 0), _at_ms(rng)),
    _module,
)


def conversation_event(rng: random.Random) -> ConversationEvent:
    """Draw an event of a conversation."""
    return rng.choice(_CONVERSATION)(rng)


def user_event(rng: random.Random) -> UserEvent:
    """Draw an event of a user."""
    return rng.choice(_USER)(rng)


def change(rng: random.Random) -> Change:
    """Draw a change record, as the stream stage writes them."""
    conversation, users = _conversation(rng), _users(rng, limits.USERS_PER_CHANGE_MAX)
    match rng.randrange(4):
        case 0:
            sender = rng.choice((None, users[0]))
            return MessageChange(conversation, users, _seq(rng, 1), _at_ms(rng), sender)
        case 1:
            return ReadChange(conversation, users, _seq(rng, 0))
        case 2:
            return _state(rng, conversation, users)
        case _:
            item = rng.choice(USERS)
            return ModuleChange(users, "friends", item, rng.choice(OPS), _seq(rng, 0))


def _state(rng: random.Random, conversation: str, users: tuple[str, ...]) -> StateChange:
    def some(make: Callable[[], T]) -> T | None:
        return make() if _coin(rng) else None

    return StateChange(
        conversation,
        users,
        rng.choice((rng.randrange(2**60), limits.STAMP_MAX)),
        membership=some(
            lambda: Membership(member=_coin(rng), user_max_seq=_seq(rng, 0), at_ms=_at_ms(rng))
        ),
        min_seq=some(lambda: _seq(rng, 1)),
        deletion=some(lambda: Deletion(_seq(rng, 0), _at_ms(rng))),
        pinned=some(lambda: _coin(rng)),
        muted=some(lambda: _coin(rng)),
        read_side=some(lambda: _coin(rng)),
        mode_epoch=rng.randrange(9),
    )
