"""What must hold always, each law by a checker of its own: DESIGN section 7.

`no lost change` and `no resurrection` are judged when all is quiet, `monotone` at every transaction
of a device, `visible in order` over the index at any moment, `bounded` and `private` at every
answer and record.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from diffusion.oracle import Oracle, compare, resurrects, steps_back
from diffusion.simulation.api import KEY
from diffusion.simulation.cells import Cells
from diffusion.simulation.devices import Device
from diffusion.simulation.log import Topic
from schemas.changes import Change, MessageChange, ModuleChange, ReadChange, StateChange
from schemas.codec import decode_change
from schemas.conversations import is_listed
from schemas.cursor import Cursor, unseal
from schemas.encoding import Format, encode
from schemas.errors import TokenError
from schemas.events import MembersJoined, Message, WriteEvent
from schemas.ids import is_notification
from schemas.limits import CHANGE_RECORD_BYTES_MAX, USERS_PER_CHANGE_MAX
from schemas.protocol import SyncRequest, SyncResponse
from schemas.versions import version_of
from sdk.client.ops import StoreOps

LOST: Final = "no lost change"
RESURRECTED: Final = "no resurrection"
MONOTONE: Final = "monotone"
IN_ORDER: Final = "visible in order"
BOUNDED: Final = "bounded"
PRIVATE: Final = "private"
LAWS: Final = (LOST, RESURRECTED, MONOTONE, IN_ORDER, BOUNDED, PRIVATE)

COLUMNS: Final[tuple[tuple[type[Change], str, str], ...]] = (
    (MessageChange, "message_version", "max_seq"),
    (ReadChange, "read_version", "read_seq"),
    (StateChange, "state_version", ""),
)
"""Where the index says that a change of each kind is there, and up to which sequence."""


QUIET_S: Final = 2 * 3_600.0
"""Within so long after the last fault all that was written must be readable."""


@dataclass
class Laws:
    """Collects what was broken: (law, what was seen)."""

    broken: list[tuple[str, str]] = field(default_factory=list)
    belonged: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """User -> conversations that he was ever a member of."""

    def _break(self, law: str, what: str) -> None:
        self.broken.append((law, what))

    # Private.

    def written(self, event: WriteEvent) -> None:
        """An event reached the log: who may know of what."""
        match event:
            case MembersJoined():
                named = event.user_ids
            case Message():
                named = event.members or ()
            case _:
                return
        for user in named:
            self.belonged[user].add(event.conversation_id)

    def answered(self, user_id: str, request: SyncRequest, answer: SyncResponse) -> None:
        """An answer leaves the API."""
        for entry in answer.conversations:
            if entry.conversation_id not in self.belonged[user_id]:
                self._break(PRIVATE, f"{user_id} is told of {entry.conversation_id}")
            own = entry.own
            if own is not None and not own.member and (entry.max_seq or 0) > own.user_max_seq:
                self._break(PRIVATE, f"{user_id} left, and is told {entry}")
        size = len(encode(answer, Format.JSON))
        if size > request.bytes_max:
            self._break(BOUNDED, f"an answer of {size} bytes, {request.bytes_max} were asked for")
        # A correction is bounded by its bytes alone: what differs is what has to be told.
        most = {"delta": request.changes_max, "full": request.page_max}.get(answer.path)
        if most is not None and len(answer.conversations) > most:
            self._break(BOUNDED, f"{len(answer.conversations)} entries, {most} were asked for")

    def served_a_stranger(self, user_id: str, cursor: str) -> None:
        """A cursor of somebody else was not refused."""
        self._break(PRIVATE, f"{user_id} was answered for the cursor {cursor}")

    # Bounded.

    def appended(self, value: bytes) -> None:
        """A record of the change log."""
        users = len(decode_change(value).users)
        if users > USERS_PER_CHANGE_MAX or len(value) > CHANGE_RECORD_BYTES_MAX:
            self._break(BOUNDED, f"a change record of {users} users and {len(value)} bytes")

    # Monotone.

    def before_apply(self, device: Device, ops: StoreOps) -> None:
        """Look at what the device holds."""
        del ops
        self._held = device.states()
        self._cursor = device.store.load().cursor

    def after_apply(self, device: Device, ops: StoreOps) -> None:
        """Nothing goes back, unless the answer is a reset, which says so."""
        if ops.path != "delta":
            return
        now = device.states()
        for name, held in self._held.items():
            if name in ops.remove:
                continue
            if name not in now:
                self._break(MONOTONE, f"{device.user_id}: {name} vanished")
                continue
            for what in steps_back(held, now[name]):
                self._break(MONOTONE, f"{device.user_id}: {what}")
        was, at = (_cursor(device, one) for one in (self._cursor, device.store.load().cursor))
        if was is not None and (at is None or at.version < was.version):
            self._break(MONOTONE, f"{device.user_id}: the cursor went back")

    # Visible in order.

    def look_at_index(self, cells: Cells, changes: Topic, epoch: int, since_ms: int) -> None:
        """Whether each version below one that is readable is readable, or superseded: by a later
        change of its kind, or one that says as much. Records from before `since_ms` may have
        expired.
        """
        seen: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        newest: defaultdict[str, int] = defaultdict(int)
        for (user, _, conversation_id), row in cells.table("changes_by_user").items():
            for column, value in row.items():
                place = (user, conversation_id, column)
                seen[place] = max(seen[place], value)
            versions = [row.get(column) or 0 for _, column, _ in COLUMNS]
            newest[user] = max(newest[user], *versions)
        for partition in changes.records:
            for offset, record in enumerate(partition):
                if record.at_ms < since_ms:
                    continue
                change, version = decode_change(record.value), version_of(epoch, offset)
                self._superseded(change, version, seen, newest)

    def _superseded(
        self,
        change: Change,
        version: int,
        seen: defaultdict[tuple[str, str, str], int],
        newest: defaultdict[str, int],
    ) -> None:
        if isinstance(change, ModuleChange):
            return
        column, seq = next(rest for kind, *rest in COLUMNS if isinstance(change, kind))
        for user in change.users:
            if newest[user] <= version:
                continue
            name = change.conversation_id
            says_as_much = bool(seq) and seen[user, name, seq] >= getattr(change, seq)
            if seen[user, name, column] < version and not says_as_much:
                self._break(
                    IN_ORDER,
                    f"{user} can read version {newest[user]}, and not {version}: {change}",
                )

    # At the end.

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that has to, within hours."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + QUIET_S
        while not holds():
            if loop.time() > deadline_s:
                self._break(LOST, "what was written is not readable after hours")
                return
            await asyncio.sleep(1.0)

    def never_at_rest(self, device: Device) -> None:
        """A device that is told of news again and again."""
        self._break(LOST, f"{device.device_id} never has nothing new")

    def at_rest(self, device: Device, oracle: Oracle) -> None:
        """All is quiet, and the device has nothing new: it has what a plain replay says."""
        wanted, held = oracle.states(device.user_id), device.states()
        for one in compare(wanted, held):
            law = RESURRECTED if resurrects(one, wanted, held) else LOST
            self._break(law, f"{device.device_id}: {one}")
        for name, state in wanted.items():
            shown = is_listed(state) or is_notification(name)
            seen = device.app.get(name, -1)
            # More than that: somebody who left may have been told of the next message, by a worker
            # that did not know yet.
            if shown and seen < state.max_seq:
                self._break(LOST, f"{device.device_id}: its app saw {name} at {seen}")


def _cursor(device: Device, sealed: str | None) -> Cursor | None:
    if sealed is None:
        return None
    try:
        return unseal(sealed, Cursor, KEY)
    except TokenError as error:
        raise AssertionError(f"{device.device_id} holds a cursor that is none") from error


def first_of(broken: Iterable[tuple[str, str]]) -> str:
    """The first that was broken, in words."""
    law, what = next(iter(broken))
    return f"{law}: {what}"
