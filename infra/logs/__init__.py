"""The log of every program, set up in one place: form, level, and how many lines alike there are.

Everything goes through the standard library's logging, so that what Faust, aiokafka, Cassandra's
driver, librdkafka and uvicorn say has the same form as what we do. `docs/tracing.md` describes it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import TracebackType
from typing import Final, Literal, TextIO, TypeAlias

from infra.clock import monotonic_s
from infra.logs.bound import WINDOW_S, Bound, LeftOut, kind_of
from infra.logs.forms import ConsoleForm

Form: TypeAlias = Literal["console", "json"]
Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

OURS: Final = ("diffusion", "sdk")
"""Loggers whose level is the setting's. Others are never more talkative than INFO: what libraries
say for their own developers may be whole requests, which name users."""

log = logging.getLogger("diffusion")


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes lines; of warnings and errors alike only so many (`infra.logs.bound`). The other
    levels are what somebody asked for, and what is critical is said once by itself.
    """

    def __init__(self, stream: TextIO, bound: Bound | None = None) -> None:
        super().__init__(stream)
        self._bound = bound or Bound()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it."""
        now_s = monotonic_s()
        self._tell(self._bound.over(now_s))
        if logging.WARNING <= record.levelno < logging.CRITICAL:
            kind = kind_of(record.name, record.levelno, record.msg)
            if not self._bound.admits(kind, now_s):
                return
        super().emit(record)

    def close(self) -> None:
        """Say what was left out, and end."""
        self.acquire()
        try:
            self._tell(self._bound.over(monotonic_s(), all_of_them=True))
        finally:
            self.release()
        super().close()

    def _tell(self, left_out: list[LeftOut]) -> None:
        for (name, level, template), lines in left_out:
            said = {
                "name": name,
                "levelno": level,
                "levelname": logging.getLevelName(level),
                "msg": "%d more lines like this were left out within %g s: %s",
                "args": (lines, WINDOW_S, template),
                "left_out": lines,
            }
            super().emit(logging.makeLogRecord(said))


class _Standing:
    """What this process logs through."""

    handler: BoundedHandler | None = None
    form: Form = "console"


def begin(program: str, form: Form = "console", level: Level = "WARNING") -> None:
    """Log to standard error from now on, as `program`. A second call replaces the first."""
    handler = BoundedHandler(sys.stderr)
    handler.setFormatter(_form(program, form))
    root = logging.getLogger()
    if _Standing.handler is not None:
        root.removeHandler(_Standing.handler)
        _Standing.handler.close()
    root.addHandler(handler)
    _Standing.handler, _Standing.form = handler, form
    number = logging.getLevelNamesMapping()[level]
    root.setLevel(max(number, logging.INFO))
    for name in OURS:
        logging.getLogger(name).setLevel(number)
    # It has a line for each request, with its address.
    logging.getLogger("httpx").setLevel(max(number, logging.WARNING))
    # A line that cannot be made would be told with its arguments, past all of this.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _on_uncaught if form == "json" else sys.__excepthook__
    threading.excepthook = _on_uncaught_in_thread


def _form(program: str, form: Form) -> logging.Formatter:
    if form == "console":
        return ConsoleForm()
    from infra.logs.json_form import JsonForm

    return JsonForm(program)


def begin_by_environment(program: str) -> None:
    """`begin` by the variables alone: for the command line, which reads the settings later, or
    never. What is no form or level is refused there.
    """
    form: Form = "json" if os.environ.get("DIFFUSION_LOG_FORMAT") == "json" else "console"
    wanted = os.environ.get("DIFFUSION_LOG_LEVEL", "").upper()
    levels: dict[str, Level] = {"DEBUG": "DEBUG", "INFO": "INFO", "ERROR": "ERROR"}
    begin(program, form, levels.get(wanted, "WARNING"))


def is_json() -> bool:
    """Whether lines are objects: then whatever else a program has to say is to be one, too."""
    return _Standing.form == "json"


def _on_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the program ends by an error", exc_info=(kind, error, trace))


def _on_uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and not issubclass(found.exc_type, SystemExit):
        told = (found.exc_type, found.exc_value, found.exc_traceback)
        log.critical("a thread ended by an error", exc_info=told)
