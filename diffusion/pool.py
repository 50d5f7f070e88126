"""Work in several processes of its own, which end with the one that has it done."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def spawned(workers: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes, by default one a core. They end when this one does, of whatever, and
    when an exception leaves the block; left to itself a pool works through all that was submitted.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_watch_parent) as pool:
        try:
            yield pool
        except BaseException:
            children = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.terminate()
            raise


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a process of a pool"
    parent.join()
    os._exit(1)
