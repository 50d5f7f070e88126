"""Clients of several threads whose first answers come at the same moment, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from schemas.encoding import Format, encode
from schemas.protocol import ConversationEntry, SyncResponse

PROGRAM = """
import sys, threading
import sdk.client
from schemas import encoding
from schemas.protocol import SyncResponse

sys.setswitchinterval(1e-6)
answer, ready = sys.stdin.buffer.read(), threading.Barrier(8)
made = encoding._decoder.cache_info().misses

def read():
    ready.wait()
    encoding.decode(answer, SyncResponse, encoding.Format.JSON)

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(encoding._decoder.cache_info().misses - made)
"""
"""Prints how many decoders were made by the threads."""


@pytest.mark.parametrize("_again", range(3))
def test_nobody_reads_with_what_another_is_still_making(_again: int) -> None:
    entries = tuple(ConversationEntry(f"sg_{number}", number) for number in range(50))
    answer = encode(SyncResponse("full", entries), Format.JSON)
    ended = subprocess.run([sys.executable, "-c", PROGRAM], input=answer, capture_output=True)
    assert (ended.returncode, ended.stdout) == (0, b"0\n"), ended.stderr
