"""What the commands share: `--json`, one sentence on standard error, where the traces are."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from cyclopts import Parameter

from infra import logs

log = logging.getLogger("diffusion")

DATA: Final = Path(__file__).resolve().parents[1] / "tests" / "data"
"""The traces of the demonstration and the benchmarks, in a checkout."""

Json = Annotated[bool, Parameter(negative=(), help="Print one JSON object on standard output.")]


def fail(sentence: str) -> None:
    """Say on standard error what is wrong, and end with exit code 1."""
    say_why(sentence)
    sys.exit(1)


def say_why(sentence: str) -> None:
    """Say on standard error why the program ends; a line of the log, where that is read by
    machines.
    """
    if logs.is_json():
        log.critical(sentence)
    else:
        sys.stderr.write(sentence.rstrip() + "\n")


def print_json(value: Any) -> None:
    """Print one object on standard output."""
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
