"""What every user must see at the end, by plain replay; and how a client's view differs from it.

Deliberately naive, and in its own words: no versions, no modes, no merge code of the engine, so
that the two can only agree by both being right. It takes the events in the order in which they
happened. A message costs one step whatever the size of the group, because it is the conversation's
and not the members'; a user's view is put together when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from schemas.conversations import (
    NO_CAP,
    ConversationState,
    OwnState,
    activity_ms,
    is_listed,
    last_seq,
    unread,
)
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    Reconsider,
    UserConversationSettings,
    WriteEvent,
)
from schemas.limits import SEQ_MAX


class _Head:
    """A conversation as such: its greatest sequence, and when that message was sent."""

    __slots__ = ("active_at_ms", "max_seq")

    def __init__(self) -> None:
        self.max_seq = 0
        self.active_at_ms = 0


class _Own:
    """What a conversation is to one user. `known` once he was ever a member of it."""

    __slots__ = (
        "cap",
        "deleted",
        "known",
        "member",
        "membership_at_ms",
        "min_seq",
        "muted",
        "pinned",
        "read_seq",
    )

    def __init__(self) -> None:
        self.known = False
        self.member = False
        self.membership_at_ms = 0
        self.cap = NO_CAP
        self.read_seq = 0
        self.min_seq = 0
        self.deleted = (-1, 0)
        self.pinned = False
        self.muted = False

    def enter(self, at_ms: int) -> None:
        self.known = self.member = True
        self.membership_at_ms = at_ms
        self.cap = NO_CAP

    def leave(self, at_ms: int, seq: int) -> None:
        self.known, self.member = True, False
        self.membership_at_ms = at_ms
        self.cap = seq


class Oracle:
    """Replays events; asks nothing of the engine."""

    def __init__(self) -> None:
        self._heads: dict[str, _Head] = {}
        self._users: dict[str, dict[str, _Own]] = {}
        self._modules: dict[str, dict[tuple[str, str], ModuleChanged]] = {}

    def replay(self, events: Iterable[WriteEvent]) -> None:
        """Apply events in the order in which they happened."""
        for event in events:
            self.apply(event)

    def apply(self, event: WriteEvent) -> None:
        """Apply one event."""
        match event:
            case Message():
                self._message(event)
            case MembersJoined():
                for user in event.user_ids:
                    own = self._own(user, event.conversation_id)
                    own.enter(event.at_ms)
                    if not event.history:
                        own.min_seq = max(own.min_seq, min(event.seq + 1, SEQ_MAX))
            case MembersLeft():
                for user in event.user_ids:
                    self._own(user, event.conversation_id).leave(event.at_ms, event.seq)
            case ConversationSettings() | Reconsider():
                pass  # how a conversation is diffused never shows in what users see
            case ModuleChanged():
                items = self._modules.setdefault(event.user_id, {})
                items[event.module, event.item_id] = event
            case _:
                self._own_write(event)

    def users(self) -> Iterator[str]:
        """Every user who was ever a member of a conversation."""
        for user, conversations in self._users.items():
            if any(own.known for own in conversations.values()):
                yield user

    def states(self, user_id: str) -> dict[str, ConversationState]:
        """Put together what a user must see: every conversation he is or was a member of."""
        return {
            conversation: self._state(conversation, own)
            for conversation, own in self._users.get(user_id, {}).items()
            if own.known
        }

    def modules(self, user_id: str) -> Mapping[tuple[str, str], ModuleChanged]:
        """Give the last change of every module item of a user, by module and item id."""
        return self._modules.get(user_id, {})

    def _message(self, event: Message) -> None:
        head = self._heads.setdefault(event.conversation_id, _Head())
        if event.seq > head.max_seq:
            head.max_seq, head.active_at_ms = event.seq, event.sent_at_ms
        for user in event.members or ():
            own = self._own(user, event.conversation_id)
            if not own.known:
                own.enter(event.sent_at_ms)
        sender = self._users.get(event.sender_id, {}).get(event.conversation_id)
        if sender is not None and sender.known:
            sender.read_seq = max(sender.read_seq, event.seq)

    def _own_write(
        self,
        event: Read | UserConversationSettings | ConversationCleared | ConversationDeleted,
    ) -> None:
        own = self._own(event.user_id, event.conversation_id)
        match event:
            case Read():
                own.read_seq = max(own.read_seq, event.read_seq)
            case ConversationCleared():
                own.min_seq = max(own.min_seq, event.min_seq)
            case ConversationDeleted():
                own.deleted = max(own.deleted, (event.deleted_seq, event.at_ms))
            case UserConversationSettings():
                if isinstance(event.pinned, bool):
                    own.pinned = event.pinned
                if isinstance(event.muted, bool):
                    own.muted = event.muted

    def _own(self, user: str, conversation: str) -> _Own:
        conversations = self._users.setdefault(user, {})
        own = conversations.get(conversation)
        if own is None:
            own = conversations[conversation] = _Own()
        return own

    def _state(self, conversation: str, own: _Own) -> ConversationState:
        head = self._heads.get(conversation) or _Head()
        max_seq, active_at_ms = head.max_seq, head.active_at_ms
        if not own.member:
            max_seq = min(max_seq, own.cap)
            active_at_ms = min(active_at_ms, own.membership_at_ms)
        deleted_seq, deleted_at_ms = own.deleted
        return ConversationState(
            conversation_id=conversation,
            max_seq=max_seq,
            active_at_ms=active_at_ms,
            read_seq=own.read_seq,
            own=OwnState(
                member=own.member,
                membership_at_ms=own.membership_at_ms,
                user_max_seq=own.cap,
                min_seq=own.min_seq,
                deleted_seq=deleted_seq,
                deleted_at_ms=deleted_at_ms,
                pinned=own.pinned,
                muted=own.muted,
            ),
        )


VIEW: Final[dict[str, Callable[[ConversationState], int]]] = {
    "last_seq": last_seq,
    "unread": unread,
    "listed": is_listed,
    "pinned": lambda state: state.own.pinned,
    "muted": lambda state: state.own.muted,
    "member": lambda state: state.own.member,
    "activity_ms": activity_ms,
    "read_seq": lambda state: state.read_seq,
    "min_seq": lambda state: state.own.min_seq,
}
"""What is compared: what a person or an app can tell of a conversation, each by name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a user's view that is not as it must be; None stands for no such conversation."""

    conversation_id: str
    field: str
    expected: int | None
    actual: int | None

    def __str__(self) -> str:
        """Say it in a line for a person."""
        if self.actual is None:
            return f"{self.conversation_id}: missing"
        if self.expected is None:
            return f"{self.conversation_id}: the user was never a member of it"
        return f"{self.conversation_id}: {self.field} is {self.actual}, but must be {self.expected}"


def compare(
    expected: Mapping[str, ConversationState], actual: Mapping[str, ConversationState]
) -> list[Difference]:
    """Compare one user's view, field by field, with what it must be; empty means equal."""
    differences: list[Difference] = []
    for conversation in sorted(expected.keys() | actual.keys()):
        must, have = expected.get(conversation), actual.get(conversation)
        if must is None:
            differences.append(Difference(conversation, "conversation", None, 1))
        elif have is None:
            differences.append(Difference(conversation, "conversation", 1, None))
        else:
            for field, value_of in VIEW.items():
                wanted, found = value_of(must), value_of(have)
                if wanted != found:
                    differences.append(Difference(conversation, field, wanted, found))
    return differences


def resurrects(
    one: Difference,
    expected: Mapping[str, ConversationState],
    actual: Mapping[str, ConversationState],
) -> bool:
    """Whether a difference is a conversation that shows and must not; whatever else differs is
    lost.
    """
    must, have = expected.get(one.conversation_id), actual.get(one.conversation_id)
    return have is not None and is_listed(have) and (must is None or not is_listed(must))


def steps_back(before: ConversationState, now: ConversationState) -> list[str]:
    """What of a conversation went back that only grows, in words."""
    pairs = {
        "max_seq": (before.max_seq, now.max_seq),
        "read_seq": (before.read_seq, now.read_seq),
        "min_seq": (before.own.min_seq, now.own.min_seq),
    }
    return [
        f"{name} of {before.conversation_id} from {was} to {at}"
        for name, (was, at) in pairs.items()
        if at < was
    ]
