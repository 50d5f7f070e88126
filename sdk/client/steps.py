"""What a session has its shell do, one step at a time, and what an app may choose. Pure."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from schemas import limits as contract
from schemas.protocol import SyncRequest
from sdk.client import limits
from sdk.client.ops import StoreOps


class Now(Struct, frozen=True):
    """The time: of a clock that never jumps, and of the device's, which may."""

    monotonic_ms: int
    wall_ms: int


# What the shell has to do next.


class Load(Struct, frozen=True):
    """Read where the store stands."""


class Open(Struct, frozen=True):
    """Open the connection that pokes."""


class Send(Struct, frozen=True):
    """Send a request; the answer is told under the same number."""

    number: int
    request: SyncRequest


class Apply(Struct, frozen=True):
    """Do all of it in one transaction."""

    ops: StoreOps


class Note(Struct, frozen=True):
    """Note in the store that all it holds is what the server has; then `noted`."""


class Rebuild(Struct, frozen=True):
    """Set the damaged store aside and begin a new one; then `rebuilt`."""


class Close(Struct, frozen=True):
    """Close the connection; then `closed`."""


class Wait(Struct, frozen=True):
    """Nothing to do for `ms`, or until something is told; None: until something is told."""

    ms: int | None


Step: TypeAlias = Load | Open | Send | Apply | Note | Rebuild | Close | Wait


class Options(Struct, frozen=True, kw_only=True):
    """What an app may choose. `live`: follow over a connection that pokes, else by asking."""

    changes_max: int = contract.CHANGES_PER_ANSWER_DEFAULT
    page_max: int = contract.CONVERSATIONS_PER_PAGE_DEFAULT
    bytes_max: int = contract.ANSWER_BYTES_DEFAULT
    poll_ms: int = limits.POLL_MS_DEFAULT
    verify_every_ms: int = limits.VERIFY_EVERY_MS_DEFAULT
    full_every_ms: int = limits.FULL_EVERY_MS
    live: bool = False
