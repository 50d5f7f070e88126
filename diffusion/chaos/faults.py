"""Carry out faults: what befalls one target comes one after the other, targets at once.

Every fault is undone by whoever did it, also when the run is given up: a process that stands is let
go, a line is calm again, a server is there.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import psutil

from diffusion.chaos.ground import CALM, Ground
from diffusion.chaos.plan import SERVERS, Fault, Kind
from diffusion.lossy import Weather
from diffusion.processes import Processes
from infra.clock import monotonic_s
from schemas.errors import DiffusionError

log = logging.getLogger("diffusion.chaos")

LATENCY_MS: Final = (50.0, 500.0)
RESET_CHANCE: Final = (0.02, 0.3)
STALL_CHANCE: Final = 0.1
STALL_MS: Final = 1_500.0


class Injector:
    """Does what a plan says. `done` counts what was carried out, by kind."""

    def __init__(self, ground: Ground, processes: Processes, seed: int) -> None:
        self._ground = ground
        self._processes = processes
        self._rng = random.Random(f"lines/{seed}")  # noqa: S311 -- a reproducible run
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._holding: set[Fault] = set()
        self.done: Counter[Kind] = Counter()
        self.failed: list[str] = []
        self._acts: dict[Kind, Callable[[Fault], None]] = {
            Kind.KILL: self._kill,
            Kind.RESTART: self._restart,
            Kind.FREEZE: self._freeze,
            Kind.OUTAGE: self._outage,
            Kind.DISK_FULL: self._disk_full,
            Kind.SLOW: self._slow,
            Kind.FLAKY: self._flaky,
            Kind.SILENT: self._silent,
        }

    def run(
        self,
        faults: Iterable[Fault],
        seconds: float,
        on_begin: Callable[[Fault], None],
        on_end: Callable[[Fault], None],
    ) -> None:
        """Do all of it at its times, or when its target is done with what came before; what does
        not begin within so many seconds is left out. Returns when the last has been undone.
        """
        began_s = monotonic_s()
        lines: dict[str, queue.SimpleQueue[Fault | None]] = {}
        threads = []

        def work(waiting: queue.SimpleQueue[Fault | None]) -> None:
            while (fault := waiting.get()) is not None and not self._ending.is_set():
                if monotonic_s() - began_s < seconds:
                    on_begin(fault)
                    self._do(fault)
                    on_end(fault)

        try:
            for fault in faults:
                self._ending.wait(max(0.0, began_s + fault.at_s - monotonic_s()))
                if fault.target not in lines:
                    lines[fault.target] = queue.SimpleQueue()
                    thread = threading.Thread(
                        target=work, args=(lines[fault.target],), name=f"chaos-{fault.target}"
                    )
                    thread.start()
                    threads.append(thread)
                lines[fault.target].put(fault)
        except BaseException:
            self._ending.set()
            raise
        finally:
            for waiting in lines.values():
                waiting.put(None)
            for thread in threads:
                thread.join()
            self._mend()

    def calm(self) -> bool:
        """Whether no fault holds."""
        with self._lock:
            return not self._holding

    def _do(self, fault: Fault) -> None:
        with self._lock:
            self._holding.add(fault)
        try:
            self._acts[fault.kind](fault)
        except (DiffusionError, psutil.Error, subprocess.SubprocessError, OSError) as error:
            log.exception("%s", fault)
            self.failed.append(f"{fault}: {error}")
        finally:
            with self._lock:
                self._holding.discard(fault)
            self.done[fault.kind] += 1

    def _hold(self, fault: Fault) -> None:
        self._ending.wait(fault.lasts_s)

    # Programs and servers.

    def _kill(self, fault: Fault) -> None:
        if fault.target in SERVERS:
            self._ground.servers.kill(fault.target)
            self._ground.servers.start(fault.target)
        else:
            self._processes.kill(fault.target)

    def _restart(self, fault: Fault) -> None:
        if fault.target in SERVERS:
            self._ground.servers.stop(fault.target)
            self._ground.servers.start(fault.target)
            return
        try:
            self._processes.end(fault.target)
        except subprocess.TimeoutExpired:
            # As a supervisor does with one that cannot end while what it waits for is away.
            self._processes.kill(fault.target)

    def _freeze(self, fault: Fault) -> None:
        pid = self._pid(fault.target)
        if pid is None:
            return  # it is being started anew
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                self._hold(fault)
            finally:
                os.kill(pid, signal.SIGCONT)

    def _outage(self, fault: Fault) -> None:
        self._ground.servers.stop(fault.target)
        try:
            self._hold(fault)
        finally:
            self._ground.servers.start(fault.target)

    def _disk_full(self, fault: Fault) -> None:
        """No file of the server may grow: what a full disk does to it, without filling ours."""
        pid = self._pid(fault.target)
        if pid is not None:
            process = psutil.Process(pid)
            _, most = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (1, most))
            self._hold(fault)
        # Some servers end, some stand and refuse: an operator makes room and starts them anew.
        self._ground.servers.kill(fault.target)
        self._ground.servers.start(fault.target)

    # Lines.

    def _slow(self, fault: Fault) -> None:
        self._weather(fault, Weather(latency_ms=self._rng.uniform(*LATENCY_MS)))

    def _flaky(self, fault: Fault) -> None:
        weather = Weather(
            reset_chance=self._rng.uniform(*RESET_CHANCE),
            stall_chance=STALL_CHANCE,
            stall_ms=STALL_MS,
        )
        self._ground.lines[fault.target].cut()
        self._weather(fault, weather)

    def _weather(self, fault: Fault, weather: Weather) -> None:
        line = self._ground.lines[fault.target]
        line.weather = weather
        try:
            self._hold(fault)
        finally:
            line.weather = CALM

    def _silent(self, fault: Fault) -> None:
        line = self._ground.lines[fault.target]
        line.black_hole(on=True)
        try:
            self._hold(fault)
        finally:
            line.black_hole(on=False)

    def _pid(self, target: str) -> int | None:
        if target not in SERVERS:
            return self._processes.pid(target)
        return next(one.pid for one in self._ground.servers.status() if one.name == target)

    def _mend(self) -> None:
        """See to it that all servers are there."""
        for line in self._ground.lines.values():
            line.weather = CALM
            line.black_hole(on=False)
        for name in SERVERS:
            self._ground.servers.start(name)
