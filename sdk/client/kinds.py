"""What about a conversation changed, as a set of bits that SQL can join. Pure."""

from __future__ import annotations

from enum import Flag

from schemas.conversations import ConversationState, last_seq


class Kinds(Flag):
    """What the app has to do for a pending entry; `Kinds.READ in entry.kinds` asks for one."""

    MESSAGE = 1
    """There may be messages to pull."""
    READ = 2
    """The user read on another device."""
    STATE = 4
    """Membership, pin, mute, clearing or deletion changed, or the conversation is new here."""
    ITEM = 8
    """An item of a user module changed."""


NOTHING = Kinds(0)


def difference(held: ConversationState | None, state: ConversationState) -> Kinds:
    """Say what `state` has that `held` (None: nothing) had not.

    By the values and not by which parts an answer carried: heads of the read side come again for
    some time after they changed, and a reset names rows that are as they were.
    """
    kinds = NOTHING
    if held is None or held.own != state.own:
        kinds |= Kinds.STATE
    held = held or ConversationState(state.conversation_id)
    if (held.max_seq, last_seq(held)) != (state.max_seq, last_seq(state)):
        kinds |= Kinds.MESSAGE
    if held.read_seq != state.read_seq:
        kinds |= Kinds.READ
    if held.active_at_ms != state.active_at_ms:
        kinds |= Kinds.STATE
    return kinds
