"""The whole state of a user, as digests: read once for many who ask within seconds.

A correction asks twice or three times in a row, and devices that only want to be sure ask for the
root alone. What is kept is believed for a short time only, and for less if it would say that
something differs: the index says where the state stood when it was read, and the digests are there
because the index may be wrong. So nothing is corrected, and nobody told to drop anything, by what
was read before he asked, but for the seconds between two trips of one correction.

Heads of the read side are those that the delta of the same answer goes by, so that the digest is of
what the answer leaves the client with.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from infra import metrics
from infra.cassandra import conversation_heads, inbox
from infra.cassandra.session import Session, StoreUnavailable
from schemas.digests import DigestRow, digest_row, in_order, root_of
from schemas.heads import Head
from schemas.rows import InboxRow
from syncapi import snapshot

ROOTS_KEPT_MAX: Final = 50_000
"""Users whose root is kept, about 400 bytes each."""

ROOT_KEPT_S: Final = 300.0
"""How long a root is believed that is equal to the client's: so long may something that the index
does not tell stay unseen by it."""

ROWS_KEPT_MAX: Final = 100_000
"""Rows kept of the users who were asked for last, about 300 bytes each: 30 MB."""

ROWS_KEPT_S: Final = 10.0
"""The next trip of a correction comes by then, also from a slow network."""

READS_AT_ONCE: Final = 4
"""Whole states read at once; more wait. Each is one partition and all its heads."""


class Place(NamedTuple):
    """Where a user's state stands: the newest version of his index, and the heads of his read
    side.
    """

    user_id: str
    version: int
    heads_digest: bytes


@dataclass(slots=True)
class _Kept:
    """What was read at a time; the rows go before the root does."""

    place: Place
    at_s: float
    root: bytes
    rows: Sequence[DigestRow] | None


class StateCache:
    """Digests of users' whole states. For one event loop."""

    def __init__(self, session: Session, monotonic_s: Callable[[], float]) -> None:
        self._session = session
        self._monotonic_s = monotonic_s
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._rows_kept = 0
        self._reads: dict[Place, asyncio.Task[tuple[bytes, Sequence[DigestRow]]]] = {}
        self._at_once = asyncio.Semaphore(READS_AT_ONCE)

    async def root(self, place: Place, theirs: bytes, heads: Sequence[Head]) -> bytes:
        """Root of the user's state at `place`; of now, unless it was just read or is `theirs`."""
        held = self._kept.get(place.user_id)
        if held is not None and held.place == place:
            age_s = self._monotonic_s() - held.at_s
            if age_s <= (ROOT_KEPT_S if held.root == theirs else ROWS_KEPT_S):
                self._kept.move_to_end(place.user_id)
                return held.root
        root, _ = await self._read(place, heads)
        return root

    async def rows(
        self, place: Place, heads: Sequence[Head], *, now: bool = False
    ) -> tuple[Sequence[DigestRow], bool]:
        """Digests of all conversations of the user, in order of keys, and whether they were kept;
        `now` reads them anew.
        """
        held = self._kept.get(place.user_id)
        fresh = held is not None and self._monotonic_s() - held.at_s <= ROWS_KEPT_S
        if held is not None and fresh and not now and held.place == place and held.rows is not None:
            return held.rows, True
        _, rows = await self._read(place, heads)
        return rows, False

    async def _read(self, place: Place, heads: Sequence[Head]) -> tuple[bytes, Sequence[DigestRow]]:
        """Read, once for all who wait for the same."""
        reading = self._reads.get(place)
        if reading is None:
            reading = asyncio.create_task(self._read_now(place, heads))
            self._reads[place] = reading
            metrics.api_pending_corrections.set(len(self._reads))
            reading.add_done_callback(lambda _: self._done(place))
        try:
            # Shielded: who goes away while he waits must not take the read from the others.
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            if reading.cancelled():
                raise StoreUnavailable("The read that was shared ended early. Ask again.") from None
            raise

    def _done(self, place: Place) -> None:
        self._reads.pop(place, None)
        metrics.api_pending_corrections.set(len(self._reads))

    async def _read_now(
        self, place: Place, looked_at: Sequence[Head]
    ) -> tuple[bytes, Sequence[DigestRow]]:
        async with self._at_once:
            at_s = self._monotonic_s()
            found = [
                row
                for row in await inbox.read_all(self._session, place.user_id)
                if row.own is not None
            ]
            heads = {head.conversation_id: head for head in looked_at}
            heads |= await conversation_heads.read_messages(
                self._session,
                [row.conversation_id for row in found if row.conversation_id not in heads],
            )
            # Hashing 50,000 rows takes a good part of a second, in which others are answered.
            rows = await asyncio.to_thread(_digests, found, heads)
        root = root_of(rows)
        self._keep(_Kept(place, at_s, root, rows), len(rows))
        return root, rows

    def _keep(self, kept: _Kept, count: int) -> None:
        user_id = kept.place.user_id
        before = self._kept.pop(user_id, None)
        if before is not None and before.rows is not None:
            self._rows_kept -= len(before.rows)
        self._kept[user_id] = kept
        self._rows_kept += count
        if len(self._kept) > ROOTS_KEPT_MAX:
            _, oldest = self._kept.popitem(last=False)
            self._rows_kept -= len(oldest.rows or ())
        for other in self._kept.values():
            if self._rows_kept <= ROWS_KEPT_MAX:
                break
            self._rows_kept -= len(other.rows or ())
            other.rows = None


def _digests(rows: Sequence[InboxRow], heads: dict[str, Head]) -> Sequence[DigestRow]:
    entries = snapshot.page_entries(rows, heads, 0)
    return in_order(digest_row(snapshot.state_of(entry)) for entry in entries)
