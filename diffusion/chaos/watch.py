"""Who looks on: probes that measure how long nothing comes through, devices that come and go, and
devices that follow live.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Self

from diffusion import verify
from diffusion.chaos.load import Probe, Writer
from diffusion.chaos.plan import Fault, Kind
from diffusion.oracle import Oracle, compare, resurrects, steps_back
from diffusion.system import System
from infra.clock import monotonic_s
from schemas.errors import DiffusionError
from sdk.client import SyncClient

LOOK_S: Final = 0.25
"""Between two looks of each probe."""

WRITE_S: Final = 1.0
"""Between two messages of each probe."""

WANDERERS: Final = 60
"""Devices that sync now and then, whatever happens."""

FOLLOWERS: Final = 8
"""Devices that follow over the persistent connection all the time."""

WANDER_S: Final = 0.3
"""Between two syncs, of one device after the other."""

FOLLOW_PATIENCE_S: Final = 90.0
"""A device that follows has all news by itself within so long after the end: its longest wait
between two attempts, and a sync."""


@dataclass(slots=True)
class _Recovery:
    kind: Kind
    since_s: float
    wanted: list[int]


class Probes:
    """Writes and reads probes from `with` until its end."""

    def __init__(
        self, system: System, writer: Writer, probes: Sequence[Probe], calm: Callable[[], bool]
    ) -> None:
        self._writer = writer
        self._probes = probes
        self._calm = calm
        self._devices = verify.Devices(system)
        self._lock = threading.Lock()
        self._open: list[_Recovery] = []
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"chaos-{run.__name__}")
            for run in (self._write, self._read)
        ]
        self.recovered_s: dict[Kind, list[float]] = {}
        self.longest_stall_s = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def ended(self, fault: Fault) -> None:
        """A fault ended: what is written from now on is to come through soon."""
        with self._lock:
            wanted = [probe.written + 1 for probe in self._probes]
            self._open.append(_Recovery(fault.kind, monotonic_s(), wanted))

    def settled(self) -> bool:
        """Whether everything came through after every fault."""
        with self._lock:
            return not self._open

    def _write(self) -> None:
        while not self._ending.wait(WRITE_S):
            for probe in self._probes:
                with self._lock:
                    message = probe.next()
                self._writer.write(message)

    def _read(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(self._devices)
            clients = [
                stack.enter_context(self._devices.make(probe.user_id, "probe"))
                for probe in self._probes
            ]
            last_s = monotonic_s()
            while not self._ending.wait(LOOK_S):
                asked = zip(clients, self._probes, strict=True)
                told = [_told(client, probe) for client, probe in asked]
                now_s = monotonic_s()
                self._note(told, now_s - last_s if self._calm() else 0.0, now_s)
                last_s = now_s

    def _note(self, told: list[int], calm_s: float, now_s: float) -> None:
        with self._lock:
            for probe, seq in zip(self._probes, told, strict=True):
                if seq > probe.told or seq == probe.written:
                    probe.told, probe.stalled_s = max(seq, probe.told), 0.0
                else:
                    probe.stalled_s += calm_s
                    self.longest_stall_s = max(self.longest_stall_s, probe.stalled_s)
            for one in list(self._open):
                if all(p.told >= seq for p, seq in zip(self._probes, one.wanted, strict=True)):
                    self.recovered_s.setdefault(one.kind, []).append(now_s - one.since_s)
                    self._open.remove(one)


def _told(client: SyncClient, probe: Probe) -> int:
    with suppress(DiffusionError):  # who cannot be reached tells nothing
        client.sync()
    state = client.state().get(probe.name)
    return 0 if state is None else state.max_seq


@dataclass(slots=True)
class Judgement:
    """What was found wrong, by what it is."""

    lost: int = 0
    resurrected: int = 0
    regressed: int = 0
    devices: int = 0
    converged: int = 0
    differences: list[str] = field(default_factory=list)

    def compare(self, oracle: Oracle, client: SyncClient, user_id: str, what: str) -> None:
        """Compare a device that has synced with the oracle."""
        expected, actual = oracle.states(user_id), client.state()
        found = compare(expected, actual)
        self.devices += 1
        self.converged += not found
        for one in found:
            if resurrects(one, expected, actual):
                self.resurrected += 1
            else:
                self.lost += 1
            self.note(f"{what} of {user_id}: {one}")

    def note(self, what: str) -> None:
        """Keep the first differences."""
        if len(self.differences) < verify.DIFFERENCES_SHOWN:
            self.differences.append(what)


class Wanderers:
    """Devices that sync one after the other, and look whether anything went back."""

    def __init__(self, system: System, users: Sequence[str], judgement: Judgement) -> None:
        self._devices = verify.Devices(system)
        self._users = users
        self._judgement = judgement
        self._stack = ExitStack()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-wanderers")
        self.clients: dict[str, SyncClient] = {}
        self.syncs = 0
        self.refused = 0

    def __enter__(self) -> Self:
        self._stack.enter_context(self._devices)
        self.clients = {
            user: self._stack.enter_context(self._devices.make(user, "wanderer"))
            for user in self._users
        }
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.halt()
        self._stack.close()

    def halt(self) -> None:
        """Sync no more."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for user, client in self.clients.items():
                if self._ending.wait(WANDER_S):
                    return
                self._sync(user, client)

    def _sync(self, user: str, client: SyncClient) -> None:
        before = client.state()
        try:
            report = client.sync()
        except DiffusionError:
            self.refused += 1
            return
        self.syncs += 1
        if report.path != "delta":
            return
        now = client.state()
        for name, held in before.items():
            if name in now:
                for what in steps_back(held, now[name]):
                    self._judgement.regressed += 1
                    self._judgement.note(f"device of {user}: {what}")


class Followers:
    """Devices that follow live, and are never told to sync."""

    def __init__(self, system: System, users: Sequence[str]) -> None:
        self._devices = verify.Devices(system)
        self._users = users
        self._stack = ExitStack()
        self.clients: dict[str, SyncClient] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self._devices)
        for user in self._users:
            client = self._stack.enter_context(self._devices.make(user, "follower"))
            client.follow()
            self.clients[user] = client
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait(self, oracle: Oracle) -> None:
        """Give them the time that they may take to hear of everything by themselves."""
        deadline_s = monotonic_s() + FOLLOW_PATIENCE_S
        for user, client in self.clients.items():
            while compare(oracle.states(user), client.state()) and monotonic_s() < deadline_s:
                time.sleep(LOOK_S)


def summary(recovered_s: dict[Kind, list[float]]) -> dict[str, dict[str, float]]:
    """Seconds from the end of a fault until everything written after it was readable, by kind."""
    return {
        str(kind): {
            "count": len(found),
            "median_s": round(median(found), 1),
            "longest_s": round(max(found), 1),
        }
        for kind, found in sorted(recovered_s.items())
    }
