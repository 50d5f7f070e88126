"""`diffusion bench connect`: many idle connections on one API process, and how soon they are poked.

Real Kafka and Cassandra, two stream workers and materializers as in the demonstration, all on this
machine, clients and producer in this process: what is measured includes their fight for the cores.
A quarter of the users is measured: each is the recipient of a one-to-one chat, with one write
outstanding at most, since pokes are coalesced; the time is that from the producer's call to the
poke. The others chat among themselves, in pairs and in groups of eight, so that writes come to the
rate that was asked for. Poked clients do not sync, they are idle. In the end a sample of users
syncs over the connection, and must see the last write of each of its conversations.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from diffusion.bench.sockets import Socket
from diffusion.console import Console
from diffusion.demo import own_system
from diffusion.system import System
from diffusion.writing import producer_for
from infra.clock import monotonic_s, now_ms
from infra.files import allow_open_files
from infra.settings import Settings
from schemas import ids
from schemas.errors import PermanentError
from schemas.events import MembersJoined, Message
from schemas.protocol import SyncRequest
from sdk.backend import WriteProducer

GROUP_MEMBERS: Final = 8
"""Groups of so many are always diffused, whatever they cost (`policy.small_members`)."""

PAUSE_S: Final = (1.0, 3.0)
"""A measured user rests so long after a poke: longer than the interval of one second in which he
would not be poked again, which is no latency but a rule."""

WARM_UP_S: Final = 20.0
"""Writes flow for so long before anything is measured: JVMs just started are still compiling."""

TICK_S: Final = 0.01
HANDSHAKES_AT_ONCE: Final = 50
LATE_S: Final = 15.0
"""A poke that has not come so long after the last write is missed."""

USERS_CHECKED: Final = 200
FILES_BESIDE_CONNECTIONS: Final = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """How many connections, for how long, and how many writes a second."""

    connections: int
    seconds: float
    writes: float
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench connect --json` prints. Memory in MB of 2^20 bytes."""

    connections: int
    api_resident_mb: float
    api_peak_mb: float
    api_before_mb: float
    poke_p50_ms: float
    poke_p99_ms: float
    poke_max_ms: float
    writes_per_second: float
    pokes: int
    pokes_measured: int
    pokes_missed: int
    users_checked: int
    users_current: int

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @property
    def good(self) -> bool:
        """Whether no poke was missed, and every user that was looked at is current."""
        return self.pokes_missed == 0 and self.users_current == self.users_checked


def run(settings: Settings, plan: Plan, console: Console) -> Outcome:
    """Run the benchmark; raises `DiffusionError` when something cannot be started or done."""
    wanted = plan.connections + FILES_BESIDE_CONNECTIONS
    if (allowed := allow_open_files(wanted)) < wanted:
        raise PermanentError(
            f"{plan.connections:,} connections need {wanted:,} open files, and {allowed:,} are "
            "allowed: raise the hard limit (`ulimit -Hn`), or ask for fewer."
        )
    room = settings.api.model_copy(
        update={"connections_max": max(plan.connections, settings.api.connections_max)}
    )
    with (
        own_system(settings.model_copy(update={"api": room}), console) as system,
        producer_for(system.settings.kafka) as producer,
    ):
        return asyncio.run(_Bench(system, producer, plan, console).run())


class _Chats:
    """Who is in which conversation, and its last sequence."""

    def __init__(self, users: list[str]) -> None:
        count = len(users) // 4
        self.measured = users[:count]
        self.of: dict[str, list[str]] = {user: [] for user in users}
        self.members: dict[str, tuple[str, ...]] = {}
        self.last: dict[str, int] = {}
        for user in self.measured:
            self._add(ids.one_to_one(user, f"w{user}"), (f"w{user}", user))
        for pair in _batches(users[count:], 2):
            if len(pair) == 2:
                self._add(ids.one_to_one(*pair), pair)
        for number, group in enumerate(_batches(users[count:], GROUP_MEMBERS)):
            self._add(ids.group(f"bench{number}"), group)
        self.others = [cid for cid in self.members if cid not in self._chats_of(self.measured)]

    def _add(self, conversation_id: str, members: tuple[str, ...]) -> None:
        self.members[conversation_id] = members
        self.last[conversation_id] = 0
        for user in members:
            if user in self.of:
                self.of[user].append(conversation_id)

    def _chats_of(self, users: list[str]) -> set[str]:
        return {cid for user in users for cid in self.of[user]}

    def beginning(self) -> Iterator[MembersJoined]:
        """What must be told before the first message of a group."""
        for conversation_id, members in self.members.items():
            if not conversation_id.startswith("si_"):
                yield MembersJoined(conversation_id, members, 0, now_ms())

    def message(self, conversation_id: str, sender: str) -> Message:
        """The next message of a conversation."""
        self.last[conversation_id] += 1
        members = self.members[conversation_id]
        named = members if conversation_id.startswith("si_") else None
        return Message(conversation_id, self.last[conversation_id], sender, now_ms(), named)


def _batches(users: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(users), size):
        yield tuple(users[start : start + size])


class _Bench:
    def __init__(
        self, system: System, producer: WriteProducer, plan: Plan, console: Console
    ) -> None:
        self._system = system
        self._producer = producer
        self._plan = plan
        self._console = console
        self._random = random.Random(plan.seed)  # noqa: S311  # draws chats
        self._users = [f"u{number:05}" for number in range(plan.connections)]
        self._chats = _Chats(self._users)
        self._sockets: dict[str, Socket] = {}
        self._cursors: dict[str, str | None] = {}
        self._since: dict[str, float] = {}
        self._rests: list[tuple[float, str]] = []
        self._latencies: list[float] = []
        self._pokes = 0
        self._measured_from_s = math.inf

    async def run(self) -> Outcome:
        say, chats = self._console.say, self._chats
        for joined in chats.beginning():
            self._producer.send(joined)
        for conversation_id, members in chats.members.items():
            self._producer.send(chats.message(conversation_id, members[0]))
        await self._quiet()
        before_mb = self._resident_mb("VmRSS")
        await self._connect()
        say(f"{len(self._sockets):,} connections stand: {self._resident_mb('VmRSS'):.0f} MB")
        checked = self._random.sample(self._users, min(USERS_CHECKED, len(self._users)))
        for user in checked:
            await self._sync(user)
        written, seconds = await self._write()
        resident_mb = self._resident_mb("VmRSS")
        missed = await self._late()
        await self._quiet()
        current = 0
        for user in checked:
            current += await self._is_current(user)
        standing = sum(socket.stands for socket in self._sockets.values())
        found = sorted(self._latencies) or [0.0]
        outcome = Outcome(
            connections=standing,
            api_resident_mb=round(resident_mb, 1),
            api_peak_mb=round(self._resident_mb("VmHWM"), 1),
            api_before_mb=round(before_mb, 1),
            poke_p50_ms=round(found[len(found) // 2] * 1_000, 1),
            poke_p99_ms=round(found[int(len(found) * 0.99)] * 1_000, 1),
            poke_max_ms=round(found[-1] * 1_000, 1),
            writes_per_second=round(written / seconds, 1),
            pokes=self._pokes,
            pokes_measured=len(self._latencies),
            pokes_missed=missed,
            users_checked=len(checked),
            users_current=current,
        )
        for socket in self._sockets.values():
            socket.close()
        return outcome

    async def _connect(self) -> None:
        api = self._system.settings.api
        with self._console.progress("connecting", len(self._users)) as update:
            for users in _batches(self._users, HANDSHAKES_AT_ONCE):
                opening = [
                    Socket.open(api.host, api.port, self._system.token(user), self._poked(user))
                    for user in users
                ]
                self._sockets |= zip(users, await asyncio.gather(*opening), strict=True)
                update(advance=len(users))

    async def _write(self) -> tuple[int, float]:
        """Write at the rate asked for; returns how many there were, in how many seconds."""
        self._rests = [
            (monotonic_s() + self._random.uniform(*PAUSE_S), user) for user in self._chats.measured
        ]
        heapq.heapify(self._rests)
        started = monotonic_s()
        self._measured_from_s = started + WARM_UP_S
        until_s = WARM_UP_S + self._plan.seconds
        written = 0
        with self._console.progress("writing", int(until_s)) as update:
            while (passed_s := monotonic_s() - started) < until_s:
                due = int(passed_s * self._plan.writes) - written
                for _ in range(due):
                    self._write_one()
                written += due
                update(completed=int(passed_s))
                await asyncio.sleep(TICK_S)
        return written, monotonic_s() - started

    def _write_one(self) -> None:
        now_s = monotonic_s()
        chats = self._chats
        if self._rests and self._rests[0][0] <= now_s:
            _, user = heapq.heappop(self._rests)
            event = chats.message(chats.of[user][0], f"w{user}")
            self._since[user] = monotonic_s()
            self._producer.send(event)
            return
        if chats.others:
            conversation_id = self._random.choice(chats.others)
            sender = self._random.choice(chats.members[conversation_id])
            self._producer.send(chats.message(conversation_id, sender))

    def _poked(self, user: str) -> Callable[[], None]:
        def on_poke() -> None:
            now_s = monotonic_s()
            self._pokes += now_s >= self._measured_from_s
            since_s = self._since.pop(user, None)
            if since_s is not None:
                if since_s >= self._measured_from_s:
                    self._latencies.append(now_s - since_s)
                heapq.heappush(self._rests, (now_s + self._random.uniform(*PAUSE_S), user))

        return on_poke

    async def _late(self) -> int:
        """Wait for the pokes that are on their way; returns how many did not come."""
        for _ in range(int(LATE_S / TICK_S)):
            if not self._since:
                break
            await asyncio.sleep(TICK_S)
        return len(self._since)

    async def _sync(self, user: str) -> dict[str, int]:
        """Sync over the connection; returns the sequences that were told."""
        told: dict[str, int] = {}
        page: str | None = None
        more = True
        while more:
            request = SyncRequest("bench", cursor=self._cursors.get(user), page=page)
            answer = await self._sockets[user].sync(request)
            for entry in answer.conversations:
                told[entry.conversation_id] = entry.max_seq or 0
            self._cursors[user] = answer.cursor or self._cursors.get(user)
            page = answer.page
            more = answer.has_more or page is not None
        return told

    async def _is_current(self, user: str) -> bool:
        """Whether a delta tells the last write of each conversation that was written since."""
        told = await self._sync(user)
        last = self._chats.last
        return all(
            told.get(cid, 1) == last[cid] and (cid in told or last[cid] == 1)
            for cid in self._chats.of[user]
        )

    async def _quiet(self) -> None:
        self._producer.flush()
        await asyncio.to_thread(self._system.wait_quiet)

    def _resident_mb(self, name: str) -> float:
        path = Path(f"/proc/{self._system.processes.pid('api')}/status")
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1_024
        raise PermanentError(f"{path} does not tell {name}: this benchmark needs Linux.")
