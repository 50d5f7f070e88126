"""Several workers by one command: who they are, and what happens when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion import fleet, processes
from diffusion.processes import Child, Processes, ProcessFailed
from infra.settings import MaterializerSettings, Settings, StreamSettings
from schemas.errors import PermanentError

SETTINGS = Settings(
    stream=StreamSettings(metrics_port=9100, instance_id="left"),
    materializer=MaterializerSettings(),
)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("it did not come true in 30 s")


def test_each_has_a_port_and_a_name_of_its_own() -> None:
    found = fleet.children("stream-worker", 2, SETTINGS)
    assert [child.name for child in found] == ["stream-worker-1", "stream-worker-2"]
    assert [dict(child.environment) for child in found] == [
        {"DIFFUSION_STREAM_METRICS_PORT": "9100", "DIFFUSION_STREAM_INSTANCE_ID": "left-1"},
        {"DIFFUSION_STREAM_METRICS_PORT": "9101", "DIFFUSION_STREAM_INSTANCE_ID": "left-2"},
    ]
    assert [child.metrics_url for child in found] == [
        "http://127.0.0.1:9100/metrics",
        "http://127.0.0.1:9101/metrics",
    ]


def test_what_is_not_set_stays_so() -> None:
    for child in fleet.children("materializer", 3, SETTINGS):
        assert child.environment["DIFFUSION_MATERIALIZER_METRICS_PORT"] == "0"
        assert child.environment["DIFFUSION_MATERIALIZER_INSTANCE_ID"] == ""
        assert child.metrics_url == ""


@pytest.mark.parametrize("count", [-1, 0, 257])
def test_a_count_without_sense_is_refused(count: int) -> None:
    with pytest.raises(PermanentError, match="--processes"):
        fleet.run("materializer", count, SETTINGS)


def ending(name: str) -> Child:
    """A child that ends at once: no such command."""
    return Child(name, ("no-such-command",), {}, None, "")


def test_a_child_that_keeps_ending_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "FAILURES_MAX", 1)
    monkeypatch.setattr(processes, "RESTART_WAIT_S", 0.05)
    said: list[str] = []
    with Processes() as running:
        running.start(ending("one"))

        def failed() -> bool:
            try:
                running.check()
            except ProcessFailed as error:
                said.append(str(error))
            return bool(said)

        wait_until(failed)
    assert "one ended 2 times" in said[0]
    assert "no-such-command" in "".join(capfd.readouterr())


def test_an_end_after_a_good_while_is_not_held_against_it() -> None:
    child = ending("one")
    child.started_s = processes.monotonic_s() - processes.HEALTHY_S - 1
    child.failures = processes.FAILURES_MAX
    processes._count_end(child)
    assert (child.failures, child.restarts) == (1, 1)


def test_a_signal_ends_all_of_them(tmp_path: Path) -> None:
    """The parent in a process of its own, with children that only wait."""
    program = (
        "import sys, pathlib\n"
        "from diffusion import fleet, processes\n"
        "from infra.settings import Settings\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "import subprocess\n"
        "def spawn(child):\n"
        "    child.started_s = processes.monotonic_s()\n"
        "    code = 'import time; time.sleep(600)'\n"
        "    child.process = subprocess.Popen([sys.executable, '-c', code])\n"
        "    (folder / child.name).write_text(str(child.process.pid))\n"
        "processes._spawn = spawn\n"
        "fleet.run('materializer', 2, Settings())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])

    def pids() -> list[int]:
        return [int(text) for one in tmp_path.iterdir() if (text := one.read_text())]

    try:
        wait_until(lambda: len(pids()) == 2 or parent.poll() is not None)
        found = pids()
        assert len(found) == 2
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == 0
    finally:
        parent.kill()
        parent.wait()
    for pid in found:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
