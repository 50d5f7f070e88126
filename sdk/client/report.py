"""What a sync did, and how it is added up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sdk.client.apply import Applied
from sdk.client.ops import StoreOps
from sdk.client.transport import Traffic

Path: TypeAlias = Literal["nothing", "delta", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What one `sync()` did.

    `path` is `nothing` when the server had nothing new, `delta`, or `full`: a full correction,
    begun or continued. `reset` is why it was made (a value of `schemas.protocol.ResetReason`).
    `round_trips` counts answers of the server, refusals included; bytes are those of bodies on the
    wire. `entries` and `modules` count what answers named; `enqueued` what of it the app has to
    process (a `refresh` of the modules is not counted); `removed` conversations that the full
    correction found gone.
    """

    path: Path
    reset: str | None
    round_trips: int
    bytes_up: int
    bytes_down: int
    entries: int
    modules: int
    enqueued: int
    removed: int
    seconds: float


class Tally:
    """Adds up what the answers of one sync did, from the traffic and the time before it."""

    def __init__(self, traffic: Traffic, now_ms: int) -> None:
        self._began_ms = now_ms
        self._traffic = traffic
        self._full = False
        self._entries = self._modules = self._enqueued = self._removed = 0

    def count(self, ops: StoreOps, applied: Applied) -> None:
        """Add one answer that was stored."""
        self._full = self._full or ops.replace
        self._entries += len(ops.entries)
        self._modules += len(ops.modules)
        self._enqueued += applied.enqueued
        self._removed += applied.removed

    def report(self, reset: str | None, traffic: Traffic, now_ms: int) -> SyncReport:
        """Make the report, from the traffic and the time after the sync."""
        path: Path = "nothing"
        if self._full:
            path = "full"
        elif self._entries or self._modules:
            path = "delta"
        spent = traffic.since(self._traffic)
        return SyncReport(
            path=path,
            reset=reset if self._full else None,
            round_trips=spent.round_trips,
            bytes_up=spent.bytes_up,
            bytes_down=spent.bytes_down,
            entries=self._entries,
            modules=self._modules,
            enqueued=self._enqueued,
            removed=self._removed,
            # The clock of a device may be set back in the middle.
            seconds=max(0, now_ms - self._began_ms) / 1000,
        )
