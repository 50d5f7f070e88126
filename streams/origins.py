"""Which writes a change tells of: from the correlation ids of source records to those of changes.

PURE. A header belongs to a record, a record has many events, and messages of a batch are folded. So
the ids go by key: a change of a conversation (or of a user, in the other topic) has those of the
records of this batch in which something of that conversation (that user) was written, at most
`CONTEXTS_MAX`. That may be one too many, never one of another batch; and where no record has an id,
which is the usual case, nothing is done at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from schemas.trace_context import LINKS_MAX, Origin, TraceContext, few, few_origins


class Written(NamedTuple):
    """What a record with ids wrote to: its contexts, its place, the keys of its events."""

    contexts: tuple[TraceContext, ...]
    source: str
    keys: frozenset[str]


class Correlated(Protocol):
    """A record, as it came or as it is written here."""

    @property
    def contexts(self) -> tuple[TraceContext, ...]:
        """Of the writes that it was made of."""


def by_key(records: Iterable[Written]) -> dict[str, tuple[Origin, ...]]:
    """The origins of each key. Keys of one record alone share a tuple: none is made for each."""
    found: dict[str, tuple[Origin, ...]] = {}
    for record in records:
        own = few_origins(Origin(one, record.source) for one in record.contexts)
        for key in record.keys:
            before = found.get(key)
            found[key] = own if before is None else few_origins((*before, *own))
    return found


def of_batch(records: Iterable[Correlated]) -> tuple[TraceContext, ...]:
    """The contexts of a batch, at most `LINKS_MAX`."""
    return few((context for record in records for context in record.contexts), LINKS_MAX)
