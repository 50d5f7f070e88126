"""The command line as a newcomer uses it: processes, exit codes, and what they print."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from diffusion.demo import own_servers
from diffusion.processes import Child, Processes
from diffusion.system import environment_of, wait_quiet, wait_ready
from infra.settings import Settings

DATA = Path(__file__).parents[1] / "data"


class Shell:
    """Runs `diffusion` with settings of its own."""

    def __init__(self, settings: Settings) -> None:
        self.environment = environment_of(settings)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "diffusion", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=240,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "diffusion", *arguments],
            env={**os.environ, **self.environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1, "one object on one line"
        return orjson.loads(done.stdout)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return own_servers(Settings(), tmp_path / "servers")


def test_from_nothing_to_a_synced_device_and_down_again(settings: Settings, tmp_path: Path) -> None:
    shell = Shell(settings)
    assert shell.run("status").returncode == 1
    try:
        up = shell.run("up")
        assert up.returncode == 0, up.stderr
        assert "answers after" in up.stderr
        again = shell.run("up")
        assert again.returncode == 0
        assert "is running already" in again.stderr
        trace = tmp_path / "trace.csv"
        trace.write_text("sender,recipient,sent_at_s\n1,2,1082040961\n2,1,1082040999\n")
        assert shell.json("replay", str(trace), "--seed", "3")["messages"] >= 2
        with Processes() as processes:
            for kind in ("stream-worker", "materializer", "api"):
                log = tmp_path / f"{kind}.log"
                processes.start(Child(kind, (kind,), shell.environment, log, ""))
            url = f"http://127.0.0.1:{settings.api.port}"
            wait_ready(url, processes)
            wait_quiet(settings, processes.check)
            found = shell.json("sync", "1000000001")
            assert found["report"]["path"] == "full"
            assert [one["last_seq"] for one in found["conversations"]] == [2]
            store = str(tmp_path / "device.db")
            shell.json("sync", "1000000001", "--store", store)
            assert shell.json("sync", "1000000001", "--store", store)["report"]["path"] == "nothing"
        rows = shell.json("status")
        assert {row["name"]: row["state"] for row in rows[:2]} == {
            "kafka": "running",
            "cassandra": "running",
        }
    finally:
        down = shell.run("down")
    assert down.returncode == 0, down.stderr
    assert shell.run("status").returncode == 1


def test_a_taken_port_is_one_sentence_and_exit_code_1(settings: Settings) -> None:
    port = int(settings.kafka.bootstrap_servers.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        done = Shell(settings).run("up")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("migrate",), "does not answer"),
        (("replay", str(DATA / "README.md")), "README.md"),
        (("sync", "anybody"), "127.0.0.1"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_exit_code_1(
    settings: Settings, arguments: tuple[str, ...], words: str
) -> None:
    done = Shell(settings).run(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["stream-worker", "materializer", "api"])
def test_a_program_says_what_is_away_and_waits_for_it(settings: Settings, program: str) -> None:
    with Shell(settings).start(program) as running:
        assert running.stderr is not None
        said = running.stderr.readline()
        assert "does not answer" in said
        assert "Trying again until it does." in said
        assert running.poll() is None
        running.terminate()
        assert "Traceback" not in running.stderr.read()
        assert running.wait() == -signal.SIGTERM


def test_settings_that_do_not_fit_are_refused_with_their_name(settings: Settings) -> None:
    shell = Shell(settings)
    shell.environment["DIFFUSION_POLICY_MEMBERS_RETURN"] = "6000"
    done = shell.run("api")
    assert done.returncode == 1
    assert "policy.members_return" in done.stderr
    assert "Traceback" not in done.stderr
