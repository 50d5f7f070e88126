"""Diffusion: from write events and the state of their conversations to the effects of a batch.

PURE: no I/O, clock or randomness. `Diffusion` takes the events of one batch in order, changes the
conversations in its hands as it goes, and collects effects. Conversations changed here count only
once the effects are done; a worker whose effects fail ends and forgets them.

Bounded: a message of a diffused conversation makes at most one record per partition (and 500
users), a join or leave one per partition for those it names, a switch one per partition and 500
members. A conversation that has just been sent away may still grow within the batch: above the hard
bound its head alone tells of its messages.

Folded: messages of a conversation with nothing else of it between them are told together, as the
last of them, each sender having read his own last. What that leaves out is dominated by what it
tells, in the fold of the materializer and in every cell of the index (`changes_by_user.row_stamp`),
so a replay that folds otherwise ends the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from schemas.changes import (
    Change,
    Deletion,
    Membership,
    MessageChange,
    ModuleChange,
    ReadChange,
    StateChange,
)
from schemas.conversations import NO_CAP
from schemas.events import (
    ConversationCleared,
    ConversationDeleted,
    ConversationEvent,
    ConversationSettings,
    MembersJoined,
    MembersLeft,
    Message,
    ModuleChanged,
    Read,
    Reconsider,
    UserConversationSettings,
    UserEvent,
)
from schemas.heads import Head, Mode
from schemas.limits import SEQ_MAX, USERS_PER_CHANGE_MAX
from schemas.partitioner import partition_of
from streams.effects import Effects
from streams.policy import WRITE_MEMBERS_MAX, Rules, observe, switch

NO_USERS: Final[frozenset[str]] = frozenset()


class Conversation:
    """A conversation as the worker knows it. `members`, and who has `left`, may be unknown while it
    is read-diffused.
    """

    __slots__ = ("_shares", "head", "left", "members")

    def __init__(self, head: Head, members: Iterable[str] | None) -> None:
        self.head = head
        self.members: set[str] | None = None if members is None else set(members)
        self.left: set[str] = set()
        self._shares: dict[int, tuple[str, ...]] | None = None

    def changed_members(self) -> set[str]:
        """The members, about to be changed: what was derived from them is forgotten."""
        assert self.members is not None, "members are loaded before they are changed"
        self._shares = None
        return self.members

    def shares(self, partitions: int) -> dict[int, tuple[str, ...]]:
        """Members by partition of the change log, kept until they change."""
        if self._shares is None:
            assert self.members is not None, "members are loaded before they are diffused to"
            self._shares = share(self.members, partitions)
        return self._shares


def share(users: Iterable[str], partitions: int) -> dict[int, tuple[str, ...]]:
    """Split users by their partition of the change log, in byte order, so that a replay repeats
    it.
    """
    shares: dict[int, list[str]] = {}
    for user in sorted(users):
        shares.setdefault(partition_of(user, partitions), []).append(user)
    return {partition: tuple(share) for partition, share in sorted(shares.items())}


class _Told:
    """Messages of one conversation that are to be told together."""

    __slots__ = ("active_at_ms", "count", "max_seq", "read", "sender")

    def __init__(self) -> None:
        self.count = 0
        self.max_seq = -1
        self.active_at_ms = 0
        self.sender = ""
        self.read: dict[str, int] = {}

    def add(self, event: Message) -> None:
        """Take the next message, which may be an older one."""
        self.count += 1
        self.read[event.sender_id] = max(event.seq, self.read.get(event.sender_id, 0))
        if event.seq > self.max_seq:
            self.max_seq, self.active_at_ms = event.seq, event.sent_at_ms
            self.sender = event.sender_id


class Diffusion:
    """One batch. `conversations` must hold every conversation the batch touches
    (`needs_members`).
    """

    def __init__(
        self, conversations: Mapping[str, Conversation], partitions: int, rules: Rules
    ) -> None:
        self._conversations = conversations
        self._partitions = partitions
        self._rules = rules
        self._told: dict[str, _Told] = {}
        self.effects = Effects()

    # Conversation-keyed events.

    def conversation_event(self, event: ConversationEvent, stamp: int, at_ms: int) -> None:
        """Take the next event of a conversation; `at_ms` is the time of its record."""
        conversation = self._conversations[event.conversation_id]
        if not isinstance(event, Message):
            self._tell(event.conversation_id)  # to those who are members before it
        match event:
            case Message():
                self._message(conversation, event, stamp, at_ms)
            case MembersJoined():
                self._joined(conversation, event, stamp)
            case MembersLeft():
                self._left(conversation, event, stamp)
            case ConversationSettings():
                conversation.head = replace(conversation.head, diffusion=event.diffusion)
                self.effects.overrides[event.conversation_id] = (event.diffusion, stamp)
            case Reconsider():
                pass
        # A message of a READ conversation is cheap, because its members need not be known; so it
        # brings none back. The sweep does, and every other event.
        if not isinstance(event, Message) or conversation.head.mode.diffuses:
            self._switch(conversation, stamp, at_ms)

    def _message(self, conversation: Conversation, event: Message, stamp: int, at_ms: int) -> None:
        if event.members is not None and conversation.members is not None:
            # Who left comes back by a join only: this message may be older than his leave.
            members, gone = conversation.members, conversation.left
            strangers = [user for user in event.members if user not in members and user not in gone]
            if strangers:
                self._tell(event.conversation_id)
                self._admit(
                    conversation,
                    strangers,
                    stamp,
                    Membership(member=True, user_max_seq=NO_CAP, at_ms=event.sent_at_ms),
                )
        head = observe(conversation.head, self._rules, stamp, at_ms)
        if head is not conversation.head:
            conversation.head = head
            self.effects.activities[event.conversation_id] = head.activity
        if event.seq >= head.max_seq:
            # Equal is a replay, and written again: the first write may have reached one replica
            # only, and on the read side a head is news by the time of its last write.
            head = replace(head, max_seq=event.seq, active_at_ms=event.sent_at_ms)
            conversation.head = head
            self.effects.messages[event.conversation_id] = (event.seq, event.sent_at_ms)
        if not head.mode.diffuses or self._outgrown(conversation):
            # The head tells the others; that the sender read his own message is his alone.
            self.effects.saved_marks += max(0, head.member_count - 1)
            self._to(
                [event.sender_id], lambda users: ReadChange(event.conversation_id, users, event.seq)
            )
            return
        told = self._told.get(event.conversation_id)
        if told is None:
            told = self._told[event.conversation_id] = _Told()
        told.add(event)

    def _outgrown(self, conversation: Conversation) -> bool:
        """Whether a conversation that leaves in this batch has more members by now than are ever
        told one by one. All of them are told to look at the head, by the fence before this event or
        by their own join behind it, and the head is written before both.
        """
        after = self.effects.closed.get(conversation.head.conversation_id)
        leaves = after is not None and after.mode is Mode.READ
        return leaves and len(conversation.members or NO_USERS) > WRITE_MEMBERS_MAX

    def _tell(self, conversation_id: str) -> None:
        """Tell the members of the messages since the last time."""
        told = self._told.pop(conversation_id, None)
        if told is None:
            return
        conversation = self._conversations[conversation_id]
        for partition, users in conversation.shares(self._partitions).items():
            for some in _chunks(users):
                sender = told.sender if told.sender in some else None
                change = MessageChange(
                    conversation_id, some, told.max_seq, told.active_at_ms, sender
                )
                self.effects.changes.append((partition, change))
        members = conversation.members or NO_USERS
        self.effects.folded_marks += (told.count - 1) * len(members)
        for user, seq in told.read.items():
            is_told = user == told.sender and user in members
            # Who left may have written before he did: it is the write that comes late.
            if not is_told and (user in members or user in conversation.left):
                change_of = ReadChange(conversation_id, (user,), seq)
                self.effects.changes.append((partition_of(user, self._partitions), change_of))

    def _joined(self, conversation: Conversation, event: MembersJoined, stamp: int) -> None:
        # No sequence follows the last one, and a `min_seq` above it would fit nowhere.
        minimum = None if event.history else min(event.seq + 1, SEQ_MAX)
        self._admit(
            conversation,
            event.user_ids,
            stamp,
            Membership(member=True, user_max_seq=NO_CAP, at_ms=event.at_ms),
            minimum,
        )

    def _admit(
        self,
        conversation: Conversation,
        user_ids: Iterable[str],
        stamp: int,
        membership: Membership,
        minimum: int | None = None,
    ) -> None:
        conversation.changed_members().update(user_ids)
        conversation.left.difference_update(user_ids)
        # Who joins a conversation that was ever switched learns which side it is on now.
        side = conversation.head.mode.on_read_side if conversation.head.mode_epoch else None
        self._membership(conversation, user_ids, stamp, membership, minimum, side)

    def _left(self, conversation: Conversation, event: MembersLeft, stamp: int) -> None:
        conversation.changed_members().difference_update(event.user_ids)
        conversation.left.update(event.user_ids)
        membership = Membership(member=False, user_max_seq=event.seq, at_ms=event.at_ms)
        side = False if conversation.head.mode_epoch else None
        self._membership(conversation, event.user_ids, stamp, membership, None, side)

    def _membership(
        self,
        conversation: Conversation,
        user_ids: Iterable[str],
        stamp: int,
        membership: Membership,
        minimum: int | None,
        side: bool | None,  # noqa: FBT001  # three-valued, and named at every call
    ) -> None:
        conversation_id = conversation.head.conversation_id
        mode_epoch = conversation.head.mode_epoch if side is not None else 0
        users = tuple(dict.fromkeys(user_ids))
        self._to(
            users,
            lambda some: StateChange(
                conversation_id,
                some,
                stamp,
                membership=membership,
                min_seq=minimum,
                read_side=side,
                mode_epoch=mode_epoch,
            ),
        )
        for user in users:
            self.effects.members[conversation_id, user] = (membership.member, stamp)
        count = len(conversation.members or NO_USERS)
        conversation.head = replace(conversation.head, member_count=count)
        self.effects.counts[conversation_id] = (count, stamp)

    def _switch(self, conversation: Conversation, stamp: int, at_ms: int) -> None:
        """Carry a mode change as far as the batch can: opened, fenced, and closed when it ends.

        Until the batch is done the conversation stays in between, so that events behind this one
        still do both. A conversation already opened in this batch is left alone.
        """
        head = conversation.head
        if head.conversation_id in self.effects.closed:
            # Counts may have moved on; the switch itself is on its way.
            return
        members = len(conversation.members or NO_USERS)
        change = switch(head, members, self._rules, stamp, at_ms)
        if change is None:
            return
        self._tell(head.conversation_id)
        if change.during != head:
            self.effects.opened.append(change.during)
        # The account of the mode that ends is settled, whoever opened the switch.
        conversation.head = replace(change.during, activity=change.after.activity)
        self.effects.activities[head.conversation_id] = change.after.activity
        self._to(
            conversation.members or NO_USERS,
            lambda some: StateChange(
                head.conversation_id,
                some,
                stamp,
                read_side=change.read_side,
                mode_epoch=change.during.mode_epoch,
            ),
        )
        self.effects.closed[head.conversation_id] = change.after

    def finish(self) -> Effects:
        """End the batch: what the conversations are once its effects are done."""
        for conversation_id in list(self._told):
            self._tell(conversation_id)
        for conversation_id, after in self.effects.closed.items():
            conversation = self._conversations[conversation_id]
            conversation.head = replace(
                conversation.head,
                mode=after.mode,
                mode_epoch=after.mode_epoch,
                mode_since_ms=after.mode_since_ms,
                mode_reason=after.mode_reason,
            )
        return self.effects

    # User-keyed events: no state is needed, a change goes to the user himself.

    def user_event(self, event: UserEvent, stamp: int) -> None:
        """Take the next event of a user."""
        users = (event.user_id,)
        change: Change
        match event:
            case Read():
                change = ReadChange(event.conversation_id, users, event.read_seq)
            case UserConversationSettings():
                change = StateChange(
                    event.conversation_id,
                    users,
                    stamp,
                    pinned=None if event.pinned is UNSET else event.pinned,
                    muted=None if event.muted is UNSET else event.muted,
                )
            case ConversationCleared():
                change = StateChange(event.conversation_id, users, stamp, min_seq=event.min_seq)
            case ConversationDeleted():
                change = StateChange(
                    event.conversation_id,
                    users,
                    stamp,
                    deletion=Deletion(event.deleted_seq, event.at_ms),
                )
            case ModuleChanged():
                change = ModuleChange(users, event.module, event.item_id, event.op, event.version)
        partition = partition_of(event.user_id, self._partitions)
        self.effects.changes.append((partition, change))

    def _to(self, users: Iterable[str], make: Callable[[tuple[str, ...]], Change]) -> None:
        for partition, some in share(users, self._partitions).items():
            for chunk in _chunks(some):
                self.effects.changes.append((partition, make(chunk)))


def needs_members(event: ConversationEvent, head: Head | None) -> bool:
    """Whether the members must be known to take `event`; a message of a READ conversation is
    cheap.
    """
    if isinstance(event, Message) and event.members is None:
        return head is None or head.mode is not Mode.READ
    return True


def _chunks(users: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    if len(users) <= USERS_PER_CHANGE_MAX:
        return (users,) if users else ()
    return (
        users[start : start + USERS_PER_CHANGE_MAX]
        for start in range(0, len(users), USERS_PER_CHANGE_MAX)
    )
