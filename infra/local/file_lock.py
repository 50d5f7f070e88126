"""One process at a time in a directory: an advisory lock on a file, waited for with patience.

The kernel releases the lock when its holder dies, so that a lock is never stale. The file stays: a
lock file that is deleted can be locked twice. Threads of one process exclude each other, too,
since each entry opens the file anew.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.clock import monotonic_s
from infra.local.errors import BusyError

_INTERVAL_S = 0.1


@contextmanager
def file_lock(
    path: Path, *, wait_s: float, on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock at `path`; `on_wait` is called once when another process has it.

    Raises BusyError when it is not free within `wait_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC is Python's default: a server started under the lock must not inherit it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, path, wait_s=wait_s, on_wait=on_wait)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, *, wait_s: float, on_wait: Callable[[], None]) -> None:
    deadline = monotonic_s() + wait_s
    announced = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not announced:
                on_wait()
                announced = True
            if monotonic_s() >= deadline:
                raise BusyError(path.parent, wait_s) from None
            time.sleep(_INTERVAL_S)
        else:
            return
