"""What passes between session and store: where the store stands, and what it has to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.protocol import ConversationEntry, ModuleEntry, ResetReason


@dataclass(frozen=True, slots=True)
class StoredState:
    """Where the store stands: `generation` counts full corrections begun, `revision` answers."""

    cursor: str | None = None
    page: str | None = None
    generation: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOps:
    """What one transaction has to do: all of it, or nothing.

    - refuse, unless the store stands at `revision`;
    - if `forget`, drop everything of the user the store held until now;
    - if there is a `reset`, have the modules fetched anew;
    - write the entries with `generation`; if `replace`, they replace what older generations said;
    - enqueue what changed;
    - if `remove_older`, drop the rows of older generations;
    - store `after`.
    """

    revision: int
    after: StoredState
    entries: tuple[ConversationEntry, ...]
    modules: tuple[ModuleEntry, ...]
    replace: bool
    remove_older: bool
    forget: bool
    reset: ResetReason | None

    @property
    def generation(self) -> int:
        """Generation of the rows that the transaction writes."""
        return self.after.generation
