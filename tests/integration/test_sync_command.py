"""`diffusion sync` on a terminal and in a pipe: the list, live, with the path taken and the bytes."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import orjson

from diffusion.system import System, environment_of
from schemas import ids
from schemas.events import Message, UserConversationSettings
from tests.integration.support import NOW_MS, World

Unique = Callable[[str], str]

PATIENCE_S = 30.0
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def environment(system: System) -> dict[str, str]:
    return {**os.environ, **environment_of(system.settings), "COLUMNS": "80", "TERM": "xterm"}


class Terminal:
    """A program on a terminal of its own, and what it has shown."""

    def __init__(self, system: System, *arguments: str) -> None:
        self.descriptor, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "diffusion", *arguments],
            env=environment(system),
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)
        self.shown = ""

    def until(self, *words: str) -> str:
        """Read until all of it was shown; what was shown since the last call."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(word in self.shown for word in words):
            assert time.monotonic() < deadline, self.shown
            if select.select([self.descriptor], [], [], 0.2)[0]:
                with suppress(OSError):
                    data = os.read(self.descriptor, 65_536).decode()
                    self.shown += CONTROL.sub("", data)
        shown, self.shown = self.shown, ""
        return shown


@contextmanager
def terminal(system: System, *arguments: str) -> Iterator[Terminal]:
    made = Terminal(system, *arguments)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        os.close(made.descriptor)


def test_on_a_terminal_the_list_follows_live(system: System, unique: Unique) -> None:
    ann, bob, eve = unique("ann"), unique("bob"), unique("eve")
    chat, other = ids.one_to_one(ann, bob), ids.one_to_one(bob, eve)
    world = World(system)
    world.write(
        Message(chat, 3, ann, NOW_MS, (ann, bob)), Message(other, 1, eve, NOW_MS, (bob, eve))
    )
    with terminal(system, "sync", "--user", bob) as shown:
        shown.until("4 unread", "path full (fresh): 2 conversations", "bytes", chat)
        world.write(
            Message(chat, 5, ann, NOW_MS + 1, (ann, bob)),
            UserConversationSettings(bob, other, pinned=True),
            settle=False,
        )
        shown.until("6 unread", "pinned", "path delta")
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in shown.shown


def test_in_a_pipe_there_is_one_line_for_each_event(system: System, unique: Unique) -> None:
    ann, bob = unique("ann"), unique("bob")
    chat = ids.one_to_one(ann, bob)
    world = World(system)
    world.write(Message(chat, 3, ann, NOW_MS, (ann, bob)))
    process = subprocess.Popen(
        [sys.executable, "-m", "diffusion", "sync", bob, "--follow", "--json"],
        env=environment(system),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        seen: list[str] = []
        written = False
        for line in process.stdout:
            event = orjson.loads(line)
            seen.append(event["event"])
            if event["event"] == "StateChanged" and event["after"] == "live" and not written:
                world.write(Message(chat, 4, ann, NOW_MS + 1, (ann, bob)), settle=False)
                written = True
            if event["event"] == "SyncFinished" and event["report"]["path"] == "delta":
                break
        assert {"StateChanged", "SyncStarted", "SyncFinished", "PathTaken"} <= set(seen)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
