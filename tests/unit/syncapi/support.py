"""What the tests of the sync API share: a ground to decide on, rows, tokens, and a filled store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from consumers.coalesce import Fold
from consumers.statements import grouped, index, state
from infra.cassandra import conversation_heads, log_positions
from infra.cassandra.topic_epochs import INSERT_NEXT
from schemas.changes import Change
from schemas.conversations import OwnState
from schemas.cursor import Cursor, PageToken, seal, user_digest
from schemas.heads import Head
from schemas.protocol import SyncRequest
from schemas.rows import ChangeRow, InboxRow
from schemas.topics import CHANGES
from schemas.versions import version_of
from syncapi.planner import Ground
from tests.unit.infra.cassandra.support import Cells

T = TypeVar("T")

KEY = b"key"
T0 = 1_700_000_400_000
"""The start of a window."""
WINDOW_MS = 600_000
HOUR_MS = 3_600_000
RETENTION_MS = 168 * HOUR_MS
PARTITIONS = 4


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def ground(**changed: Any) -> Ground:
    return Ground(
        **{
            "user_id": "ann",
            "key": KEY,
            "epoch": 1,
            "window_ms": WINDOW_MS,
            "now_ms": T0,
            "retention_ms": RETENTION_MS,
            **changed,
        }
    )


def cursor(**changed: Any) -> Cursor:
    return Cursor(
        **{
            "user_digest": user_digest("ann"),
            "epoch": 1,
            "version": 0,
            "modules_version": 0,
            "window_ms": 0,
            "modules_window_ms": 0,
            "issued_at_ms": T0,
            **changed,
        }
    )


def page_token(after: str = "sg_5", **changed: Any) -> PageToken:
    return PageToken(cursor(**changed), after)


def request(
    token: Cursor | PageToken | None = None, key: bytes = KEY, **limits: Any
) -> SyncRequest:
    """A request with a token where it belongs."""
    kind = {Cursor: "cursor", PageToken: "page"}.get(type(token))
    tokens = {kind: seal(token, key)} if kind and token is not None else {}
    return SyncRequest(device_id="phone", **tokens, **limits)


def row(conversation_id: str = "sg_1", window_ms: int = T0, **cells: int) -> ChangeRow:
    return ChangeRow(window_ms, conversation_id, **cells)


def messaged(version: int, seq: int, conversation_id: str = "sg_1", at: int = T0) -> ChangeRow:
    return row(conversation_id, at, message_version=version, max_seq=seq, active_at_ms=T0 + seq)


def inbox_of(conversation_id: str = "sg_1", read_seq: int = 0, **own: Any) -> dict[str, InboxRow]:
    return {conversation_id: InboxRow(conversation_id, read_seq, OwnState(**own))}


def head(seq: int, conversation_id: str = "sg_1", **fields: Any) -> Head:
    return Head(conversation_id, max_seq=seq, active_at_ms=T0 + seq, **fields)


class Store(Cells):
    """Cells with an epoch, and a log that is materialized at once."""

    def __init__(self, epoch: int = 1) -> None:
        super().__init__()
        self.offset = 0
        self.take_epoch(epoch)

    def take_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.read(INSERT_NEXT, (CHANGES.name, epoch, f"id{epoch}", PARTITIONS, WINDOW_MS, T0))

    def add(self, *changes: Change, window_ms: int = T0) -> int:
        """Apply changes, each at the next version; returns the last."""
        for change in changes:
            self.offset += 1
            fold = Fold()
            fold.add(change, version_of(self.epoch, self.offset), window_ms)
            for partition in range(PARTITIONS):
                self.apply(
                    log_positions.reached(self, self.epoch, partition, self.offset, window_ms)
                )
            for found in (state(self, fold, 600), index(self, fold, 600)):
                for batches in grouped(self, found, 50):
                    self.write(batches, in_flight=1)
        return version_of(self.epoch, self.offset)

    def head(self, conversation_id: str, seq: int, at_ms: int = T0) -> None:
        """A message reaches the head; its time, and that of the write, is `at_ms`."""
        self.apply(conversation_heads.message(self, conversation_id, seq, at_ms, at_ms))


class Moody(Store):
    """A store that may be away."""

    error: Exception | None = None

    async def aread(self, cql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self.error is not None:
            raise self.error
        return await super().aread(cql, values)
