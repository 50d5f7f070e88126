"""Parts of a benchmark in processes of their own, so that each has its own memory and its own lock
of Python's, as it would in service.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any, TypeVar

from diffusion.pool import spawned
from infra.metrics import peak_resident_bytes

T = TypeVar("T")


def run(work: Callable[..., T], *arguments: Any) -> tuple[T, int]:
    """Call `work`, a function of a module, in a new process: what it returns, and the peak of the
    process's resident memory in bytes. Raises what it raises.
    """
    with spawned(1) as pool:
        return pool.submit(_measured, work, arguments).result()


def _measured(work: Callable[..., T], arguments: tuple[Any, ...]) -> tuple[T, int]:
    result = work(*arguments)
    return result, peak_resident_bytes(multiprocessing.current_process().pid or 0)
