"""What the client's tests share: a server in a dictionary, scripted answers, and a killed process.

`ModelServer` keeps the whole state and a line of changes, and answers as the protocol says; the
real server is another implementation of the same text. Every answer goes through bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from schemas.conversations import ConversationState, OwnState
from schemas.protocol import (
    ConversationEntry,
    ModuleEntry,
    ResetReason,
    SyncRequest,
    SyncResponse,
    merge,
)
from sdk.client.errors import ClientError, Problem, RequestRefusedError
from sdk.client.transport import Traffic

T0 = 1_700_000_000_000

_connect = sqlite3.connect
"""As it is before a test replaces it."""


def entry(
    conversation_id: str,
    version: int = 1,
    max_seq: int | None = None,
    read_seq: int | None = None,
    own: OwnState | None = None,
    active_at_ms: int | None = None,
) -> ConversationEntry:
    if max_seq is not None and active_at_ms is None:
        active_at_ms = T0 + max_seq
    return ConversationEntry(conversation_id, version, max_seq, active_at_ms, read_seq, own)


def delta(*entries: ConversationEntry, cursor: str = "c", modules: Any = ()) -> SyncResponse:
    return SyncResponse("delta", conversations=entries, modules=modules, cursor=cursor)


def first(
    *entries: ConversationEntry,
    page: str | None = None,
    cursor: str | None = None,
    reset: ResetReason = ResetReason.FRESH,
    modules: Any = (),
) -> SyncResponse:
    return SyncResponse("full", entries, modules, reset=reset, cursor=cursor, page=page)


def further(
    *entries: ConversationEntry, page: str | None = None, cursor: str | None = None
) -> SyncResponse:
    return SyncResponse("full", entries, cursor=cursor, page=page)


def refused(status: int) -> RequestRefusedError:
    return RequestRefusedError(status, Problem(title="refused", status=status))


class Scripted:
    """A transport that gives the answers (or raises the errors) it was given, in order."""

    def __init__(self, *answers: SyncResponse | ClientError) -> None:
        self.answers = list(answers)
        self.requests: list[SyncRequest] = []
        self.closed = False
        self._traffic = Traffic()

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    def send(self, request: SyncRequest) -> SyncResponse:
        up = msgspec.json.encode(request)
        self.requests.append(msgspec.json.decode(up, type=SyncRequest))
        answer = self.answers.pop(0)
        if isinstance(answer, ClientError):
            raise answer
        down = msgspec.json.encode(answer)
        self._traffic = self._traffic.plus(round_trips=1, bytes_up=len(up), bytes_down=len(down))
        return msgspec.json.decode(down, type=SyncResponse)

    def close(self) -> None:
        self.closed = True


class ModelServer:
    """Every conversation of one user, and the line of changes; answers requests from them.

    `fault` is called with each request before it is answered and may raise; `lost` likewise after
    the answer was made. Tokens are readable: `c<incarnation>:<version>` and, of a correction fixed
    there, `p<incarnation>:<version>:<last id>`.
    """

    def __init__(self) -> None:
        self.states: dict[str, ConversationState] = {}
        self.items: dict[tuple[str, str], int] = {}
        self.line: list[ConversationEntry | ModuleEntry] = []
        self.incarnation = 1
        self.oldest = 0
        self.pages_known = True
        self.fault: Callable[[SyncRequest], None] = lambda _: None
        self.lost: Callable[[SyncRequest], None] = lambda _: None
        self._traffic = Traffic()

    @property
    def version(self) -> int:
        return len(self.line)

    def change(
        self,
        conversation_id: str,
        max_seq: int | None = None,
        read_seq: int | None = None,
        own: OwnState | None = None,
    ) -> None:
        change = entry(conversation_id, self.version + 1, max_seq, read_seq, own)
        self.line.append(change)
        self.states[conversation_id] = merge(self.states.get(conversation_id), change)

    def module(self, module: str, item_id: str, item_version: int) -> None:
        self.items[module, item_id] = item_version
        self.line.append(ModuleEntry(module, item_id, "update", item_version, self.version + 1))

    def lose(self, conversation_id: str) -> None:
        """Lose data, after which changes are counted anew: a new incarnation."""
        del self.states[conversation_id]
        self.incarnation += 1

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    def close(self) -> None:
        pass

    def send(self, request: SyncRequest) -> SyncResponse:
        self._traffic = self._traffic.plus(round_trips=1)
        self.fault(request)
        answer = msgspec.json.encode(self._answer(request))
        self.lost(request)
        return msgspec.json.decode(answer, type=SyncResponse)

    def _answer(self, request: SyncRequest) -> SyncResponse:
        if request.page is not None:
            incarnation, version, after = request.page.removeprefix("p").split(":", 2)
            if not self.pages_known:
                raise refused(410)
            if int(incarnation) != self.incarnation:
                return self._page(request, ResetReason.EPOCH_CHANGED, self.version, "")
            return self._page(request, None, int(version), after)
        if request.cursor is None:
            return self._page(request, ResetReason.FRESH, self.version, "")
        incarnation, version = request.cursor.removeprefix("c").split(":")
        if int(incarnation) != self.incarnation:
            return self._page(request, ResetReason.EPOCH_CHANGED, self.version, "")
        if int(version) < self.oldest:
            return self._page(request, ResetReason.EXPIRED, self.version, "")
        return self._delta(request, int(version))

    def _delta(self, request: SyncRequest, since: int) -> SyncResponse:
        news = self.line[since:]
        ids = dict.fromkeys(c.conversation_id for c in news if isinstance(c, ConversationEntry))
        if len(ids) > request.changes_max:
            return self._page(request, ResetReason.TOO_MANY, self.version, "")
        return SyncResponse(
            "delta",
            conversations=tuple(_whole(self.states[i], self.version) for i in ids),
            modules=tuple(c for c in news if isinstance(c, ModuleEntry)),
            cursor=f"c{self.incarnation}:{self.version}",
        )

    def _page(
        self, request: SyncRequest, reset: ResetReason | None, version: int, after: str
    ) -> SyncResponse:
        ids = sorted(i for i in self.states if i > after)
        page, more = ids[: request.page_max], len(ids) > request.page_max
        return SyncResponse(
            "full",
            conversations=tuple(_whole(self.states[i], version) for i in page),
            reset=reset,
            cursor=None if more else f"c{self.incarnation}:{version}",
            page=f"p{self.incarnation}:{version}:{page[-1]}" if more else None,
        )


def _whole(state: ConversationState, version: int) -> ConversationEntry:
    return ConversationEntry(
        state.conversation_id,
        version,
        state.max_seq,
        state.active_at_ms,
        state.read_seq,
        state.own,
    )


class Killed(BaseException):
    """The process is dead: not an `Exception`, so that nothing handles it."""


class Killable:
    """Makes SQLite connections that die at the n-th statement, counted over all of them.

    A dead connection does nothing more, not even ROLLBACK: what is on the disk is what a dead
    process would have left there. `after` lets the n-th statement itself happen still.
    """

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.count = 0
        self.open: list[sqlite3.Connection] = []

    def connect(self, path: str, **options: Any) -> sqlite3.Connection:
        db = _connect(path, factory=_connection_class(self), **options)
        self.open.append(db)
        return db

    def close(self) -> None:
        """Let go of the files as the end of a process does: without committing anything."""
        for db in self.open:
            db.close()

    def step(self, happen: Callable[[], Any]) -> Any:
        self.count += 1
        dead = self.at is not None and self.count > self.at
        if dead or (self.count == self.at and not self.after):
            self.die()
        result = happen()
        if self.count == self.at:
            self.die()
        return result

    def die(self) -> NoReturn:
        raise Killed


def _connection_class(killable: Killable) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            return killable.step(lambda: super(Connection, self).execute(sql, parameters))

        def executemany(self, sql: str, rows: Sequence[Any]) -> sqlite3.Cursor:
            return killable.step(lambda: super(Connection, self).executemany(sql, rows))

    return Connection
