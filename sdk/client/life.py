"""What a client is doing, and what follows what, as a table. Pure.

Beside it are the triggers of a sync by what they may do. `sdk.client.session` moves along it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from sdk.client.course import Phase
from sdk.client.events import State, StateChanged, Trigger


class Move(Enum):
    """What takes a client from one state to another."""

    WANTED = "a sync is wanted"
    ASK_DELTA = "what changed is asked"
    ASK_ROWS = "where the states differ is asked"
    ASK_PAGE = "everything is asked"
    DONE = "the sync is complete"
    FAILED = "it failed, and may succeed later"
    REFUSED = "it failed, and would fail again"
    LOST = "the connection ended"
    DUE = "the pause is over"
    RESTED = "nobody wants anything"
    STOPPED = "the client is closed"


_ASKS: Final = {
    Move.ASK_DELTA: State.DELTA,
    Move.ASK_ROWS: State.CORRECTING,
    Move.ASK_PAGE: State.FULL,
}
_FAILS: Final = {Move.FAILED: State.BACKING_OFF, Move.REFUSED: State.OFFLINE}
_STOPS: Final = {Move.STOPPED: State.STOPPED}
_SYNCING: Final = _ASKS | _FAILS | _STOPS | {Move.DONE: State.LIVE}

TRANSITIONS: Final[Mapping[State, Mapping[Move, State]]] = {
    State.OFFLINE: _STOPS | {Move.WANTED: State.CONNECTING},
    State.CONNECTING: _ASKS | _FAILS | _STOPS,
    State.DELTA: _SYNCING,
    State.CORRECTING: _SYNCING,
    State.FULL: _SYNCING,
    State.LIVE: _ASKS
    | _FAILS
    | _STOPS
    | {Move.LOST: State.BACKING_OFF, Move.RESTED: State.OFFLINE},
    State.BACKING_OFF: _STOPS | {Move.DUE: State.CONNECTING, Move.RESTED: State.OFFLINE},
    State.STOPPED: {},
}

MOVE_OF: Final = {
    Phase.FRESH: Move.ASK_PAGE,
    Phase.PAGED: Move.ASK_PAGE,
    Phase.DELTA: Move.ASK_DELTA,
    Phase.VERIFY: Move.ASK_DELTA,
    Phase.CORRECT: Move.ASK_ROWS,
}

IMPATIENT: Final = frozenset({Trigger.ASKED, Trigger.LOGIN, Trigger.FOREGROUND, Trigger.RECONNECT})
"""Triggers that end a pause of our own: somebody waits, or the network is another one."""

MAY_LOOK: Final = frozenset(Trigger) - {Trigger.POKE, Trigger.RETRY}
"""Triggers that may look at the whole state, once a day. A poke wants its news, nothing else."""


class Life:
    """Where a client is in the table; `tell` hears of each step."""

    def __init__(self, tell: Callable[[StateChanged], None]) -> None:
        self.state = State.OFFLINE
        self._tell = tell

    def move(self, move: Move) -> None:
        """Go on; refused is nothing to who was doing nothing."""
        before = self.state
        if move is Move.REFUSED and before in {State.OFFLINE, State.BACKING_OFF}:
            return
        self.state = TRANSITIONS[before][move]
        if self.state is not before:
            self._tell(StateChanged(before, self.state))
