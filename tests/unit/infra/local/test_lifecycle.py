"""Starts that fail: each ends with a sentence that says why, and with no process left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event

import pytest

from infra.local import lifecycle, log_files
from infra.local.errors import ServerDiedError, StartTimeoutError
from infra.local.lifecycle import StartContext
from infra.local.plan import Plan

MakePlan = Callable[..., Plan]

LOG = """
import sys, time
open("logs/fake.log", "a").write({text!r})
{end}
"""


def _program(*lines: str, end: str = "time.sleep(600)") -> str:
    return LOG.format(text="\n".join(lines) + "\n", end=end)


def test_a_server_that_never_answers_is_stopped_and_its_log_is_quoted(
    make_plan: MakePlan, context: StartContext
) -> None:
    def no_answer_to_what_logs(_port: int, _timeout_s: float) -> bool:
        while "Godot" not in "".join(log_files.lines_since(plan.server.log, 0)):
            time.sleep(0.01)
        return False

    plan = make_plan(_program("INFO waiting for Godot"), answers=no_answer_to_what_logs)
    with pytest.raises(StartTimeoutError, match=r"did not answer within 0 s.*waiting for Godot"):
        lifecycle.start(plan, replace(context, timeout_s=0))
    assert lifecycle.find(plan.server) is None


def test_a_server_that_dies_says_its_error_and_the_cause(
    make_plan: MakePlan, context: StartContext
) -> None:
    lines = (
        "ERROR an old one",
        "INFO fine",
        "ERROR [main] Exception encountered during startup",
        "java.lang.RuntimeException: cannot go on",
        "\tat org.example.Main.main(Main.java:1)",
        "Caused by: java.io.IOException: the disk is on fire",
        "INFO goodbye",
    )
    plan = make_plan(_program(*lines, end="sys.exit(3)"))
    words = r"Fake ended with exit code 3 .*during startup .*the disk is on fire"
    with pytest.raises(ServerDiedError, match=words):
        lifecycle.start(plan, context)
    assert not plan.server.pid_file.exists()


def test_an_error_of_an_earlier_start_is_not_todays_reason(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan(_program("INFO only this", end="sys.exit(1)"))
    plan.server.log.parent.mkdir()
    plan.server.log.write_text("ERROR of last week\n")
    with pytest.raises(ServerDiedError, match="only this") as caught:
        lifecycle.start(plan, context)
    assert "last week" not in str(caught.value)


def test_a_server_that_dies_before_it_logs_is_quoted_from_its_console(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan("print('Error: could not create the Java Virtual Machine.'); 1/0")
    with pytest.raises(ServerDiedError, match="ZeroDivisionError"):
        lifecycle.start(plan, context)


def test_a_server_out_of_memory_is_quoted_from_its_console(
    make_plan: MakePlan, context: StartContext
) -> None:
    end = "print('Terminating due to java.lang.OutOfMemoryError: Java heap space'); sys.exit(3)"
    plan = make_plan(_program("INFO all is well", end=end))
    with pytest.raises(ServerDiedError, match=r"exit code 3 .*OutOfMemoryError: Java heap space"):
        lifecycle.start(plan, context)


def test_a_server_ended_by_a_signal_is_told_as_such(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(ServerDiedError, match="was ended by signal 9"):
        lifecycle.start(plan, context)


def test_a_start_that_is_called_off_leaves_nothing(
    make_plan: MakePlan, context: StartContext
) -> None:
    cancelled = Event()
    cancelled.set()
    plan = make_plan(_program("INFO x"))
    with pytest.raises(lifecycle.StartCancelled):
        lifecycle.start(plan, replace(context, cancelled=cancelled))
    assert lifecycle.find(plan.server) is None


def test_storage_is_put_in_place_when_it_is_complete(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = make_plan("import time; time.sleep(600)", answers=lambda _port, _timeout_s: True)
    target = plan.server.data_dir / "tmp" / "formatting-2"
    script = "import pathlib; p = pathlib.Path('tmp/formatting-2'); p.mkdir(); (p / 'a').touch()"
    leftover = target.with_name("formatting-1")  # of a start that was killed
    leftover.mkdir(parents=True)
    leftover.with_suffix(".properties").touch()
    plan = replace(
        plan,
        format_command=(sys.executable, "-c", script),
        format_target=target,
        is_formatted=lambda: False,
    )
    lifecycle.start(plan, context)
    assert [path.name for path in plan.server.folder.iterdir()] == ["a"]
    assert not target.exists()
    assert not list(leftover.parent.glob("formatting-*"))


def test_a_format_that_fails_puts_nothing_in_place(
    make_plan: MakePlan, context: StartContext
) -> None:
    plan = replace(
        make_plan("pass"),
        format_command=(sys.executable, "-c", "raise SystemExit('no such cluster')"),
        format_target=None,
        is_formatted=lambda: False,
    )
    plan = replace(plan, format_target=plan.server.data_dir / "tmp" / "formatting-1")
    with pytest.raises(ServerDiedError, match=r"could not format its storage.*no such cluster"):
        lifecycle.start(plan, context)
    assert not plan.server.folder.exists()


def test_a_long_log_is_read_from_its_end(make_plan: MakePlan) -> None:
    log = make_plan("pass").server.log
    log.parent.mkdir()
    log.write_text("INFO noise\n" * 100_000 + "ERROR the end\n")
    assert log_files.telling_line(log_files.lines_since(log, 0)) == "ERROR the end"
    assert log_files.telling_line([]) == ""
