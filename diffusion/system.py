"""The whole system on this machine, for demonstrations and tests: servers, programs, and quiet.

`running` yields a `System` and takes everything down again, in reverse order, whatever happened.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import SecretStr

from diffusion.migrate import migrate
from diffusion.processes import Child, Processes, worker
from infra.clock import monotonic_s, now_ms
from infra.kafka.admin import Admin
from infra.local.ports import free_ports
from infra.settings import Settings
from schemas.errors import PermanentError, RetryableError
from schemas.topics import CHANGES, WRITE_TOPICS
from syncapi.auth import issue
from syncapi.heads import CACHE_AGE_S

READY_TIMEOUT_S: Final = 60.0
QUIET_TIMEOUT_S: Final = 300.0
POLL_S: Final = 0.2
TOKEN_LIFETIME_S: Final = 3_600

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class System:
    """A running system: where its API is, and its processes."""

    settings: Settings
    processes: Processes
    url: str

    def token(self, user_id: str) -> str:
        """Bearer token of a user."""
        return issue(self.settings.api, user_id, now_ms=now_ms(), lifetime_s=TOKEN_LIFETIME_S)

    def wait_quiet(self, on_lag: Callable[[int], None] = lambda _: None) -> None:
        """`wait_quiet` of this system."""
        wait_quiet(self.settings, self.processes.check, on_lag)


def wait_quiet(
    settings: Settings,
    check: Callable[[], None] = lambda: None,
    on_lag: Callable[[int], None] = lambda _: None,
) -> None:
    """Wait until everything written before this call is readable.

    Both stages are looked at in the order of the way: when the first has no lag, what it wrote is
    in the change log, and then the second may not have any. `check` may raise to end the waiting.
    Raises `RetryableError` after `QUIET_TIMEOUT_S` without progress.
    """
    kafka, writes = settings.kafka, [topic.name for topic in WRITE_TOPICS]
    with Admin(kafka) as admin:
        _wait_no_lag(lambda: admin.lag(kafka.stream_group, writes), check, on_lag)
        _wait_no_lag(lambda: admin.lag(kafka.materializer_group, [CHANGES.name]), check, on_lag)
    # The API may answer from a read-side head that it read just before.
    time.sleep(CACHE_AGE_S)


def _wait_no_lag(
    lag: Callable[[], int], check: Callable[[], None], on_lag: Callable[[int], None]
) -> None:
    least: int | None = None
    deadline = monotonic_s() + QUIET_TIMEOUT_S
    while True:
        now = lag()
        on_lag(now)
        if now == 0:
            return
        if least is None or now < least:
            least, deadline = now, monotonic_s() + QUIET_TIMEOUT_S
        if monotonic_s() > deadline:
            raise RetryableError(f"{now} records are still not processed, and none was for long.")
        check()
        time.sleep(POLL_S)


@contextmanager
def running(
    settings: Settings,
    *,
    logs: Path,
    stream_workers: int,
    materializers: int,
    report: Report,
) -> Iterator[System]:
    """Migrate, start the programs against servers that answer already, wait until the API is
    ready. One machine stands for thousands of devices here, so no user and no address has a limit.
    """
    if settings.api.tls_cert_file is not None:
        raise PermanentError(
            "Everything on this machine is looked at over plain HTTP: unset api.tls_cert_file and "
            "api.tls_key_file."
        )
    settings = settings.model_copy(update={"api": settings.api.unlimited()})
    migrate(settings, report)
    variables = environment_of(settings)
    with Processes() as processes:
        ports = iter(free_ports(stream_workers + materializers))
        for kind, count in (("stream-worker", stream_workers), ("materializer", materializers)):
            for number in range(1, count + 1):
                name = f"{kind}-{number}"
                log = logs / f"{name}.log"
                processes.start(worker(kind, name, next(ports), environment=variables, log=log))
        url = f"http://127.0.0.1:{settings.api.port}"
        processes.start(Child("api", ("api",), variables, logs / "api.log", f"{url}/metrics"))
        report(f"{stream_workers} stream workers, {materializers} materializers, 1 API: starting")
        wait_ready(url, processes)
        report(f"API: ready at {url}, a page of live figures at {url}/")
        yield System(settings, processes, url)


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that gives a child process these settings, where they differ from
    defaults.
    """
    variables: dict[str, str] = {}
    for section, values in settings.model_dump(exclude_defaults=True).items():
        for name, value in values.items():
            variables[f"DIFFUSION_{section}_{name}".upper()] = _as_text(value)
    return variables


def _as_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return orjson.dumps(value).decode() if isinstance(value, dict) else str(value)


def wait_ready(url: str, processes: Processes) -> None:
    """Wait until the API says that it can answer; raises `RetryableError` if it does not."""
    deadline = monotonic_s() + READY_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=POLL_S * 10):  # noqa: S310
                return
        except OSError as error:
            if monotonic_s() > deadline:
                raise RetryableError(f"The API at {url} did not become ready: {error}") from error
        processes.check()
        time.sleep(POLL_S)
