"""Finding a server again: by its pid file, without it, and never somebody else."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.local import lifecycle, ports, process
from infra.local.errors import PortsChangedError, PortTakenError
from infra.local.lifecycle import StartContext
from infra.local.plan import Plan, Server

MakePlan = Callable[..., Plan]

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    f"pathlib.Path('deaf').touch(); {SLEEP}"
)
LISTEN = (
    "import socket, sys, time; port = int(sys.argv[-1].split('=')[1]);"
    "s = socket.create_server(('127.0.0.1', port)); time.sleep(600)"
)


def _always(_port: int, _timeout_s: float) -> bool:
    return True


def _pid(server: Server) -> int:
    found = lifecycle.find(server)
    assert found is not None
    pid: int = found.pid
    return pid


def test_what_was_started_is_found_and_stopped(make_plan: MakePlan, context: StartContext) -> None:
    plan = make_plan(SLEEP, answers=_always)
    started = lifecycle.start(plan, context)
    assert _pid(plan.server) == started.pid
    assert lifecycle.stop(plan.server)
    assert lifecycle.find(plan.server) is None
    assert not plan.server.pid_file.exists()
    assert not lifecycle.stop(plan.server)


def test_a_server_that_ignores_sigterm_is_killed(
    tmp_path: Path, make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan(STUBBORN, answers=lambda _port, _timeout_s: (tmp_path / "deaf").exists())
    started = lifecycle.start(plan, context)
    assert lifecycle.stop(plan.server, patience_s=0.1)
    assert not process.alive(started)


def test_a_killed_server_leaves_a_stale_file_that_means_nothing(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan(SLEEP, answers=_always)
    started = lifecycle.start(plan, context)
    os.kill(started.pid, signal.SIGKILL)
    assert process.wait_for_end(started, 10)
    assert plan.server.pid_file.exists()
    assert lifecycle.find(plan.server) is None
    assert not lifecycle.stop(plan.server)
    assert not plan.server.pid_file.exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        '{"pid": 1}',
        json.dumps({"pid": os.getpid(), "started_s": 1.0}),
        json.dumps({"pid": os.getpid(), "started_s": psutil.Process().create_time()}),
        json.dumps({"pid": 2**22 + 1, "started_s": time.time()}),
    ],
    ids=["nothing", "text", "list", "no time", "earlier", "itself", "nobody"],
)
def test_a_process_id_given_to_somebody_else_is_left_alone(
    make_plan: MakePlan, content: str
) -> None:
    server = make_plan(SLEEP).server
    server.pid_file.parent.mkdir()
    server.pid_file.write_text(content)
    assert lifecycle.find(server) is None
    assert not lifecycle.stop(server)


def test_a_server_whose_file_was_lost_is_found_by_its_marks(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan(LISTEN, answers=ports.accepts)
    started = lifecycle.start(plan, context)
    plan.server.pid_file.unlink()
    assert _pid(plan.server) == started.pid


def test_a_server_without_a_file_that_does_not_listen_yet_is_stopped(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan(SLEEP, answers=_always)
    started = lifecycle.start(plan, context)
    plan.server.pid_file.unlink()
    assert lifecycle.stop(plan.server, patience_s=0)
    assert not process.alive(started)


def test_a_taken_port_names_its_holder(make_plan: MakePlan) -> None:
    server = make_plan(SLEEP).server
    with socket.create_server(("127.0.0.1", server.port)):
        words = rf"Port {server.port}, which Fake needs, is taken by .*process {os.getpid()}"
        with pytest.raises(PortTakenError, match=words):
            lifecycle.check_can_start(server)
        assert lifecycle.find(server) is None
    lifecycle.check_can_start(server)


def test_a_server_on_another_port_than_asked_for_is_named(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan, other = make_plan(SLEEP, answers=_always), make_plan(SLEEP)
    started = lifecycle.start(plan, context)
    lifecycle.check_same_port(plan.server, started)
    with pytest.raises(PortsChangedError, match=f"not on port {other.server.port}"):
        lifecycle.check_same_port(other.server, started)


def test_ports_for_tests_differ_and_lie_below_the_ephemeral_range() -> None:
    found = ports.free_ports(8)
    assert len(set(found)) == 8
    assert all(port in ports.FREE_PORTS for port in found)
