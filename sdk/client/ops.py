"""What passes between course and store: where the store stands, and what it has to do. Pure."""

from __future__ import annotations

from msgspec import Struct

from schemas.protocol import AnswerPath, ConversationEntry, ModuleEntry


class StoredState(Struct, frozen=True):
    """Where the store stands: `generation` counts answers that replace rows, `revision` answers.

    `reason` says why the full correction that is under way, or the last one, was begun (a value of
    `schemas.protocol.Reason`), and `total` how many conversations the server said there are.
    `done` counts the conversations that its pages have named. The last two are kept by the store,
    by the clock of the device, which may be wrong: when the last full correction was begun, and
    when all that is held was last seen to be the server's.
    """

    cursor: str | None = None
    page: str | None = None
    generation: int = 0
    revision: int = 0
    reason: str | None = None
    total: int | None = None
    done: int = 0
    full_at_ms: int | None = None
    verified_at_ms: int | None = None


class StoreOps(Struct, frozen=True, kw_only=True):
    """What one transaction has to do: all of it, or nothing.

    - refuse, unless the store stands at `revision`;
    - if `forget`, drop everything of the user the store held until now;
    - have the modules of `module_resets` fetched anew;
    - write the entries with `generation`; if they `replace`, what older generations said is void;
    - if there is a list `pinned`, pin the conversations in it, and unpin the others;
    - remove the conversations of `remove`;
    - enqueue what changed;
    - if `remove_older`, drop the rows of older generations: everything is now the server's;
    - store `after`; if a full correction `begins`, the time, too.
    """

    revision: int
    after: StoredState
    path: AnswerPath
    entries: tuple[ConversationEntry, ...] = ()
    modules: tuple[ModuleEntry, ...] = ()
    module_resets: tuple[str, ...] = ()
    pinned: tuple[str, ...] | None = None
    remove: tuple[str, ...] = ()
    begins: bool = False
    remove_older: bool = False
    forget: bool = False

    @property
    def generation(self) -> int:
        """Generation of the rows that the transaction writes."""
        return self.after.generation

    @property
    def replace(self) -> bool:
        """Say whether entries tell all of a row: those of a delta tell what changed."""
        return self.path != "delta"

    @property
    def is_news(self) -> bool:
        """Say whether the answer told anything."""
        told = self.entries or self.modules or self.module_resets or self.remove
        return bool(told) or self.pinned is not None


class Applied(Struct, frozen=True):
    """What a transaction did: entries put into the queue, and conversations that are gone."""

    enqueued: int
    removed: int
