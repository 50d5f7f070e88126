"""How the C library gives memory back, for programs that run for months.

glibc serves a block above a threshold by a mapping of its own, which goes back to the system when
it is freed; but each time it frees one, it raises the threshold to that size, up to 32 MB. Tables
of some megabytes (a dictionary of 300,000 conversations is rebuilt now and then, beside the old
one) then lie in the heap like everything else, and what is free between them stays with the
process: resident memory went up by 5 MB at a time, and never down.

Small blocks lie in the heap, and glibc gives back what is free at its end only. Free pages in its
middle are given back by `malloc_trim`, which is called now and then.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
"""Of malloc.h."""

MAPPED_BYTES_MIN: Final = 131_072
"""glibc's own threshold, as it is at first; set by hand, it stays."""


TRIM_INTERVAL_S: Final = 60.0
"""A trim walks over all free blocks: 15 to 30 ms for a heap of 400 MB with 250,000 holes, in which
nobody else gets memory of it. Once a minute that is nothing, and a minute's growth is small."""


def keep_small() -> bool:
    """Have large blocks mapped, however many were, and free pages given back from now on; False
    where there is no glibc to ask.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    try:
        mallopt, trim = library.mallopt, library.malloc_trim
    except AttributeError:  # musl has neither, and needs neither
        return False
    trim.argtypes = [ctypes.c_size_t]

    def trim_for_ever() -> None:
        while True:
            time.sleep(TRIM_INTERVAL_S)
            trim(0)  # without the interpreter's lock

    threading.Thread(target=trim_for_ever, name="memory", daemon=True).start()
    return bool(mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN))
