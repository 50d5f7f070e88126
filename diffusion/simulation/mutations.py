"""Faults that are planted on purpose, to show that each law is looked at: `none` plants none.

Each makes the real code wrong at one place, as a careless change would, and names the laws of which
one must be found broken (`CAUGHT_BY`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from diffusion.simulation import store as modelled
from diffusion.simulation.cells import Bound, Cells
from diffusion.simulation.laws import BOUNDED, IN_ORDER, LOST, MONOTONE, PRIVATE, RESURRECTED
from diffusion.simulation.materializer import MaterializerProcess
from diffusion.simulation.processes import Died
from diffusion.simulation.stream_worker import StreamWorker
from schemas import protocol
from schemas.changes import Deletion, StateChange
from sdk.client import apply as device_apply
from sdk.client.store import Store as DeviceStore
from streams import diffusion as stream_diffusion
from streams.cache import ConversationCache
from streams.diffusion import Diffusion
from streams.effects import Effects
from streams.sink import Sink
from syncapi import delta, full, planner, snapshot

Mutation: TypeAlias = Callable[[random.Random], AbstractContextManager[None]]
"""Makes a world wrong in one way, for as long as it is entered; draws from what it is given."""

ANYBODY: Final = b"\0" * 8
"""In place of whose a cursor is."""

HALFWAY_SHARE: Final = 0.2
"""Transactions of a device that end halfway, where a mutation lets them."""


@contextmanager
def _instead(*changed: tuple[Any, str, Any]) -> Iterator[None]:
    """Have something else under a name, and then again what was there."""
    with ExitStack() as stack:
        for where, name, what in changed:
            stack.callback(setattr, where, name, getattr(where, name))
            setattr(where, name, what)
        yield


def none(_: random.Random) -> AbstractContextManager[None]:
    """Leave everything as it is."""
    return _instead()


def records_acknowledged_before_their_effects(_: random.Random) -> AbstractContextManager[None]:
    """Faust's own way: acknowledged when taken."""
    real = StreamWorker.finish

    async def finish(self: StreamWorker, topic: Any, taken: Any, pipeline: Any) -> None:
        self.acknowledge(topic, taken)
        await real(self, topic, taken, pipeline)

    return _instead((StreamWorker, "finish", finish))


def offsets_committed_before_rows(_: random.Random) -> AbstractContextManager[None]:
    """What `enable.auto.commit` does."""
    real = MaterializerProcess.finish

    async def finish(
        self: MaterializerProcess, topic: Any, taken: Any, real_one: Any, commits: Any
    ) -> None:
        self.group.commit(self.name, {(topic.name, place): at + 1 for place, at in taken})
        await real(self, topic, taken, real_one, commits)

    return _instead((MaterializerProcess, "finish", finish))


def later_batch_first(_: random.Random) -> AbstractContextManager[None]:
    """Two batches under way at once: the later one is readable before the earlier."""
    real = MaterializerProcess.finish

    async def finish(
        self: MaterializerProcess, topic: Any, taken: Any, real_one: Any, commits: Any
    ) -> None:
        half = len(taken) // 2
        for some in (taken[half:], taken[:half]):
            if some:
                await real(self, topic, some, real_one, commits)

    return _instead((MaterializerProcess, "finish", finish))


def rows_of_a_user_one_by_one(_: random.Random) -> AbstractContextManager[None]:
    """The rows of a user are not one batch of Cassandra's, and readable in any order."""
    real = modelled.pieces_of

    def pieces_of(statements: Any) -> Iterator[list[Any]]:
        for piece in real(statements):
            yield from ([one] for one in piece)

    return _instead((modelled, "pieces_of", pieces_of))


BUSY_S: Final = 5.0
"""What a write may take before it is given up and tried again."""


def changes_before_heads(rng: random.Random) -> AbstractContextManager[None]:
    """The index may point at state that is not there yet, for as long as a busy Cassandra takes."""

    async def apply(self: Sink, effects: Effects, dead: Sequence[Any]) -> None:
        self._deliver(effects, dead)
        await asyncio.sleep(rng.expovariate(1 / BUSY_S))
        await self._write(self._before(effects))
        await self._write(self._after(effects))
        await self._write([one for head in effects.closed.values() for one in self._mode(head)])

    return _instead((Sink, "apply", apply))


def members_before_changes(_: random.Random) -> AbstractContextManager[None]:
    """A replay finds who belongs after the batch, and tells nobody who left in it."""

    async def apply(self: Sink, effects: Effects, dead: Sequence[Any]) -> None:
        await self._write(self._before(effects))
        await self._write(self._after(effects))
        self._deliver(effects, dead)
        await self._write([one for head in effects.closed.values() for one in self._mode(head)])

    return _instead((Sink, "apply", apply))


def switch_without_a_fence(_: random.Random) -> AbstractContextManager[None]:
    """Members are not told that their conversation is looked up from now on."""
    real = Diffusion._to

    def to(self: Diffusion, users: Any, make: Any) -> None:
        probe = make(("someone",))
        if isinstance(probe, StateChange) and probe.read_side is not None:
            return
        real(self, users, make)

    return _instead((Diffusion, "_to", to))


def switch_closed_before_its_fence(_: random.Random) -> AbstractContextManager[None]:
    """READ and WRITE are persisted before members are told: after a crash between the two nobody
    tells them, for the switch is done.
    """
    real = Sink._before

    def before(self: Sink, effects: Effects) -> Any:
        closed = [one for head in effects.closed.values() for one in self._mode(head)]
        return [*real(self, effects), *closed]

    return _instead((Sink, "_before", before))


def cache_kept_over_a_rebalance(_: random.Random) -> AbstractContextManager[None]:
    """What another worker changed meanwhile is not seen."""
    return _instead((ConversationCache, "drop", lambda _self: None))


def last_writer_wins(_: random.Random) -> AbstractContextManager[None]:
    """What is told of a conversation is stamped by when it is written, and not by what it says. Not
    so the index, which would go back in every world, and hide what else does.
    """
    real = Cells.apply

    def merged(_self: Any, _held: Any, new: Any) -> Any:
        return new

    def apply(self: Cells, statement: Bound) -> None:
        if "changes_by_user" in statement.cql:
            real(self, statement)
            return
        with _instead((Cells, "_merged", merged)):
            real(self, statement)

    return _instead((Cells, "apply", apply))


def deletion_one_short(_: random.Random) -> AbstractContextManager[None]:
    """A conversation is deleted up to the message before the last one."""

    def short(seq: int, at_ms: int) -> Deletion:
        return Deletion(seq - 1, at_ms)

    return _instead((stream_diffusion, "Deletion", short))


def cursor_before_rows(rng: random.Random) -> AbstractContextManager[None]:
    """A device stores its cursor in a transaction of its own, and may die between the two."""
    real = DeviceStore.apply

    def apply(self: DeviceStore, ops: Any, now_ms: int) -> Any:
        if rng.random() < HALFWAY_SHARE:
            real(self, replace(ops, entries=(), pinned=None, remove=()), now_ms)
            raise Died
        return real(self, ops, now_ms)

    return _instead((DeviceStore, "apply", apply))


def rows_without_the_queue(rng: random.Random) -> AbstractContextManager[None]:
    """A device puts what changed into the queue after its transaction, and may die before."""
    real = device_apply._write_conversations

    def write(db: Any, ops: Any) -> Any:
        changes = real(db, ops)
        return [] if rng.random() < HALFWAY_SHARE else changes

    return _instead((device_apply, "_write_conversations", write))


def entries_replace_what_is_held(_: random.Random) -> AbstractContextManager[None]:
    """A device believes whatever a delta says, and not the greatest sequence."""

    def merge(held: Any, entry: Any) -> Any:
        merged = protocol.merge(held, entry)
        return replace(
            merged,
            max_seq=merged.max_seq if entry.max_seq is None else entry.max_seq,
            read_seq=merged.read_seq if entry.read_seq is None else entry.read_seq,
        )

    return _instead((device_apply, "merge", merge))


def cursors_not_bound_to_users(_: random.Random) -> AbstractContextManager[None]:
    """A cursor of anybody is as good as one's own."""

    def digest(_user: str) -> bytes:
        return ANYBODY

    return _instead((planner, "user_digest", digest), (full, "user_digest", digest))


def who_left_sees_more(_: random.Random) -> AbstractContextManager[None]:
    """What happened after somebody left is told to him."""

    def visible(head: Any, _own: Any) -> tuple[int, int]:
        return (0, 0) if head is None else (head.max_seq, head.active_at_ms)

    return _instead((delta, "visible", visible), (snapshot, "visible", visible))


def limits_of_an_answer_forgotten(_: random.Random) -> AbstractContextManager[None]:
    """A page of a delta takes as many as there are."""
    real = delta.page

    def page(todo: Any, heads: Any, _most: int, room: Any) -> Any:
        return real(todo, heads, 10**6, room)

    return _instead((delta, "page", page))


MUTATIONS: Final[Mapping[str, Mutation]] = {"none": none} | {
    mutation.__name__.replace("_", "-"): mutation
    for mutation in (
        records_acknowledged_before_their_effects,
        offsets_committed_before_rows,
        later_batch_first,
        rows_of_a_user_one_by_one,
        changes_before_heads,
        members_before_changes,
        switch_without_a_fence,
        switch_closed_before_its_fence,
        cache_kept_over_a_rebalance,
        last_writer_wins,
        deletion_one_short,
        cursor_before_rows,
        rows_without_the_queue,
        entries_replace_what_is_held,
        cursors_not_bound_to_users,
        who_left_sees_more,
        limits_of_an_answer_forgotten,
    )
}
"""By the name that `diffusion simulate --mutation` takes."""

CAUGHT_BY: Final[Mapping[str, frozenset[str]]] = {
    "cache-kept-over-a-rebalance": frozenset({LOST, PRIVATE}),
    "deletion-one-short": frozenset({RESURRECTED}),
    "later-batch-first": frozenset({IN_ORDER}),
    "rows-of-a-user-one-by-one": frozenset({IN_ORDER}),
    "entries-replace-what-is-held": frozenset({MONOTONE}),
    "cursors-not-bound-to-users": frozenset({PRIVATE}),
    "who-left-sees-more": frozenset({PRIVATE}),
    "limits-of-an-answer-forgotten": frozenset({BOUNDED}),
}
"""The law that must be found broken; where nothing is said, `LOST`."""


def law_of(mutation: str) -> frozenset[str]:
    """The laws of which a mutation must break one."""
    return CAUGHT_BY.get(mutation, frozenset({LOST}))
