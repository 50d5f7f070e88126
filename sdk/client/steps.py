"""What a session has its shell do, one step at a time, and what an app may choose. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from schemas import limits as contract
from schemas.protocol import SyncRequest
from sdk.client import limits
from sdk.client.ops import StoreOps


@dataclass(frozen=True, slots=True)
class Now:
    """The time: of a clock that never jumps, and of the device's, which may."""

    monotonic_ms: int
    wall_ms: int


# What the shell has to do next.


@dataclass(frozen=True, slots=True)
class Load:
    """Read where the store stands."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the connection that pokes."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; the answer is told under the same number."""

    number: int
    request: SyncRequest


@dataclass(frozen=True, slots=True)
class Apply:
    """Do all of it in one transaction."""

    ops: StoreOps


@dataclass(frozen=True, slots=True)
class Note:
    """Note in the store that all it holds is what the server has; then `noted`."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Set the damaged store aside and begin a new one; then `rebuilt`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; then `closed`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for `ms`, or until something is told; None: until something is told."""

    ms: int | None


Step: TypeAlias = Load | Open | Send | Apply | Note | Rebuild | Close | Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an app may choose. `live`: follow over a connection that pokes, else by asking."""

    changes_max: int = contract.CHANGES_PER_ANSWER_DEFAULT
    page_max: int = contract.CONVERSATIONS_PER_PAGE_DEFAULT
    bytes_max: int = contract.ANSWER_BYTES_DEFAULT
    poll_ms: int = limits.POLL_MS_DEFAULT
    verify_every_ms: int = limits.VERIFY_EVERY_MS_DEFAULT
    full_every_ms: int = limits.FULL_EVERY_MS
    live: bool = False
