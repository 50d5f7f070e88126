"""What is free goes back to the system: large blocks at once, pages of small ones in the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
from infra import memory

if sys.argv[1] == "kept":
    assert memory.keep_small()
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


HOLES = """
import ctypes, sys, time
from infra import memory

memory.TRIM_INTERVAL_S = 0.2
if sys.argv[1] == "kept":
    assert memory.keep_small()

def resident_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

before = resident_kb()
blocks = [bytes(2_000) for _ in range(16_000)]
held = blocks[::40]  # some of each stretch stay, the last one among them
held.append(blocks[-1])
del blocks
until = time.monotonic() + (20 if sys.argv[1] == "kept" else 1)
while (left := (resident_kb() - before) // 1024) > 8 and time.monotonic() < until:
    time.sleep(0.1)
print(left)
"""

on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="glibc is asked on Linux only"
)


def left_mb(program: str, how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", program, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@on_linux
def test_pages_between_small_blocks_go_back_to_the_system() -> None:
    assert left_mb(HOLES, "kept") <= 8
    assert left_mb(HOLES, "as it is") >= 20, "otherwise there is nothing to give back"


@on_linux
def test_large_blocks_go_back_to_the_system() -> None:
    assert left_mb(PROGRAM, "kept") <= 2
    assert left_mb(PROGRAM, "as it is") >= 12, "otherwise there is nothing to keep"
