"""Several workers of one kind on a machine, by one command: one process a core, because Python runs
one thread at a time.

The parent does nothing but start, start again, and end its children in order; each serves its own
metrics (`diffusion.targets`). It is to run under something that ends the whole group with it
(systemd, a container): children of a parent that was killed go on working, which is harmless, until
somebody ends them.
"""

from __future__ import annotations

from typing import Final

from diffusion.processes import Child, Processes, worker
from infra import signals
from infra.settings import Settings
from schemas.errors import PermanentError

PROCESSES_MAX: Final = 256
"""More than any machine has cores and any topic here has partitions; a typing error, surely."""

CHECK_INTERVAL_S: Final = 1.0


def run(kind: str, count: int, settings: Settings) -> None:
    """Run `count` processes until a signal.

    Raises `PermanentError` for a count that makes no sense, `ProcessFailed` for a process that does
    not stay up.
    """
    if not 1 < count <= PROCESSES_MAX:
        raise PermanentError(f"--processes is {count}: give a number from 1 to {PROCESSES_MAX}.")
    stop = signals.stop_on_signal()
    with Processes() as processes:
        for child in children(kind, count, settings):
            processes.start(child)
        while not stop.wait(CHECK_INTERVAL_S):
            processes.check()


def children(kind: str, count: int, settings: Settings) -> list[Child]:
    """The processes: each has a port for its metrics, from the one of the settings on, and a name
    of its own to Kafka, made of theirs.
    """
    section = settings.stream if kind == "stream-worker" else settings.materializer
    found = []
    for number in range(count):
        port = section.metrics_port + number if section.metrics_port else 0
        instance_id = f"{section.instance_id}-{number + 1}" if section.instance_id else ""
        name, host = f"{kind}-{number + 1}", section.metrics_host
        found.append(worker(kind, name, port, instance_id=instance_id, host=host))
    return found
