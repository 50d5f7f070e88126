"""What the client tells whoever listens: typed, and one for each thing that an app may show. Pure.

    client = SyncClient(url, token=token, on_event=print)

A listener is called by the thread (or task) that syncs, after the fact. It should be quick, since
nothing goes on meanwhile; it may read the list, and may not call `sync` or `close`, which would
wait for itself. What it raises is logged and goes no further. `sdk.client.metrics` turns the same
events into numbers.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from schemas.protocol import AnswerPath
from sdk.client.errors import ClientError
from sdk.client.report import SyncReport


class Trigger(Enum):
    """Why a sync was wanted. What is wanted while one is under way is done together, after it."""

    ASKED = "asked"
    """The app called `sync`."""
    LOGIN = "login"
    """The client began to follow."""
    RECONNECT = "reconnect"
    """The connection was lost, or the network changed."""
    FOREGROUND = "foreground"
    """The app came back to the foreground."""
    POKE = "poke"
    """The server said that something changed."""
    TIMER = "timer"
    """Nothing was heard for a while; large, busy conversations do not poke."""
    RETRY = "retry"
    """The last sync failed."""


class State(Enum):
    """What the client is doing; `sdk.client.life.TRANSITIONS` says what follows what."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    DELTA = "delta"
    CORRECTING = "correcting"
    FULL = "full"
    LIVE = "live"
    BACKING_OFF = "backing off"
    STOPPED = "stopped"


class StateChanged(Struct, frozen=True):
    """The client went from one state to another."""

    before: State
    after: State


class SyncStarted(Struct, frozen=True):
    """Sync number `number` of this client began, for these reasons."""

    number: int
    triggers: frozenset[Trigger]


class PathTaken(Struct, frozen=True):
    """The server answered on another path than before in this sync; see `SyncReport.reason`."""

    number: int
    path: AnswerPath
    reason: str | None


class PageApplied(Struct, frozen=True):
    """An answer is stored: with `conversations` of it, and `enqueued` entries for the app.

    `done` of `total` conversations are here, if this is a full correction; it goes on from there
    after any interruption. Both are None otherwise.
    """

    number: int
    path: AnswerPath
    conversations: int
    enqueued: int
    done: int | None
    total: int | None


class SyncFinished(Struct, frozen=True):
    """The store is up to date as of the last answer."""

    number: int
    report: SyncReport


class SyncFailed(Struct, frozen=True):
    """The sync ended with `error`; what was stored before stays. It is tried again in `retry_ms`;
    None: not by itself.
    """

    number: int
    error: ClientError
    retry_ms: int | None


class FullPutOff(Struct, frozen=True):
    """An alarm: everything would have to be fetched again, and that was done a short while ago.

    The top of the list is up to date; the rest follows in `retry_ms`, or at once with
    `sync(full=True)`. If it comes often, the server loses data, or something damages the store.
    """

    number: int
    reason: str
    retry_ms: int


class StoreSetAside(Struct, frozen=True):
    """An alarm: the store was damaged, or no store, and is now at `path`; a new one was begun.

    The next sync fetches everything. `drafts` could be carried over. `path` is empty if there was
    nothing to rename: a store in memory, or another process was first.
    """

    path: str
    why: str
    drafts: int


ClientEvent: TypeAlias = (
    StateChanged
    | SyncStarted
    | PathTaken
    | PageApplied
    | SyncFinished
    | SyncFailed
    | FullPutOff
    | StoreSetAside
)
