"""A small supervisor: runs our own programs as child processes, starts them again when they end.

For the demonstration, the tests, and several workers by one command (`diffusion.fleet`); the
machines themselves are looked after by systemd, Compose or Kubernetes. Logs go to one file a
process, or where the supervisor's own go; what a child counted is read from its `/metrics`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final, Self

from prometheus_client.parser import text_string_to_metric_families

from infra.clock import monotonic_s
from infra.metrics import peak_resident_bytes
from schemas.errors import PermanentError

RESTART_WAIT_S: Final = 0.5
FAILURES_MAX: Final = 20
"""A process that ends more often than this, each time soon after its start, has a fault that
starting it again does not mend."""

HEALTHY_S: Final = 60.0
"""A process that ran for so long had started well: what ended it is counted from one again."""

STOP_TIMEOUT_S: Final = 20.0
HTTP_TIMEOUT_S: Final = 5.0
LOG_TAIL_CHARS: Final = 1_500

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True)
class Child:
    """One supervised process."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path | None
    """None: it writes where the supervisor does."""
    metrics_url: str
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restarts: int = 0
    failures: int = 0
    peak_bytes: int = 0
    output: IO[bytes] | None = field(default=None, repr=False)


SECTIONS: Final = {"stream-worker": "STREAM", "materializer": "MATERIALIZER"}
"""Section of the settings of each kind of worker."""


def worker(
    kind: str,
    name: str,
    port: int,
    *,
    environment: Mapping[str, str] = NOTHING,
    log: Path | None = None,
    instance_id: str = "",
    host: str = "127.0.0.1",
) -> Child:
    """A worker with a port for its metrics (0: none), and a name to Kafka that is its own or none:
    two of one name would throw each other out. `host` is where its settings have it serve.
    """
    own = {
        f"DIFFUSION_{SECTIONS[kind]}_METRICS_PORT": str(port),
        f"DIFFUSION_{SECTIONS[kind]}_INSTANCE_ID": instance_id,
    }
    url = f"http://{bracketed(host)}:{port}/metrics" if port else ""
    return Child(name, (kind,), {**environment, **own}, log, url)


def bracketed(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


class ProcessFailed(PermanentError):
    """A process ends again and again."""


class Processes:
    """Children that run until `stop`. Thread-safe; use it as a context manager."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, child: Child) -> None:
        """Start a child."""
        with self._lock:
            self._children[child.name] = child
            _spawn(child)

    def kill(self, name: str) -> int:
        """SIGKILL a child; the supervisor starts it again. Returns the pid that was killed."""
        with self._lock:
            process = self._children[name].process
            assert process is not None
            process.send_signal(signal.SIGKILL)
            return process.pid

    def end(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask a child to end (SIGTERM) and wait until it has; the supervisor starts it again.

        Raises `subprocess.TimeoutExpired` if it does not end.
        """
        with self._lock:
            process = self._children[name].process
        assert process is not None
        process.terminate()
        process.wait(timeout_s)

    def retire(self, name: str) -> None:
        """End a child for good."""
        with self._lock:
            child = self._children.pop(name)
        _measure(child)
        assert child.process is not None
        child.process.terminate()
        child.process.wait(STOP_TIMEOUT_S)
        if child.output is not None:
            child.output.close()

    def names(self) -> list[str]:
        """Of all children."""
        return [child.name for child in self._all()]

    def metrics_urls(self) -> dict[str, str]:
        """Where each child serves its metrics; not of those that serve none."""
        return {child.name: child.metrics_url for child in self._all() if child.metrics_url}

    def answers(self, name: str) -> bool:
        """Whether a child serves its metrics."""
        return bool(_text(self._children[name].metrics_url))

    def url(self, name: str) -> str:
        """Where a child serves its metrics."""
        return self._children[name].metrics_url

    def pid(self, name: str) -> int:
        """Process id of a child, as it runs now."""
        with self._lock:
            process = self._children[name].process
            assert process is not None
            return process.pid

    def log(self, name: str) -> Path:
        """Where a process writes what it logs."""
        log = self._children[name].log
        assert log is not None, f"{name} writes where the supervisor does"
        return log

    def check(self) -> None:
        """Raise `ProcessFailed` for a child that keeps ending, with the end of its log."""
        for child in self._all():
            if child.failures > FAILURES_MAX:
                raise ProcessFailed(_failure(child))

    def peaks(self) -> dict[str, int]:
        """Largest resident memory of each child so far, in bytes."""
        for child in self._all():
            _measure(child)
        return {child.name: child.peak_bytes for child in self._all()}

    def restarts(self) -> int:
        """How often children were started again."""
        return sum(child.restarts for child in self._all())

    def counted(
        self, metric: str, labels: Mapping[str, str] = NOTHING, *, of: str | None = None
    ) -> float:
        """Sum of a counter over all children since their last start, or that `of` one of them, of
        samples with these labels.

        `metric` is the name of the sample: a counter's ends in `_total`.
        """
        children = [child for child in self._all() if of in {None, child.name}]
        return sum(_sample(child.metrics_url, metric, labels) for child in children)

    def stop(self) -> None:
        """End all children: SIGTERM, wait, SIGKILL."""
        self._stopping.set()
        self._watcher.join()
        for child in self._all():
            _measure(child)
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        deadline = monotonic_s() + STOP_TIMEOUT_S
        for child in self._all():
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, deadline - monotonic_s()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            if child.output is not None:
                child.output.close()

    def _all(self) -> list[Child]:
        with self._lock:
            return list(self._children.values())

    def _watch(self) -> None:
        while not self._stopping.wait(RESTART_WAIT_S):
            with self._lock:
                for child in self._children.values():
                    if child.process is not None and child.process.poll() is not None:
                        _count_end(child)
                        if child.failures <= FAILURES_MAX:
                            _spawn(child)
                    else:
                        _measure(child)


def _count_end(child: Child) -> None:
    child.restarts += 1
    healthy = monotonic_s() - child.started_s >= HEALTHY_S
    child.failures = 1 if healthy else child.failures + 1


def _failure(child: Child) -> str:
    text = f"{child.name} ended {child.failures} times, each time soon after its start."
    if child.log is None:
        return f"{text} What it wrote stands above."
    tail = child.log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
    return f"{text} Its log {child.log} ends with:\n{tail}"


def _spawn(child: Child) -> None:
    child.started_s = monotonic_s()
    if child.log is not None and child.output is None:
        child.log.parent.mkdir(parents=True, exist_ok=True)
        child.output = child.log.open("ab")
    child.process = subprocess.Popen(  # noqa: S603  # our own programs
        [sys.executable, "-m", "diffusion", *child.arguments],
        env={**os.environ, **child.environment},
        stdin=subprocess.DEVNULL,
        stdout=child.output,
        stderr=subprocess.STDOUT,
        # Ctrl-C in the terminal is for the supervisor, which then ends its children in order.
        start_new_session=True,
    )


def _measure(child: Child) -> None:
    if child.process is not None and child.process.poll() is None:
        with contextlib.suppress(Exception):  # it may end between the two looks
            child.peak_bytes = max(child.peak_bytes, peak_resident_bytes(child.process.pid))


def _text(url: str) -> str:
    """What `/metrics` says; nothing if it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310  # loopback
            text: str = answer.read().decode()
    except (OSError, ValueError):
        return ""
    return text


def _sample(url: str, metric: str, labels: Mapping[str, str]) -> float:
    return sum(
        float(sample.value)
        for family in text_string_to_metric_families(_text(url))
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    )
