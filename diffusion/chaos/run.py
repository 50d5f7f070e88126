"""`diffusion chaos`: the whole system under load, faults of every kind, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from diffusion import verify
from diffusion.chaos.faults import Injector
from diffusion.chaos.ground import Ground, ground
from diffusion.chaos.load import Load, Writer, probes
from diffusion.chaos.plan import Fault, draw
from diffusion.chaos.watch import (
    FOLLOWERS,
    LOOK_S,
    WANDERERS,
    Followers,
    Judgement,
    Probes,
    Wanderers,
    summary,
)
from diffusion.console import Console
from diffusion.dlq import NAMES, DeadLetters
from diffusion.system import System, running
from infra.clock import monotonic_s
from infra.local.settings import default_data_dir
from infra.settings import Settings
from schemas.errors import RetryableError

STREAM_WORKERS: Final = 2
MATERIALIZERS: Final = 2
PROGRAMS: Final = (
    *(f"stream-worker-{number + 1}" for number in range(STREAM_WORKERS)),
    *(f"materializer-{number + 1}" for number in range(MATERIALIZERS)),
    "api",
)

STALL_MAX_S: Final = 60.0
"""Longest that a write may wait while nothing is wrong any more."""

SETTLE_TIMEOUT_S: Final = 180.0
"""After the last fault, for the probes to come through."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion chaos --json` prints."""

    seed: int
    minutes: float
    faults: int
    faults_by_kind: dict[str, int]
    not_carried_out: tuple[str, ...]
    restarts: int
    recoveries: dict[str, dict[str, float]]
    longest_stall_s: float
    events: int
    undelivered: int
    dead_letters: int
    syncs: int
    syncs_refused: int
    devices: int
    devices_converged: int
    users: int
    lost: int
    resurrected: int
    regressed: int
    peak_memory_mb: dict[str, float]
    seconds: float
    differences: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether nothing was lost, came back to life or went back, and nothing stood still."""
        return (
            self.lost + self.resurrected + self.regressed == 0
            and self.undelivered + self.dead_letters == 0
            and not self.not_carried_out
            and self.devices == self.devices_converged
            and self.longest_stall_s < STALL_MAX_S
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def run(settings: Settings, *, minutes: float, seed: int, console: Console) -> Outcome:
    """Run it; raises `DiffusionError` when something cannot be started, or never settles."""
    folder = (settings.local.data_dir or default_data_dir()) / "chaos"
    with (
        ground(settings, folder, seed, console) as place,
        running(
            place.settings,
            logs=folder / "logs",
            stream_workers=STREAM_WORKERS,
            materializers=MATERIALIZERS,
            report=console.say,
        ) as system,
    ):
        return _Run(place, system, seed, minutes, console).run()


class _Run:
    def __init__(
        self, place: Ground, system: System, seed: int, minutes: float, console: Console
    ) -> None:
        self._system = system
        self._seed = seed
        self._minutes = minutes
        self._console = console
        self._injector = Injector(place, system.processes, seed)
        self._logs = place.folder / "logs"
        self._judgement = Judgement()
        self._began_s = monotonic_s()

    def run(self) -> Outcome:
        """Write, hurt, wait, and judge."""
        system, kafka = self._system, self._system.settings.kafka
        measured = probes(kafka.write_partitions, kafka.change_partitions)
        with Writer(kafka) as writer:
            with Load(writer, self._seed) as load:
                users = sorted(writer.oracle.users())
                judged = users[:: max(1, len(users) // WANDERERS)][:WANDERERS]
                with (
                    Wanderers(system, judged, self._judgement) as wanderers,
                    Followers(system, users[1 :: len(users) // FOLLOWERS][:FOLLOWERS]) as followers,
                ):
                    look = Probes(system, writer, measured, self._injector.calm)
                    with look:
                        self._hurt(look)
                        self._wait(look.settled)
                    load.halt()
                    writer.flush()
                    system.wait_quiet()
                    self._devices(writer, wanderers, followers)
            if load.error is not None:
                raise load.error
            count = self._everybody(writer)
            return self._outcome(writer, wanderers, look, count)

    def _hurt(self, look: Probes) -> None:
        def say(fault: Fault) -> None:
            self._console.say(f"{monotonic_s() - self._began_s:6.0f} s  {fault}")

        faults = draw(self._seed, self._minutes, PROGRAMS)
        self._injector.run(faults, self._minutes * 60, say, look.ended)

    def _wait(self, settled: Callable[[], bool]) -> None:
        deadline_s = monotonic_s() + SETTLE_TIMEOUT_S
        while not settled():
            self._system.processes.check()
            if monotonic_s() > deadline_s:
                raise RetryableError(
                    f"What was written is not readable {SETTLE_TIMEOUT_S:.0f} s after the last "
                    f"fault. What the programs logged is under {self._logs}."
                )
            time.sleep(LOOK_S)

    def _devices(self, writer: Writer, wanderers: Wanderers, followers: Followers) -> None:
        """Devices that were there all the time hold what they must."""
        wanderers.halt()
        followers.wait(writer.oracle)
        for user, client in followers.clients.items():
            self._judgement.compare(writer.oracle, client, user, "following device")
        for user, client in wanderers.clients.items():
            client.sync()
            self._judgement.compare(writer.oracle, client, user, "old device")

    def _everybody(self, writer: Writer) -> int:
        """A new device of every user holds what it must; returns how many users there are."""
        users = sorted(writer.oracle.users())
        with (
            self._console.progress("a new device of every user", total=len(users)) as update,
            verify.Devices(self._system) as devices,
        ):
            for user in users:
                with devices.make(user, "fresh") as client:
                    client.sync()
                    self._judgement.compare(writer.oracle, client, user, "new device")
                update(advance=1)
        return len(users)

    def _outcome(self, writer: Writer, wanderers: Wanderers, look: Probes, users: int) -> Outcome:
        judgement, injector, processes = self._judgement, self._injector, self._system.processes
        peaks = processes.peaks()
        return Outcome(
            seed=self._seed,
            minutes=self._minutes,
            faults=sum(injector.done.values()),
            faults_by_kind={str(kind): count for kind, count in sorted(injector.done.items())},
            not_carried_out=tuple(injector.failed),
            restarts=processes.restarts(),
            recoveries=summary(look.recovered_s),
            longest_stall_s=round(look.longest_stall_s, 1),
            events=writer.written,
            undelivered=writer.undelivered,
            dead_letters=self._dead_letters(),
            syncs=wanderers.syncs,
            syncs_refused=wanderers.refused,
            devices=judgement.devices,
            devices_converged=judgement.converged,
            users=users,
            lost=judgement.lost,
            resurrected=judgement.resurrected,
            regressed=judgement.regressed,
            peak_memory_mb={name: round(peak / 2**20, 1) for name, peak in peaks.items()},
            seconds=round(monotonic_s() - self._began_s, 1),
            differences=tuple(judgement.differences),
        )

    def _dead_letters(self) -> int:
        letters = DeadLetters(self._system.settings.kafka)
        try:
            return sum(letters.line(name).end for name in NAMES.values())
        finally:
            letters.close()
