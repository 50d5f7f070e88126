"""What a sync did, and how it is added up. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from schemas.protocol import Reason
from sdk.client.ops import Applied, StoredState, StoreOps
from sdk.client.traffic import Traffic

Path: TypeAlias = Literal["nothing", "delta", "correction", "full"]


class SyncReport(Struct, frozen=True, kw_only=True):
    """What one `sync()` did.

    `path` is `nothing` when the server had nothing new, `delta`, `correction` when rows here were
    not what the server has, or `full`: a full correction, begun or continued. `reason` says why it
    was one of the last two (a value of `schemas.protocol.Reason`); `total`, of a full correction,
    how many conversations the server said there are. `round_trips` counts answers of the server,
    refusals included; bytes are those of bodies on the wire. `entries` and `modules` count what
    answers named; `enqueued` what of it the app has to process (a `refresh` of modules is not
    counted); `removed` conversations that a correction found gone. `put_off`: a full correction was
    due, and the last one was too short a while ago; only the top of the list is up to date.
    """

    path: Path
    reason: str | None
    total: int | None
    round_trips: int
    bytes_up: int
    bytes_down: int
    entries: int
    modules: int
    enqueued: int
    removed: int
    seconds: float
    put_off: bool = False


class Tally:
    """Adds up what the answers of one sync did. Times are of a clock that never jumps."""

    def __init__(self, began_ms: int) -> None:
        self._began_ms = began_ms
        self._spent = Traffic()
        self._path: Path = "nothing"
        self._after = StoredState()
        self._entries = self._modules = self._enqueued = self._removed = 0

    def spend(self, spent: Traffic) -> None:
        """Add what went over the wire."""
        self._spent = self._spent.plus(
            round_trips=spent.round_trips, bytes_up=spent.bytes_up, bytes_down=spent.bytes_down
        )

    def count(self, ops: StoreOps, applied: Applied) -> None:
        """Add one answer that was stored."""
        if ops.path != "delta":
            self._path = "full" if "full" in {ops.path, self._path} else ops.path
        elif ops.is_news and self._path == "nothing":
            self._path = "delta"
        self._after = ops.after
        self._entries += len(ops.entries)
        self._modules += len(ops.modules)
        self._enqueued += applied.enqueued
        self._removed += applied.removed

    def report(self, now_ms: int, *, put_off: bool) -> SyncReport:
        """Make the report."""
        spent = self._spent
        reason = Reason.DIGEST_MISMATCH.value if self._path == "correction" else None
        full = self._path == "full"
        return SyncReport(
            path=self._path,
            reason=self._after.reason if full else reason,
            total=self._after.total if full else None,
            round_trips=spent.round_trips,
            bytes_up=spent.bytes_up,
            bytes_down=spent.bytes_down,
            entries=self._entries,
            modules=self._modules,
            enqueued=self._enqueued,
            removed=self._removed,
            seconds=(now_ms - self._began_ms) / 1_000,
            put_off=put_off,
        )
