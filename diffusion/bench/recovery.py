"""`diffusion bench recovery`: what each abnormal case costs a device, and what a bad line does.

A user with N conversations, written through the pipeline on real servers. Devices reach the API
through a proxy on loopback (`diffusion.lossy`) that counts every byte, heads of HTTP included, and
that cuts, delays, paces and silences where a case says so. After each case the device must hold
what the oracle says.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from diffusion.bench.abnormal import TROUBLES, Ground, Trouble
from diffusion.bench.bad_line import (
    BAD_LINE_CHANGED,
    RECONNECTS,
    BadLine,
    Reconnect,
    reconnect,
    summed_up,
)
from diffusion.bench.stage import Stage, catch_up
from diffusion.console import Console
from diffusion.lossy import LossyProxy, Weather
from infra.clock import now_ms
from infra.local.settings import LOOPBACK
from schemas.conversations import ConversationState
from sdk.client import HttpTransport, NetworkError, SyncClient, SyncReport
from sdk.client.events import ClientEvent, SyncFinished, SyncStarted
from sdk.client.tokens import TokenSource
from syncapi.auth import issue

AWAY: Final = (0, 20, 200)
"""Conversations that change while a device is away."""

CUTS: Final = 20
"""Interruptions of one full correction."""

DRAWS: Final = 5
"""Times that this is done, the places being drawn anew; the worst counts."""

CUT_RATIO_MAX: Final = 1.3
"""Bytes of bodies, both ways, of a full correction that was cut so often, as a multiple of those of
one that was not. What is on the line besides, heads of HTTP and the bearer token in each, is told
beside it: it depends on the token, and on what stands between device and server."""

CALM: Final = Weather()
REFUSED: Final = 3
"""Attempts that find nobody, when the server is away."""

LATER_MS: Final = 2 * 3_600_000
"""What passes between two troubles by the device's clock: no full correction is too soon."""

SHORT_S: Final = 2
"""Life of a token that is to expire."""


DIFFERENCES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Case:
    """What one case took: bytes of bodies, and `bytes_line`, all that went over the line both ways.

    `attempts` are the syncs that were begun, `round_trips` the answers that began to come.
    """

    name: str
    path: str
    reason: str | None
    attempts: int
    round_trips: int
    bytes_up: int
    bytes_down: int
    bytes_line: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diffusion bench recovery --json` prints."""

    conversations: int
    cases: tuple[Case, ...]
    cut_ratios: tuple[float, ...]
    killed_ratios: tuple[float, ...]
    cut_line_ratios: tuple[float, ...]
    killed_line_ratios: tuple[float, ...]
    bad_line: BadLine
    wrong_paths: tuple[str, ...]
    differences: tuple[str, ...]

    @property
    def held(self) -> dict[str, bool]:
        """Each bound that was measured, and whether it holds."""
        return {
            "paths": not self.wrong_paths,
            "bytes_of_a_full_correction_that_is_cut": max(self.cut_ratios) <= CUT_RATIO_MAX,
            "bytes_if_the_app_is_killed": max(self.killed_ratios) <= CUT_RATIO_MAX,
            "bad_line_completes": self.bad_line.completed == self.bad_line.reconnects,
            "correct": not self.differences,
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"held": self.held}


def run(stage: Stage, seed: int, console: Console) -> Outcome:
    """Measure with the one user of a stage; raises `DiffusionError` if something cannot be done."""
    with LossyProxy(LOOPBACK, stage.system.settings.api.port, CALM, seed) as proxy:
        return _Bench(stage, proxy, seed, console).run()


def places(whole: int, cuts: int, rng: random.Random) -> list[int]:
    """Draw where something that is so long is cut: how much is between one cut and the next."""
    ends = sorted(rng.sample(range(1, whole), cuts))
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


class _Bench:
    """One run. The steps are in the order of `run`."""

    def __init__(self, stage: Stage, proxy: LossyProxy, seed: int, console: Console) -> None:
        self._stage = stage
        self._proxy = proxy
        self._seed = seed
        self._console = console
        (self._size,) = stage.accounts
        self._account = stage.accounts[self._size]
        self._path = stage.folder / "phone.db"
        self._older = stage.folder / "older.db"
        self._clock_ms = 0
        self._cases: list[Case] = []
        self._wrong_paths: list[str] = []
        self._differences: list[str] = []

    def run(self) -> Outcome:
        """Import, wait for the ordinary case, and go from the smallest trouble to the worst."""
        stage = self._stage
        stage.bring(self._size, self._console)
        stage.settle(self._size, self._console)
        stage.write(self._account.changed(1))
        with self._device() as device:
            catch_up(device.client)
        for changed in AWAY:
            self._away(changed)
        self._restored()
        self._expired_token()
        self._server_away()
        with self._console.progress("troubles", total=len(TROUBLES)) as update:
            for trouble in TROUBLES:
                self._trouble(trouble)
                update(advance=1)
        whole = self._cases[-1]
        cut, killed = (self._interrupted(whole, killed=killed) for killed in (False, True))
        return Outcome(
            conversations=self._size,
            cases=tuple(self._cases),
            cut_ratios=_ratios(cut, whole, lambda case: case.bytes_up + case.bytes_down),
            killed_ratios=_ratios(killed, whole, lambda case: case.bytes_up + case.bytes_down),
            cut_line_ratios=_ratios(cut, whole, lambda case: case.bytes_line),
            killed_line_ratios=_ratios(killed, whole, lambda case: case.bytes_line),
            bad_line=self._bad_line(),
            wrong_paths=tuple(self._wrong_paths),
            differences=tuple(self._differences[:DIFFERENCES_SHOWN]),
        )

    def _away(self, changed: int) -> None:
        shutil.copy(self._path, self._older)
        if changed:
            self._stage.write(self._account.changed(changed))
        with self._device() as device:
            device.client.sync()
            self._keep(device, f"away, {changed} changed", "delta" if changed else "nothing")

    def _restored(self) -> None:
        """The cursor of the copy is as old as its rows."""
        shutil.copy(self._older, self._path)
        with self._device() as device:
            device.client.sync()
            self._keep(device, "an older store, restored from a backup", "delta")

    def _expired_token(self) -> None:
        """It was good for the first sync, and is not when the next one begins."""
        api, user_id = self._stage.system.settings.api, self._account.user_id
        given = iter(
            [issue(api, user_id, now_ms=now_ms() - api.jwt_leeway_s * 1_000, lifetime_s=SHORT_S)]
        )
        with self._device(token=lambda: next(given, self._stage.token(self._size))) as device:
            device.client.sync()
            time.sleep(SHORT_S + 1)
            device.begin()
            device.client.sync()
            self._keep(device, "the token expired", "nothing")

    def _server_away(self) -> None:
        with self._device() as device:
            self._proxy.weather = Weather(refuse_chance=1)
            for _ in range(REFUSED):
                with suppress(NetworkError):
                    device.client.sync()
            self._proxy.weather = CALM
            device.client.sync()
            self._keep(device, f"nobody answers, {REFUSED} times", "nothing")

    def _trouble(self, trouble: Trouble) -> None:
        rng = random.Random(f"{self._seed}/{trouble.name}")  # noqa: S311 -- a reproducible run
        ground = Ground(self._path, self._account.user_id, self._stage.system.settings, rng)
        trouble.harm(ground)
        self._clock_ms += 0 if trouble.soon else LATER_MS
        with self._device() as device:
            device.client.sync(verify=trouble.verify)
            if device.report.put_off != trouble.soon:
                self._wrong_paths.append(f"{trouble.name}: put off is {device.report.put_off}")
            self._keep(device, trouble.name, trouble.path, trouble.reason)

    def _interrupted(self, whole: Case, *, killed: bool) -> list[Case]:
        """Fetch everything, with resets at places drawn from the length of what is not interrupted,
        so that all of them come before the end. Killed: each next client knows only the file.
        """
        name = f"a new device, the {'app killed' if killed else 'line cut'} {CUTS} times"
        found = []
        with self._console.progress(name, total=DRAWS) as update:
            for number in range(DRAWS):
                rng = random.Random(f"{self._seed}/{name}/{number}")  # noqa: S311 -- reproducible
                self._path.unlink()
                with self._device() as device:
                    for bytes_down in places(whole.bytes_down, CUTS, rng):
                        self._cut(device, bytes_down)
                        if killed:
                            device.restart()
                    device.client.sync()
                    found.append(self._note(device, name, "full", "fresh"))
                update(advance=1)
        found.sort(key=lambda case: case.bytes_line)
        self._cases.append(found[-1])
        return found

    def _cut(self, device: Device, bytes_down: int) -> None:
        self._proxy.cut_after(bytes_down)
        with suppress(NetworkError):
            device.client.sync()
            self._wrong_paths.append("a full correction was to be interrupted, and was not")

    def _bad_line(self) -> BadLine:
        """Let devices that hold the same, older store come back over the bad line."""
        stage = self._stage
        with self._device() as device:
            catch_up(device.client)
        shutil.copy(self._path, self._older)
        stage.write(self._account.changed(BAD_LINE_CHANGED))
        port, token = stage.system.settings.api.port, stage.token(self._size)
        found: list[Reconnect] = []
        with self._console.progress("reconnects over a bad line", total=RECONNECTS) as update:
            for number in range(RECONNECTS):
                shutil.copy(self._older, self._path)
                seed = self._seed * RECONNECTS + number
                one, state = reconnect(port, token, self._path, seed)
                found.append(one)
                self._compare(f"bad line {seed}", state)
                update(advance=1)
        return summed_up(found)

    # What all cases share.

    @contextmanager
    def _device(self, token: TokenSource | None = None) -> Iterator[Device]:
        url, used = self._proxy.url, token or self._stage.token(self._size)
        with closing(HttpTransport(url, used)) as transport:
            device = Device(self._open, transport, self._proxy)
            try:
                yield device
            finally:
                device.client.close()

    def _open(self, transport: HttpTransport, events: list[ClientEvent]) -> SyncClient:
        return SyncClient(
            user_id=self._account.user_id,
            store=self._path,
            transport=transport,
            on_event=events.append,
            clock=lambda: now_ms() + self._clock_ms,
        )

    def _keep(self, device: Device, name: str, path: str, reason: str | None = None) -> None:
        self._cases.append(self._note(device, name, path, reason))

    def _note(self, device: Device, name: str, path: str, reason: str | None = None) -> Case:
        case = device.case(name)
        if (case.path, case.reason) != (path, reason):
            self._wrong_paths.append(f"{name}: {case.path}, {case.reason}")
        self._compare(name, device.client.state())
        return case

    def _compare(self, name: str, state: dict[str, ConversationState]) -> None:
        for one in self._stage.wrong(self._size, state):
            self._differences.append(f"{name}: {one}")


def _ratios(cut: Sequence[Case], whole: Case, length: Callable[[Case], int]) -> tuple[float, ...]:
    """Of each draw, the least first."""
    return tuple(sorted(round(length(one) / length(whole), 3) for one in cut))


class Device:
    """A client over the proxy, and what went over the line since `begin`, or since its making."""

    def __init__(
        self,
        opening: Callable[[HttpTransport, list[ClientEvent]], SyncClient],
        transport: HttpTransport,
        proxy: LossyProxy,
    ) -> None:
        self._opening = opening
        self._transport = transport
        self._proxy = proxy
        self._events: list[ClientEvent] = []
        self.begin()
        self.client = opening(transport, self._events)

    def begin(self) -> None:
        """Count from here."""
        self._events.clear()
        self._passed, self._traffic = self._proxy.stats, self._transport.traffic

    def restart(self) -> None:
        """Go on with a client that knows only what the file knows."""
        self.client.close()
        self.client = self._opening(self._transport, self._events)

    @property
    def report(self) -> SyncReport:
        """Report of the last sync that ended well."""
        return [event.report for event in self._events if isinstance(event, SyncFinished)][-1]

    def case(self, name: str) -> Case:
        """Sum up what was counted."""
        passed = self._proxy.stats - self._passed
        traffic = self._transport.traffic.since(self._traffic)
        return Case(
            name=name,
            path=self.report.path,
            reason=self.report.reason,
            attempts=sum(isinstance(event, SyncStarted) for event in self._events),
            round_trips=traffic.round_trips,
            bytes_up=traffic.bytes_up,
            bytes_down=traffic.bytes_down,
            bytes_line=passed.bytes_up + passed.bytes_down,
        )
