"""Work in several processes of its own, which end with the one that has it done."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def spawned(workers: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes, by default one a core. Whatever leaves it early, a signal to end
    too, ends them; left to itself a pool works through all that was submitted.
    """
    context = multiprocessing.get_context("spawn")
    with _raising_at_the_end(), ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield pool
        except BaseException:
            children = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.terminate()
            raise


@contextmanager
def _raising_at_the_end() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
