"""The client that an app embeds: a thin shell that joins session, transport and store.

No decision about the sync is made here; those are in `sdk.client.course`. The shell reads the
clock, draws the jitter, and lets one sync run at a time. All methods may be called from any thread;
reading the list does not wait for a sync that waits for the network.

    with SyncClient("https://im.example", user_id="u1", token=token, device_id="phone") as client:
        client.sync()
        for entry in client.pending():
            try:
                pull_messages(entry.conversation_id)
            except OSError as error:
                client.retry(entry, error)
            else:
                client.ack(entry)
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from schemas import limits as contract
from schemas.conversations import ConversationState
from sdk.client import limits
from sdk.client.course import SyncCourse
from sdk.client.errors import ClientError
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.report import SyncReport, Tally
from sdk.client.rows import ConversationView
from sdk.client.store import Store
from sdk.client.transport import HttpTransport, Transport


def wall_clock_ms() -> int:
    """Milliseconds since 1970 by the clock of the device."""
    return time.time_ns() // 1_000_000


class SyncClient:
    """The conversations of one user on one device.

    `token` is the bearer token, or a function that gives the present one. `store` is a file, made
    when absent, of this user only, or `:memory:`. `transport` replaces HTTP (then `url` and `token`
    are not used, and closing it is the caller's). `clock` gives milliseconds since 1970, `rng` the
    jitter of retries. `bytes_max` is the most that one answer may have, before compression.

    Raises `StoreOwnerError` when the store is another user's, and other `StoreError`s.
    """

    def __init__(  # noqa: PLR0913 (one name for each thing an app may choose; all but one by name)
        self,
        url: str = "",
        *,
        user_id: str,
        device_id: str,
        token: str | Callable[[], str] = "",
        store: str | os.PathLike[str] = "im.db",
        transport: Transport | None = None,
        clock: Callable[[], int] = wall_clock_ms,
        rng: random.Random | None = None,
        changes_max: int = contract.CHANGES_PER_ANSWER_DEFAULT,
        page_max: int = contract.CONVERSATIONS_PER_PAGE_DEFAULT,
        bytes_max: int = contract.ANSWER_BYTES_DEFAULT,
    ) -> None:
        _check_length("user_id", user_id, contract.USER_ID_CHARS_MAX)
        _check_length("device_id", device_id, contract.DEVICE_ID_CHARS_MAX)
        _check_range("changes_max", changes_max, contract.CHANGES_PER_ANSWER_MAX)
        _check_range("page_max", page_max, contract.CONVERSATIONS_PER_PAGE_MAX)
        least, most = contract.ANSWER_BYTES_MIN, contract.ANSWER_BYTES_MAX
        _check_range("bytes_max", bytes_max, most, least=least)
        self._device_id = device_id
        self._changes_max = changes_max
        self._page_max = page_max
        self._bytes_max = bytes_max
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 (spreads retries, keeps no secret)
        self._own_transport = transport is None
        self._transport = HttpTransport(url, token) if transport is None else transport
        self._store = Store(store, user_id, device_id)
        self._syncing = threading.Lock()

    def __enter__(self) -> Self:
        """Use the client; it is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close store and connection, after a sync that is under way. Nothing is left to save."""
        with self._syncing:
            if self._own_transport:
                self._transport.close()
            self._store.close()

    def sync(self, *, full: bool = False, verify: bool = False) -> SyncReport:
        """Bring the store up to date; one at a time, a second caller waits for the first.

        `verify` compares all that is held with what the server has, and corrects what differs: for
        a list that looks wrong, or a store that may be damaged. It reads every conversation, and
        costs 16 bytes if nothing differs. `full` asks for everything anew. Raises `ClientError`:
        what answers brought before it is stored, and the next call continues there.
        """
        with self._syncing:
            return self._sync(fresh=full, verify=verify)

    def pending(self, limit: int = limits.PENDING_DEFAULT) -> list[PendingEntry]:
        """Claim conversations to process: pinned first, then the most recently active.

        The same entries come again until each was given to `ack` or `retry`.
        """
        _check_range("limit", limit, limits.PENDING_MAX)
        return self._store.pending(limit, self._clock())

    def pending_items(self, limit: int = limits.PENDING_DEFAULT) -> list[PendingItem]:
        """Claim changed items of user modules, in the order in which they changed.

        One whose `op` is `refresh` asks to fetch a module, or all, anew; see `PendingItem`.
        """
        _check_range("limit", limit, limits.PENDING_MAX)
        return self._store.pending_items(limit, self._clock())

    def ack(self, entry: PendingEntry | PendingItem) -> bool:
        """Say that an entry was processed; False: it changed meanwhile and stays, or is gone."""
        return self._store.ack(entry)

    def retry(self, entry: PendingEntry | PendingItem, error: BaseException | str) -> None:
        """Say that processing failed; the entry is due again after a pause that grows."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self._store.retry(entry, text, self._clock(), self._rng.random())

    def conversations(
        self,
        limit: int = limits.CONVERSATIONS_DEFAULT,
        after: ConversationView | None = None,
    ) -> list[ConversationView]:
        """Read the list: pinned first, then by activity, the newest first, then by id.

        `after` is the last row of the page before; rows that moved meanwhile may come twice or not.
        """
        _check_range("limit", limit, limits.CONVERSATIONS_MAX)
        return self._store.conversations(limit, after)

    def conversation(self, conversation_id: str) -> ConversationView | None:
        """Read one conversation, also one that is not listed; None if it is not known."""
        return self._store.conversation(conversation_id)

    def unread_total(self) -> int:
        """Count unread messages for a badge: of listed conversations that are not muted.

        A muted conversation shows its own count, but does not ask for attention.
        """
        return self._store.unread_total()

    def set_draft(self, conversation_id: str, text: str) -> None:
        """Keep the text that the user began to write; the empty text removes it.

        It never leaves the device, and no sync touches it.
        """
        _check_length("conversation_id", conversation_id, contract.CONVERSATION_ID_CHARS_MAX)
        if len(text) > limits.DRAFT_CHARS_MAX:
            raise ValueError(f"a draft has at most {limits.DRAFT_CHARS_MAX:,} characters")
        self._store.set_draft(conversation_id, text, self._clock())

    def state(self) -> dict[str, ConversationState]:
        """Read the state of every conversation, listed or not, by id: for checks and exports."""
        return {state.conversation_id: state for state in self._store.states()}

    def _sync(self, *, fresh: bool, verify: bool) -> SyncReport:
        tally = Tally(self._transport.traffic, self._clock())
        session = SyncCourse(
            self._store.load(),
            self._device_id,
            fresh=fresh,
            verify=self._store.states if verify else None,
            changes_max=self._changes_max,
            page_max=self._page_max,
            bytes_max=self._bytes_max,
        )
        while (request := session.next_request()) is not None:
            # Killed here: the store says what to ask, as before this sync.
            try:
                response = self._transport.send(request)
            except ClientError as error:
                if session.failed(error):
                    continue
                raise
            # Killed here: the answer never came. The server keeps nothing for this device, so the
            # same request gets the same news again.
            ops = session.receive(response)
            applied = self._store.apply(ops, self._clock())
            # Killed here: the answer is stored with its cursor or page token and its pending
            # entries; the next sync goes on after it. Inside `apply`: see `sdk.client.store`.
            tally.count(ops, applied)
        return tally.report(self._transport.traffic, self._clock())


def _check_length(name: str, value: str, chars_max: int) -> None:
    if not 0 < len(value) <= chars_max:
        raise ValueError(f"{name} must have 1 to {chars_max:,} characters, not {len(value):,}")


def _check_range(name: str, value: int, most: int, *, least: int = 1) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least:,} to {most:,}, not {value:,}")
