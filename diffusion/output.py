"""What the commands share: `--json`, one sentence on standard error, where the traces are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from cyclopts import Parameter

DATA: Final = Path(__file__).resolve().parents[1] / "tests" / "data"
"""The traces of the demonstration and the benchmarks, in a checkout."""

Json = Annotated[bool, Parameter(negative=(), help="Print one JSON object on standard output.")]


def fail(sentence: str) -> None:
    """Say on standard error what is wrong, and end with exit code 1."""
    sys.stderr.write(sentence.rstrip() + "\n")
    sys.exit(1)


def print_json(value: Any) -> None:
    """Print one object on standard output."""
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
