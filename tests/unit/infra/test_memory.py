"""Memory of large blocks goes back to the system, however many came before."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
from infra import memory

if sys.argv[1] == "kept":
    assert memory.keep_threshold()
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
c.malloc.argtypes, c.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]

def resident_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

def block():
    found = c.malloc(SIZE)
    ctypes.memset(found, 1, SIZE)
    return found

SIZE = 16 * 2**20
c.free(block())  # from here on glibc would serve such blocks from its heap
before = resident_kb()
large = block()
above = c.malloc(2_000)  # something that stays, behind it
ctypes.memset(above, 1, 2_000)
c.free(large)
print((resident_kb() - before) // 1024)
"""


def left_mb(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is asked on Linux only")
def test_large_blocks_go_back_to_the_system() -> None:
    assert left_mb("kept") <= 2
    assert left_mb("as it is") >= 12, "otherwise there is nothing to keep"
