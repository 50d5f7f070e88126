"""Processes of a pool end with the one that has work done in them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from diffusion.pool import spawned

PATIENCE_S = 30.0

PROGRAM = """
import signal, time
from diffusion.pool import spawned

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever began this may ignore it
    with spawned(1) as pool:
        for _ in range(100):
            pool.submit(time.sleep, 60)
        while not pool._processes:
            time.sleep(0.01)
        print(*pool._processes, flush=True)
        # Python raises for a signal that came right before a wait only behind it.
        for _ in range(600):
            time.sleep(0.1)
"""


def ended(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_them_whatever_is_submitted(sent: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout is not None
    child = int(program.stdout.readline())
    program.send_signal(sent)
    assert program.wait(PATIENCE_S) != 0
    assert ended(child)
    program.stdout.close()


def test_what_is_submitted_is_done_and_signals_are_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with spawned(1) as pool:
        assert pool.submit(abs, -3).result() == 3
    assert signal.getsignal(signal.SIGTERM) is before
