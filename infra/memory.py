"""How the C library gives memory back, for programs that run for months.

glibc serves a block above a threshold by a mapping of its own, which goes back to the system when
it is freed; but each time it frees one, it raises the threshold to that size, up to 32 MB. Tables
of some megabytes (a dictionary of 300,000 conversations is rebuilt now and then, beside the old
one) then lie in the heap like everything else, and what is free between them stays with the
process: resident memory went up by 5 MB at a time, and never down.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
"""Of malloc.h."""

MAPPED_BYTES_MIN: Final = 131_072
"""glibc's own threshold, as it is at first; set by hand, it stays."""


def keep_threshold() -> bool:
    """Have large blocks mapped, however many were; False where there is no glibc to ask."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    try:
        mallopt = library.mallopt
    except AttributeError:  # musl has none, and needs none
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN))
