"""What a client does without the network: the list, the pending queue, drafts.

Every method is one short look at the store, or one transaction, and may be called from any thread.
The blocking and the asynchronous client share them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from schemas import limits as contract
from schemas.conversations import ConversationState
from sdk.client import limits
from sdk.client.pending import PendingEntry, PendingItem
from sdk.client.rows import ConversationView
from sdk.client.setup import Setup


class LocalClient:
    """The conversations of one user on one device, as they are here."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._store = setup.store

    @property
    def user_id(self) -> str | None:
        """Whose conversations these are; None until the first token, if only that says it."""
        return self._store.user_id

    @property
    def device_id(self) -> str:
        """What names this device to the server."""
        return self._store.device_id

    def pending(self, limit: int = limits.PENDING_DEFAULT) -> list[PendingEntry]:
        """Claim conversations to process: pinned first, then the most recently active.

        They are yours for the time of a lease; then each comes again, unless it was given to `ack`
        or `retry`. So an entry may be processed twice (the process died between processing and
        `ack`), and is never skipped.

        >>> for entry in client.pending(limit=20):
        ...     try:
        ...         pull_messages(entry.conversation_id)
        ...     except OSError as error:
        ...         client.retry(entry, error)
        ...     else:
        ...         assert client.ack(entry)
        pulled sg_hikers
        pulled si_ann_bob
        >>> client.pending()
        []
        """
        check_range("limit", limit, limits.PENDING_MAX)
        return self._store.pending(limit, self._setup.clock(), self._setup.lease_ms)

    def pending_count(self) -> int:
        """Count the conversations that are not processed: due, waiting after a failure, or claimed.

        >>> client.pending_count()
        2
        """
        return self._store.pending_count()

    def failing(self, limit: int = limits.PENDING_DEFAULT) -> list[PendingEntry]:
        """Look at conversations whose processing failed, those that failed most often first.

        >>> (entry,) = client.pending(limit=1)
        >>> client.retry(entry, "no space left")
        >>> [(entry.conversation_id, entry.last_error) for entry in client.failing()]
        [('sg_hikers', 'no space left')]
        """
        check_range("limit", limit, limits.PENDING_MAX)
        return self._store.failing(limit)

    def pending_items(self, limit: int = limits.PENDING_DEFAULT) -> list[PendingItem]:
        """Claim changed items of user modules, in the order in which they changed.

        One whose `op` is `refresh` asks to fetch a module, or all, anew; see `PendingItem`.
        """
        check_range("limit", limit, limits.PENDING_MAX)
        return self._store.pending_items(limit, self._setup.clock(), self._setup.lease_ms)

    def ack(self, entry: PendingEntry | PendingItem) -> bool:
        """Say that an entry was processed; False: it changed meanwhile and stays, or is gone."""
        return self._store.ack(entry)

    def retry(self, entry: PendingEntry | PendingItem, error: BaseException | str) -> None:
        """Say that processing failed; the entry is due again after a pause that grows."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self._store.retry(entry, text, self._setup.clock(), self._setup.rng.random())

    @contextlib.contextmanager
    def processing(self, entry: PendingEntry | PendingItem) -> Iterator[None]:
        """Acknowledge when the block ends, or have the entry come again when it raises.

        An `Exception` of the block is kept with the entry and goes no further, so that one
        conversation that cannot be processed does not keep the others waiting.

        >>> (entry,) = client.pending(limit=1)
        >>> with client.processing(entry):
        ...     raise OSError("no space left")
        >>> [other.conversation_id for other in client.pending()]
        ['si_ann_bob']
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 (whatever it is, it is kept with the entry)
            self.retry(entry, error)
        else:
            self.ack(entry)

    def conversations(
        self,
        limit: int = limits.CONVERSATIONS_DEFAULT,
        after: ConversationView | None = None,
    ) -> list[ConversationView]:
        """Read the list: pinned first, then by activity, the newest first, then by id.

        `after` is the last row of the page before; rows that moved meanwhile may come twice or not.

        >>> page = client.conversations(limit=1)
        >>> [view.conversation_id for view in page]
        ['sg_hikers']
        >>> [view.conversation_id for view in client.conversations(limit=1, after=page[-1])]
        ['si_ann_bob']
        """
        check_range("limit", limit, limits.CONVERSATIONS_MAX)
        return self._store.conversations(limit, after)

    def conversation(self, conversation_id: str) -> ConversationView | None:
        """Read one conversation, also one that is not listed; None if it is not known.

        >>> client.conversation("sg_hikers").last_seq
        3
        """
        return self._store.conversation(conversation_id)

    def unread_total(self) -> int:
        """Count unread messages for a badge: of listed conversations that are not muted.

        A muted conversation shows its own count, but does not ask for attention.

        >>> client.unread_total()
        3
        """
        return self._store.unread_total()

    def set_draft(self, conversation_id: str, text: str) -> None:
        """Keep the text that the user began to write; the empty text removes it.

        It never leaves the device, and no sync touches it.

        >>> client.set_draft("si_ann_bob", "see you at")
        >>> client.conversation("si_ann_bob").draft
        'see you at'
        """
        check_length("conversation_id", conversation_id, contract.CONVERSATION_ID_CHARS_MAX)
        if len(text) > limits.DRAFT_CHARS_MAX:
            raise ValueError(f"a draft has at most {limits.DRAFT_CHARS_MAX:,} characters")
        self._store.set_draft(conversation_id, text, self._setup.clock())

    def state(self) -> dict[str, ConversationState]:
        """Read the state of every conversation, listed or not, by id: for checks and exports."""
        return {state.conversation_id: state for state in self._store.states()}

    def _claim_one(self) -> tuple[PendingEntry | PendingItem | None, float]:
        """Claim one; or else, how many seconds to sleep if nothing comes meanwhile."""
        claimed = self.pending(1) or self.pending_items(1)
        if claimed:
            return claimed[0], 0
        now_ms = self._setup.clock()
        due_ms = self._store.next_due_ms(now_ms)
        if due_ms is None:
            return None, limits.LOOK_AGAIN_S
        return None, min(limits.LOOK_AGAIN_S, max(0, due_ms - now_ms) / 1_000)


def check_length(name: str, value: str, chars_max: int) -> None:
    """Raise `ValueError` for a text that is empty or too long."""
    if not 0 < len(value) <= chars_max:
        raise ValueError(f"{name} must have 1 to {chars_max:,} characters, not {len(value):,}")


def check_range(name: str, value: float, most: float, *, least: float = 1) -> None:
    """Raise `ValueError` for a number out of its bounds, both inclusive."""
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least:,} to {most:,}, not {value:,}")
