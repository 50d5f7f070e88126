"""An import on real servers, killed in the middle: every user ends with what the lines say.

`IMPORT_MEMBERSHIPS=1000000 ./dev test tests/integration/test_import.py` does it with a million.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from diffusion.importing import progress
from diffusion.importing.run import rejected_path
from diffusion.oracle import compare
from diffusion.system import System, environment_of
from diffusion.verify import DEVICES_AT_ONCE, Devices
from schemas.events import MembersLeft, Message
from tests.imports import T, encode, expected, world
from tests.integration.conftest import MEMBERS_MAX
from tests.integration.support import PATIENCE_S, World

MEMBERSHIPS = int(os.environ.get("IMPORT_MEMBERSHIPS", "20000"))
SMALL, LARGE = MEMBERS_MAX - 4, MEMBERS_MAX + 16
"""Members of groups that stay diffused, and of such that are too large for it on the way."""

KILLS = 2
SECONDS_MAX = 3_600


class Import:
    """The command on a file, as processes that may be killed."""

    def __init__(self, system: System, file: Path) -> None:
        self.file = file
        self.environment = os.environ | environment_of(system.settings)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "diffusion", "import", str(self.file), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def finish(self, *arguments: str) -> tuple[int, bytes, str]:
        running = self.start(*arguments)
        out, err = running.communicate(timeout=SECONDS_MAX)
        return running.returncode, out, err.decode()

    def offset(self) -> int:
        path = progress.path_of(self.file)
        return orjson.loads(path.read_bytes())["offset"] if path.exists() else 0

    def killed_on_the_way(self, *arguments: str) -> int:
        """Where it was when it was killed, behind where it began."""
        began = self.offset()
        with self.start(*arguments) as running:
            deadline = time.monotonic() + PATIENCE_S
            while self.offset() <= began:
                assert running.poll() is None, running.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.002)
            running.send_signal(signal.SIGKILL)
            running.communicate()
        assert running.returncode == -signal.SIGKILL
        return self.offset()


def users_that_differ(system: System, lines_say: dict[str, dict]) -> list[str]:
    with Devices(system) as devices, ThreadPoolExecutor(DEVICES_AT_ONCE) as pool:

        def differences(user: str) -> list[str]:
            with devices.make(user, "import") as client:
                client.sync()
                return [f"{user}: {one}" for one in compare(lines_say[user], client.state())]

        return [one for found in pool.map(differences, lines_say) for one in found]


def test_an_import_that_is_killed_and_resumed_is_exact_for_every_user(
    system: System, unique: Callable[[str], str], tmp_path: Path
) -> None:
    users = [unique(f"user{number}") for number in range(max(100, MEMBERSHIPS // 50))]
    small, large = MEMBERSHIPS * 3 // 4 // SMALL, MEMBERSHIPS // 4 // LARGE
    lines = world(small, SMALL, users, unique("small")) + world(
        large, LARGE, users, unique("large")
    )
    file = tmp_path / "all.ndjson"
    file.write_bytes(encode(lines) + b"nonsense\n")
    run = Import(system, file)

    places = [run.killed_on_the_way(*(["--resume"] if number else [])) for number in range(KILLS)]
    assert 0 < places[0] < places[1] < file.stat().st_size, "killed in the middle"
    code, _, said = run.finish()
    assert (code, "--resume" in said) == (1, True), "not begun again unasked"
    code, out, said = run.finish("--resume", "--json")
    assert code == 1, said
    assert f"line {len(lines) + 1:,}:" in said
    found = orjson.loads(out)
    assert (found["rejected"], found["lines"]) == (1, len(lines) + 1)
    assert found["memberships"] == small * SMALL + large * LARGE
    assert rejected_path(file).read_bytes() == b"nonsense\n"

    system.wait_quiet()
    assert users_that_differ(system, expected(lines)) == []


def test_what_is_written_after_an_import_goes_on_from_it(
    system: System, unique: Callable[[str], str], tmp_path: Path
) -> None:
    """Messages, and a leave; and the same file again takes back no message."""
    users, prefix = [unique(f"user{number}") for number in range(4)], unique("room")
    lines, room = world(2, 4, users, prefix), f"sg_{prefix}1"
    file = tmp_path / "all.ndjson"
    file.write_bytes(encode(lines))
    run = Import(system, file)
    assert run.finish()[0] == 0
    system.wait_quiet()
    assert users_that_differ(system, expected(lines)) == []

    with World(system).device(users[0]) as device:
        device.sync()
        World(system).write(
            Message(room, 9, users[1], T + 5_000),
            MembersLeft(room, (users[2],), 9, T + 6_000, "quit"),
        )
        progress.path_of(file).unlink()
        assert run.finish()[0] == 0
        system.wait_quiet()
        device.sync()
        state = device.state()[room]
        assert (state.max_seq, state.active_at_ms) == (9, T + 5_000)
    with World(system).device(users[2]) as device:
        device.sync()
        assert device.state()[room].own.member, "an old join behind a leave: docs/import.md"


def test_without_kafka_it_is_a_sentence_and_can_be_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "all.ndjson"
    file.write_bytes(encode(world(1, 2, ["ann", "bob"], "")))
    done = subprocess.run(
        [sys.executable, "-m", "diffusion", "import", str(file)],
        env=os.environ | {"DIFFUSION_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert not progress.path_of(file).exists(), "nothing was begun"
