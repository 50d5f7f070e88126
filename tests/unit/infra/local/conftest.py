"""A server that is a small Python program: it can do everything a real one does wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from infra.local import lifecycle, ports
from infra.local.plan import Plan, Server
from infra.local.process import identity_options

Answers = Callable[[int, float], bool]


def _never(_port: int, _timeout_s: float) -> bool:
    return False


@pytest.fixture
def make_plan(tmp_path: Path) -> Iterator[Callable[..., Plan]]:
    """Makes plans whose command is `python -c program`; ends at last what they started."""
    made: list[Server] = []

    def make(program: str, *, answers: Answers = _never, name: str = "fake") -> Plan:
        port = ports.free_ports(1)[0]
        server = Server(
            name=name,
            title="Fake",
            data_dir=tmp_path,
            port=port,
            listeners={"fake_port": port},
            answers=answers,
            identity=identity_options(name, tmp_path),
        )
        made.append(server)
        command = (sys.executable, "-c", program, *server.marks)
        return Plan(server=server, files={}, command=command)

    yield make
    for server in made:
        lifecycle.stop(server, patience_s=0)


@pytest.fixture
def context() -> lifecycle.StartContext:
    """A start that may take a moment and that nobody watches."""
    return lifecycle.StartContext(timeout_s=20, progress=lambda _what: None, cancelled=Event())
