"""The log of a program: one form for all libraries, bounded, and nobody is named."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from infra import logs
from infra.logs.bound import LINES_MAX
from infra.logs.forms import FIELDS, ConsoleForm
from infra.logs.json_form import BASE, JsonForm
from schemas.errors import RetryableError

USER = "user-7f3a9c51"


class Log:
    """What one handler writes."""

    def __init__(self, form: logging.Formatter) -> None:
        self.stream = io.StringIO()
        self.handler = logs.BoundedHandler(self.stream)
        self.handler.setFormatter(form)
        self.log = logging.Logger("diffusion.test")  # noqa: LOG001  # of this test alone
        self.log.addHandler(self.handler)

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def as_json() -> Iterator[Log]:
    found = Log(JsonForm("materializer"))
    yield found
    found.handler.close()


def test_a_line_is_one_object_with_the_same_parts(as_json: Log) -> None:
    as_json.log.warning("partition %d is behind", 3, extra={"partition": 3, "offset": 12})
    (found,) = as_json.objects()
    assert {name: found[name] for name in found if name not in {"time", "process_id"}} == {
        "level": "WARNING",
        "logger": "diffusion.test",
        "message": "partition 3 is behind",
        "program": "materializer",
        "partition": 3,
        "offset": 12,
    }
    assert next(iter(found)) == "time"
    assert datetime.fromisoformat(found["time"]).utcoffset() == timedelta(0)
    assert isinstance(found["process_id"], int)


@pytest.mark.parametrize("form", [JsonForm("api"), ConsoleForm()], ids=["json", "console"])
def test_what_is_not_declared_is_not_written(form: logging.Formatter) -> None:
    found = Log(form)
    found.log.error("failed", extra={"user_id": USER, "token": USER, "status": 503})
    found.log.error({"user_id": USER})
    text = found.stream.getvalue()
    assert "503" in text
    assert USER not in text.splitlines()[0]
    if isinstance(form, JsonForm):
        assert USER not in text


@pytest.mark.parametrize("form", [JsonForm("api"), ConsoleForm()], ids=["json", "console"])
def test_an_exception_is_one_field_and_quotes_nobody(form: logging.Formatter) -> None:
    found = Log(form)
    try:
        try:
            {}[USER]
        except KeyError as error:
            raise RetryableError("The store is away.") from error
    except RetryableError:
        found.log.exception("a batch failed")
    text = found.stream.getvalue()
    assert USER not in text.replace("{}[USER]", "")
    assert "Traceback" in text, "which is what whoever judges a log looks for"
    assert "RetryableError: The store is away." in text
    assert "caused by KeyError" in text
    if isinstance(form, JsonForm):
        (line,) = found.objects()
        assert set(line) == set(BASE)


def test_no_field_could_name_anybody() -> None:
    assert not [name for name in FIELDS if "user" in name or "conversation" in name]
    assert set(FIELDS).isdisjoint(BASE)


def test_the_console_has_the_fields_too() -> None:
    found = Log(ConsoleForm())
    found.log.warning("a batch", extra={"records": 2, "trace_ids": ["a", "b"]})
    (line,) = found.lines()
    assert line.endswith(" WARNING diffusion.test: a batch records=2 trace_ids=a,b")


def test_lines_alike_are_bounded_and_the_rest_is_counted(as_json: Log) -> None:
    for number in range(LINES_MAX + 30):
        as_json.log.error("Unable to connect to node %s", number)
    as_json.log.warning("something else")
    assert len(as_json.objects()) == LINES_MAX + 1
    as_json.handler.close()
    last = as_json.objects()[-1]
    assert (last["left_out"], last["level"], last["logger"]) == (30, "ERROR", "diffusion.test")
    assert last["message"].startswith("30 more lines like this were left out")
    assert last["message"].endswith("Unable to connect to node %s")


@pytest.mark.parametrize("level", [logging.INFO, logging.CRITICAL])
def test_what_was_asked_for_and_what_ends_a_program_is_never_left_out(
    as_json: Log, level: int
) -> None:
    for _ in range(LINES_MAX + 5):
        as_json.log.log(level, "a batch")
    assert len(as_json.objects()) == LINES_MAX + 5


PROGRAM = """
import logging, threading, warnings
from infra import logs
logs.begin("first")
logs.begin("second", "json", "{level}")
logging.getLogger("aiokafka").info("library info")
logging.getLogger("aiokafka").debug("library debug")
logging.getLogger("diffusion.any").debug("our debug")
logging.getLogger("diffusion.any").warning("%d", "no number")
warnings.warn("a warning")
thread = threading.Thread(target=lambda: dict()["who"])
thread.start()
thread.join()
raise KeyError("who")
"""


def ended(level: str) -> list[dict[str, Any]]:
    program = PROGRAM.format(level=level)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_whatever_a_process_says_is_an_object() -> None:
    found = ended("WARNING")
    assert {one["program"] for one in found} == {"second"}
    assert [(one["logger"], one["level"]) for one in found] == [
        ("py.warnings", "WARNING"),
        ("diffusion", "CRITICAL"),
        ("diffusion", "CRITICAL"),
    ]
    assert all("KeyError" in one["exception"] for one in found[1:])
    assert not [one for one in found[1:] if "who" in one["exception"].replace('["who"]', "")]


def test_libraries_are_not_heard_below_info() -> None:
    said = [one["message"] for one in ended("DEBUG")]
    assert "our debug" in said
    assert "library info" in said
    assert "library debug" not in said


def test_without_the_settings_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[tuple[str, ...]] = []
    monkeypatch.setattr(logs, "begin", lambda *given: began.append(given))
    logs.begin_by_environment("diffusion")
    monkeypatch.setenv("DIFFUSION_LOG_FORMAT", "json")
    monkeypatch.setenv("DIFFUSION_LOG_LEVEL", "info")
    logs.begin_by_environment("diffusion")
    monkeypatch.setenv("DIFFUSION_LOG_LEVEL", "nonsense")
    logs.begin_by_environment("diffusion")
    assert began == [
        ("diffusion", "console", "WARNING"),
        ("diffusion", "json", "INFO"),
        ("diffusion", "json", "WARNING"),
    ]


def test_what_is_no_text_is_written_with_a_mark_for_it(as_json: Log) -> None:
    as_json.log.warning("half a pair %s", "\ud800", extra={"partition": 3})
    (found,) = as_json.objects()
    assert (found["message"], found["partition"]) == ("half a pair ?", 3)
