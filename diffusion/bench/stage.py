"""What the benchmarks of sync and correction run on: servers of their own, and users with very many
conversations, written through the pipeline.

Kafka and Cassandra start on free ports of loopback under a temporary folder, and everything is
taken down and removed at the end. What is written goes to the oracle too.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from diffusion.bench.chats import Account
from diffusion.bench.measure import cpu_ms
from diffusion.console import Console
from diffusion.demo import own_servers, pairs
from diffusion.local import managed
from diffusion.oracle import Oracle, compare
from diffusion.system import System
from diffusion.writing import producer_for
from infra.clock import monotonic_s, now_ms
from infra.settings import LogSettings, Settings
from schemas.conversations import ConversationState
from schemas.errors import PermanentError, RetryableError
from schemas.events import WriteEvent
from schemas.versions import window_start
from sdk.client import HttpTransport, SyncClient
from syncapi.delta import CLOCK_SKEW_MS

API: Final = "api"

SIZE_MAX: Final = 100_000
"""More of one user would take longer to import than a benchmark may."""

WINDOW_MINUTES: Final = 1.0
"""Windows of the change log, a tenth of the usual ones: the import must leave the windows that a
sync looks at before the ordinary case can be measured, and that is waited for."""

LOAD_QUIET: Final = 0.5
"""Programs that want to run, on average over a minute, of a machine that is left alone."""

SYNCS_TO_CATCH_UP_MAX: Final = 10

SETTLE_POLL_S: Final = 0.5
SETTLE_MARGIN_MS: Final = 1_000
"""Waited beyond the moment: the change that moves the cursor is stamped by the broker."""


@dataclass(slots=True)
class Stage:
    """A running system with its users, by number of conversations."""

    system: System
    folder: Path
    accounts: dict[int, Account]
    load: float
    oracle: Oracle = field(default_factory=Oracle)
    imported_ms: dict[int, int] = field(default_factory=dict)
    import_seconds: dict[int, float] = field(default_factory=dict)

    def bring(self, size: int, console: Console) -> Account:
        """Write all conversations of a user, once, and wait until they are readable."""
        account = self.accounts[size]
        if size not in self.imported_ms:
            started = monotonic_s()
            with console.progress(f"writing {size:,} conversations") as update:
                self.write(account.imported(), lambda: update(advance=1))
            self.import_seconds[size] = round(monotonic_s() - started, 1)
            self.imported_ms[size] = now_ms()
        return account

    def write(
        self, events: Iterable[WriteEvent], on_event: Callable[[], None] = lambda: None
    ) -> None:
        """Write events through the pipeline, and wait until all of it is readable."""
        with producer_for(self.system.settings.kafka) as producer:
            for event in events:
                producer.send(event)
                self.oracle.apply(event)
                on_event()
        self.system.wait_quiet()

    def settle(self, size: int, console: Console) -> None:
        """Wait until a change that is written now is in a window whose cursor looks at none of the
        windows that the user was imported in.
        """
        self.outlast(self.imported_ms[size], console)

    def outlast(self, imported_ms: int, console: Console) -> None:
        """`settle` for what was written by then."""
        outlast(self.system, imported_ms, console)

    def token(self, size: int) -> str:
        """Bearer token of a user."""
        return self.system.token(self.accounts[size].user_id)

    def api_pid(self) -> int:
        """Process of the API."""
        return self.system.processes.pid(API)

    def api_cpu_ms(self) -> float:
        """CPU time of the API until now."""
        return cpu_ms(self.api_pid())

    def fresh(self, size: int) -> dict[str, ConversationState]:
        """What a new device of a user holds after its first sync."""
        with self.new_device(size) as client:
            client.sync()
            return client.state()

    @contextmanager
    def new_device(self, size: int) -> Iterator[SyncClient]:
        """A device with nothing in its store."""
        transport = HttpTransport(self.system.url, self.token(size))
        try:
            with SyncClient(
                user_id=self.accounts[size].user_id,
                device_id="fresh",
                store=":memory:",
                transport=transport,
            ) as client:
                yield client
        finally:
            transport.close()

    def wrong(self, size: int, state: dict[str, ConversationState]) -> list[str]:
        """What a device holds otherwise than the oracle says."""
        expected = self.oracle.states(self.accounts[size].user_id)
        return [f"{size:,} conversations: {one}" for one in compare(expected, state)]


def shortened(settings: Settings, minutes: float = WINDOW_MINUTES) -> Settings:
    """The same settings with shorter windows of the change log."""
    log = settings.log.model_dump() | {"window_minutes": minutes}
    return settings.model_copy(update={"log": LogSettings(**log)})


def outlast(system: System, imported_ms: int, console: Console) -> None:
    """Wait until a change that is written now is in a window whose cursor looks at none of the
    windows of what was written by then.
    """
    window_ms = system.settings.log.window_ms
    over_ms = window_start(imported_ms, window_ms) + window_ms + CLOCK_SKEW_MS + SETTLE_MARGIN_MS
    if now_ms() < over_ms:
        with console.progress("waiting until the windows of the import are over"):
            while now_ms() < over_ms:
                system.processes.check()
                time.sleep(SETTLE_POLL_S)


@contextmanager
def own(settings: Settings, console: Console) -> Iterator[tuple[Settings, Path]]:
    """Empty servers on free ports of loopback under a temporary folder, removed at the end.

    Raises `PermanentError` where the settings leave the servers to somebody else: a benchmark fills
    only what is its own.
    """
    with tempfile.TemporaryDirectory(prefix="diffusion-bench-") as folder, ExitStack() as stack:
        used = own_servers(settings, Path(folder) / "servers")
        local = managed(used, console.server)
        if local is None:
            raise PermanentError(
                "A benchmark runs on servers of its own: unset DIFFUSION_LOCAL_MANAGE and the "
                "addresses of Kafka and Cassandra."
            )
        stack.callback(local.down)
        local.up(fresh=True)
        yield used, Path(folder)


@contextmanager
def stage(settings: Settings, sizes: Sequence[int], seed: int, console: Console) -> Iterator[Stage]:
    """Start everything, and take it down again.

    Raises `PermanentError` for sizes that are not measured, and as `own`.
    """
    _check(sizes)
    load = os.getloadavg()[0]
    if load > LOAD_QUIET:
        console.say(f"The machine is busy (load {load:.1f}): times will be too long.")
    accounts = {size: Account(number, size, seed) for number, size in enumerate(sizes)}
    with (
        own(shortened(settings), console) as (used, folder),
        pairs(used, folder, console) as system,
    ):
        yield Stage(system, folder, accounts, load)


def catch_up(client: SyncClient) -> None:
    """Sync until nothing is new, and the cursor stays: one page of index rows is one snapshot, so
    that a first sync of many leaves some to the next.
    """
    for _ in range(SYNCS_TO_CATCH_UP_MAX):
        if client.sync().path == "nothing":
            return
    raise RetryableError(f"After {SYNCS_TO_CATCH_UP_MAX} syncs there is still something new.")


def _check(sizes: Sequence[int]) -> None:
    if not sizes or len(set(sizes)) < len(sizes):
        raise PermanentError("Name at least one number of conversations, and none twice.")
    if not all(1 <= size <= SIZE_MAX for size in sizes):
        raise PermanentError(f"A user has 1 to {SIZE_MAX:,} conversations.")
