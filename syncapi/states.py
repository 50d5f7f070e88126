"""The whole state of a user, as digests: read once, kept for as long as nothing changed.

A correction asks twice or three times within seconds, and a device that only wants to be sure asks
for the root alone. Both are answered from here, if the user's index and the heads of his read side
stand where they stood. What changed is told by the index, so a state that is kept is never older
than the cursor that it is compared with.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from infra.cassandra import conversation_heads, inbox
from infra.cassandra.session import Session
from schemas.digests import DigestRow, digest_row, in_order, root_of
from schemas.heads import Head
from schemas.rows import InboxRow
from syncapi import snapshot

ROOTS_KEPT_MAX: Final = 50_000
"""Users whose root is kept, about 300 bytes each."""

ROWS_KEPT_MAX: Final = 100_000
"""Rows kept of the users who were asked for last, about 300 bytes each: 30 MB. A correction comes
back for them within seconds."""

READS_AT_ONCE: Final = 4
"""Whole states read at once; more wait. Each is one partition and all its heads."""


class Place(NamedTuple):
    """Where a user's state stands: the newest version of his index, and the heads of his read
    side.
    """

    user_id: str
    version: int
    heads_digest: bytes


class StateCache:
    """Digests of users' whole states. For one event loop."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._roots: OrderedDict[str, tuple[Place, bytes]] = OrderedDict()
        self._rows: OrderedDict[str, tuple[Place, Sequence[DigestRow]]] = OrderedDict()
        self._rows_kept = 0
        self._reading = asyncio.Semaphore(READS_AT_ONCE)

    async def root(self, place: Place) -> bytes:
        """Root of the user's state, as it stands at `place` or newer."""
        held = self._roots.get(place.user_id)
        if held is not None and held[0] == place:
            self._roots.move_to_end(place.user_id)
            return held[1]
        root = root_of(await self.rows(place))
        self._roots[place.user_id] = (place, root)
        self._roots.move_to_end(place.user_id)
        if len(self._roots) > ROOTS_KEPT_MAX:
            self._roots.popitem(last=False)
        return root

    async def rows(self, place: Place) -> Sequence[DigestRow]:
        """Digests of all conversations of the user, in order of keys, as they stand at `place` or
        newer.
        """
        held = self._rows.get(place.user_id)
        if held is not None and held[0] == place:
            self._rows.move_to_end(place.user_id)
            return held[1]
        async with self._reading:
            found = [
                row
                for row in await inbox.read_all(self._session, place.user_id)
                if row.own is not None
            ]
            heads = await conversation_heads.read(
                self._session, [row.conversation_id for row in found]
            )
            # Hashing 50,000 rows takes a good part of a second, in which others are answered.
            rows = await asyncio.to_thread(_digests, found, heads)
        self._keep(place, rows)
        return rows

    def _keep(self, place: Place, rows: Sequence[DigestRow]) -> None:
        before = self._rows.pop(place.user_id, None)
        self._rows_kept += len(rows) - (len(before[1]) if before is not None else 0)
        self._rows[place.user_id] = (place, rows)
        while self._rows_kept > ROWS_KEPT_MAX and len(self._rows) > 1:
            _, (_, oldest) = self._rows.popitem(last=False)
            self._rows_kept -= len(oldest)


def _digests(rows: Sequence[InboxRow], heads: dict[str, Head]) -> Sequence[DigestRow]:
    entries = snapshot.page_entries(rows, heads, 0)
    return in_order(digest_row(snapshot.state_of(entry)) for entry in entries)
