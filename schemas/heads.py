"""The head of a conversation: what its messages change, and how it is diffused.

`Mode` is the one of four states a conversation is in. LEAVING and RETURNING are the fences on the
way between the two others: in them *both* is done, the head is written and members are diffused,
because a crash may fall anywhere (`streams.policy`).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct

from schemas.events import DiffusionOverride


class Mode(IntEnum):
    """How a conversation is diffused. The numbers are stored."""

    WRITE = 0
    LEAVING = 1
    READ = 2
    RETURNING = 3

    @property
    def diffuses(self) -> bool:
        """Whether messages go to every member."""
        return self is not Mode.READ

    @property
    def on_read_side(self) -> bool:
        """Whether members must look at the head themselves."""
        return self in {Mode.LEAVING, Mode.READ}


class Activity(Struct, frozen=True, gc=False):
    """How active a conversation is, as of `at_ms` (0: nothing counted yet).

    `rate` and `volume` are messages a second, averaged over a short and a long time; `excess` is
    what the present mode has cost more than the other since the last switch, in rows. `window_ms`
    is the start of the last window with a message. `stamp` is that of the last message counted, so
    that a replay counts none twice.
    """

    at_ms: int = 0
    stamp: int = 0
    window_ms: int = 0
    rate: float = 0.0
    volume: float = 0.0
    excess: float = 0.0


class ModeReason(StrEnum):
    """Why a conversation is in its mode. The names are stored, and label metrics."""

    NEW = "new"
    OVERRIDE = "override"
    MEMBERS = "members"
    ROWS = "rows_per_second"
    COST = "cost"


class Head(Struct, frozen=True, gc=False):
    """State of a conversation. `mode_epoch` counts its mode changes and so orders them;
    `mode_reason` is why the last one was made.
    """

    conversation_id: str
    max_seq: int = 0
    active_at_ms: int = 0
    mode: Mode = Mode.WRITE
    mode_epoch: int = 0
    mode_since_ms: int = 0
    mode_reason: ModeReason = ModeReason.NEW
    member_count: int = 0
    diffusion: DiffusionOverride = "auto"
    updated_at_ms: int = 0
    activity: Activity = Activity()
