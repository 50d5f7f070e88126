"""What the client's tests share: a server in a dictionary, scripted answers, and a killed process.

`ModelServer` keeps the whole state and a line of changes, and answers as the protocol says; the
real server is another implementation of the same text. Every answer goes through bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec.structs import replace

from schemas import digests, sketch
from schemas.conversations import ConversationState, OwnState
from schemas.digests import DigestRow
from schemas.protocol import (
    ALL_MODULES,
    ConversationEntry,
    Correction,
    KeyRange,
    ModuleEntry,
    RangeDigests,
    Reason,
    SyncRequest,
    SyncResponse,
    merge,
)
from sdk.client.errors import ClientError, Problem, RequestRefusedError
from sdk.client.traffic import Traffic

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


def delta(*entries: ConversationEntry, cursor: str | None = "c", **more: Any) -> SyncResponse:
    return SyncResponse("delta", entries, cursor=cursor, **more)


def delta_page(*entries: ConversationEntry, cursor: str, **more: Any) -> SyncResponse:
    return delta(*entries, cursor=cursor, reason=Reason.PAGING, has_more=True, **more)


def first(
    *entries: ConversationEntry,
    page: str | None = None,
    cursor: str | None = None,
    reason: Reason = Reason.FRESH,
    **more: Any,
) -> SyncResponse:
    return SyncResponse("full", entries, reason=reason, cursor=cursor, page=page, **more)


def further(
    *entries: ConversationEntry, page: str | None = None, cursor: str | None = None
) -> SyncResponse:
    return SyncResponse("full", entries, reason=Reason.PAGING, cursor=cursor, page=page)


def correction(*entries: ConversationEntry, **more: Any) -> SyncResponse:
    return SyncResponse("correction", entries, reason=Reason.DIGEST_MISMATCH, **more)


def refused(status: int = 400, reason: Reason | str | None = None) -> RequestRefusedError:
    word = reason.value if isinstance(reason, Reason) else reason
    return RequestRefusedError(status, Problem(title="refused", status=status, reason=word))


def digest_rows(states: Iterable[ConversationState]) -> list[DigestRow]:
    return digests.in_order(map(digests.digest_row, states))


def root(states: Iterable[ConversationState]) -> bytes:
    return digests.root_of(digest_rows(states))


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
    the answer was made. Tokens are readable: `c<key>:<incarnation>:<since>` is a cursor, and with
    `:<until>:<below>` one in the middle of a delta; `p<key>:<incarnation>:<version>:<last id>`
    continues a full correction fixed at that version.

    What else is to be tried: `refuse` no longer knows the tokens issued until then; `oldest` expires
    cursors, `modules_oldest` the changes of one module; `too_many` conversations are no delta;
    `bits` parts the whole otherwise than by its size, and `verifies` tells roots.
    """

    def __init__(self) -> None:
        self.states: dict[str, ConversationState] = {}
        self.items: dict[tuple[str, str], int] = {}
        self.line: list[ConversationEntry | ModuleEntry] = []
        self.incarnation = 1
        self.oldest = 0
        self.modules_oldest: dict[str, int] = {}
        self.too_many = 1_000
        self.key = 1
        self.refusal = Reason.UNREADABLE
        self.verifies = True
        self.bits: int | None = None
        self.fault: Callable[[SyncRequest], None] = lambda _: None
        self.lost: Callable[[SyncRequest], None] = lambda _: None
        self.answers: list[SyncResponse] = []
        self._traffic = Traffic()

    @property
    def version(self) -> int:
        return len(self.line)

    @property
    def pinned(self) -> tuple[str, ...]:
        return tuple(sorted(i for i, state in self.states.items() if state.own.pinned))

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

    def refuse(self, reason: Reason) -> None:
        self.key += 1
        self.refusal = reason

    def root(self) -> bytes:
        return root(self.states.values())

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    def close(self) -> None:
        pass

    def send(self, request: SyncRequest) -> SyncResponse:
        request = msgspec.json.decode(msgspec.json.encode(request), type=SyncRequest)
        self._traffic = self._traffic.plus(round_trips=1)
        self.fault(request)
        raw = msgspec.json.encode(self._answer(request))
        assert len(raw) <= request.bytes_max
        self.lost(request)
        self.answers.append(msgspec.json.decode(raw, type=SyncResponse))
        return self.answers[-1]

    def _answer(self, request: SyncRequest) -> SyncResponse:
        token = request.page or request.cursor
        if token is None:
            return self._first(request, Reason.FRESH)
        key, incarnation, rest = token[1:].split(":", 2)
        if int(key) != self.key:
            raise refused(400, self.refusal)
        if int(incarnation) != self.incarnation:
            return self._first(request, Reason.EPOCH_CHANGED)
        if request.page is not None:
            version, after = rest.split(":", 1)
            return self._page(request, int(version), after)
        since, until, below = (*map(int, rest.split(":")), self.version, self.version + 1)[:3]
        if since < self.oldest:
            return self._first(request, Reason.EXPIRED)
        if request.correct is not None:
            return self._correct(request, request.correct)
        return self._delta(request, since, until, below)

    # Deltas.

    def _delta(self, request: SyncRequest, since: int, until: int, below: int) -> SyncResponse:
        newest = {
            c.conversation_id: v
            for v, c in enumerate(self.line[since:], since + 1)
            if isinstance(c, ConversationEntry)
        }
        if len(newest) > self.too_many:
            return self._first(request, Reason.TOO_MANY, since)
        items = {(c.module, c.item_id): c for c in self.line[since:] if isinstance(c, ModuleEntry)}
        # What changed again after the delta was begun has left it, for the next one.
        todo = [(v, i) for i, v in newest.items() if v <= until and v < below]
        todo += [
            (c.version, k) for k, c in items.items() if c.version <= until and c.version < below
        ]
        todo.sort(key=lambda one: one[0], reverse=True)
        told, told_items, room = [], [], request.bytes_max - _OTHER_BYTES
        for version, key in todo:
            made = items[key] if isinstance(key, tuple) else _whole(self.states[key], version)
            room -= len(msgspec.json.encode(made)) + 1
            mine = told_items if isinstance(key, tuple) else told
            most = request.modules_max if isinstance(key, tuple) else request.changes_max
            if room < 0 or len(mine) == most:
                break
            mine.append(made)
            below = version
        more = len(told) + len(told_items) < len(todo)
        news = bool(told or told_items or more) or until != since
        place = f"{since}:{until}:{below}" if more else f"{until}"
        behind = {m for m, v in self.modules_oldest.items() if since < v}
        answer = SyncResponse(
            "delta",
            tuple(told),
            tuple(told_items),
            reason=Reason.PAGING if more else None,
            cursor=f"c{self.key}:{self.incarnation}:{place}" if news else None,
            has_more=more,
            pinned=self.pinned if any(e.own is not None for e in told) else None,
            module_resets=tuple(sorted(behind)),
        )
        if request.root is None or more or not self.verifies:
            return answer
        answer = replace(answer, root=self.root())
        if told or request.root == answer.root:
            return answer
        rows = digest_rows(self.states.values())
        bits = digests.bits_for(len(rows)) if self.bits is None else self.bits
        parts = (digests.parts(digests.WHOLE, rows, bits),)
        return replace(answer, path="correction", reason=Reason.DIGEST_MISMATCH, parts=parts)

    # Full corrections.

    def _first(self, request: SyncRequest, reason: Reason, modules_since: int = -1) -> SyncResponse:
        """The newest first, if there are more than fit; they come again in their place."""
        states = sorted(self.states.values(), key=lambda state: -state.active_at_ms)
        fit = _fitting((_whole(s, self.version) for s in states), request.page_max, request)
        more = len(fit) < len(states)
        items = {
            (c.module, c.item_id): c
            for c in self.line[max(0, modules_since) :]
            if isinstance(c, ModuleEntry)
        }
        return SyncResponse(
            "full",
            tuple(fit),
            tuple(items.values()) if modules_since >= 0 else (),
            reason=reason,
            cursor=None if more else f"c{self.key}:{self.incarnation}:{self.version}",
            page=f"p{self.key}:{self.incarnation}:{self.version}:" if more else None,
            pinned=self.pinned,
            module_resets=() if modules_since >= 0 else (ALL_MODULES,),
            total=len(states),
        )

    def _page(self, request: SyncRequest, version: int, after: str) -> SyncResponse:
        ids = sorted(i for i in self.states if i > after)
        fit = _fitting((_whole(self.states[i], version) for i in ids), request.page_max, request)
        more = len(fit) < len(ids)
        return SyncResponse(
            "full",
            tuple(fit),
            reason=Reason.PAGING,
            cursor=None if more else f"c{self.key}:{self.incarnation}:{version}",
            page=f"p{self.key}:{self.incarnation}:{version}:{fit[-1].conversation_id}"
            if more
            else None,
        )

    # Snapshot corrections.

    def _correct(self, request: SyncRequest, asked: Correction) -> SyncResponse:
        rows = digest_rows(self.states.values())
        base = SyncResponse("correction", reason=Reason.DIGEST_MISMATCH, root=self.root())
        digests.check_ranges([*asked.split, *(one.range for one in asked.listed)])
        if asked.sketch is not None:
            decoded = sketch.decode(asked.sketch, rows)
            if decoded is None:
                return replace(base, undecoded=True)
            return self._rows(request, base, decoded.changed, sketch.gone_bytes(decoded.gone))
        if asked.split or not asked.listed:
            split = asked.split or (digests.WHOLE,)
            return replace(base, parts=tuple(self._split(one, rows) for one in split))
        changed, gone = [], b""
        for one in asked.listed:
            missing, unmatched = digests.compare_listed(one, rows)
            changed += missing
            gone += unmatched
        return self._rows(request, base, changed, gone)

    def _split(self, key_range: KeyRange, rows: list[DigestRow]) -> RangeDigests:
        bits = digests.bits_for(len(digests.rows_in(key_range, rows)))
        return digests.parts(key_range, rows, bits if self.bits is None else self.bits)

    def _rows(
        self, request: SyncRequest, base: SyncResponse, changed: list[str], gone: bytes
    ) -> SyncResponse:
        whole = (_whole(self.states[i], self.version) for i in changed)
        fit = _fitting(whole, request.page_max, request, len(gone) * 4 // 3 + 4)
        more = len(fit) < len(changed) or len(gone) > request.bytes_max // 2
        return replace(base, conversations=tuple(fit), has_more=more, gone=b"" if more else gone)


_OTHER_BYTES = 1_500
"""Room in an answer for all but entries and hashes, in the small worlds of these tests."""


def _fitting(
    entries: Iterable[ConversationEntry], most: int, request: SyncRequest, used: int = 0
) -> list[ConversationEntry]:
    fit, room = [], request.bytes_max - _OTHER_BYTES - used
    for one in entries:
        room -= len(msgspec.json.encode(one)) + 1
        if room < 0 or len(fit) == most:
            break
        fit.append(one)
    return fit


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
