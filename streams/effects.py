"""What one batch must do to the world, as values, in the order in which it must happen.

PURE. The order is the law of this stage; `streams.sink` carries it out and reasons about crashes.

1. `messages`, `opened`: heads. State comes before the index that points at it.
2. `changes`, `dead`: records to Kafka, delivered.
3. `members`, `counts`, `overrides`, `activities`: who belongs, and what was counted. Then `closed`:
   the modes that a fence has made true.
4. The source records are acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.changes import Change
from schemas.events import DiffusionOverride
from schemas.heads import Activity, Head
from schemas.trace_context import Origin


@dataclass(slots=True)
class Effects:
    """The effects of a batch. Heads are coalesced by conversation; changes keep their order."""

    messages: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Conversation -> (greatest seq, its time)."""
    opened: list[Head] = field(default_factory=list)
    changes: list[tuple[int, Change]] = field(default_factory=list)
    """(partition of the change log, change)."""
    members: dict[tuple[str, str], tuple[bool, int]] = field(default_factory=dict)
    """(conversation, user) -> (member, stamp)."""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Conversation -> (members, stamp)."""
    overrides: dict[str, tuple[DiffusionOverride, int]] = field(default_factory=dict)
    closed: dict[str, Head] = field(default_factory=dict)
    activities: dict[str, Activity] = field(default_factory=dict)
    """Conversation -> its activity as of the last event of the batch."""
    origins: dict[int, tuple[Origin, ...]] = field(default_factory=dict)
    """Place in `changes` -> the writes that it tells of, of changes whose writes have an id."""
    saved_marks: int = 0
    """Members not marked because their conversation is read-diffused."""
    folded_marks: int = 0
    """Members not marked because a later message of the batch marks them."""
