"""Reading a server's log for the line that tells why it did not start.

Reads the end of a file only, and only what was written since this start: an error of last week
must not be shown as the reason of today.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TAIL_BYTES = 256 * 1024
"""More than any stack trace, less than anyone would wait for."""

_LINE_CHARS_MAX = 300
"""A sentence stays a sentence; the log has the rest."""

_ERROR = re.compile(r"\b(ERROR|FATAL)\b")
_EXCEPTION = re.compile(r"^(?:Caused by: |Exception in thread \S+ )?[\w.$]+(?:Exception|Error)\b")


def size_of(path: Path) -> int:
    """Bytes in the file, 0 when there is none: the place to read from later."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def lines_since(path: Path, offset: int) -> list[str]:
    """Non-empty lines written since `offset`, at most the last 256 KiB of them."""
    size = size_of(path)
    if size < offset:  # rolled since: the present file is all new
        offset = 0
    if size == 0:
        return []
    with path.open("rb") as file:
        file.seek(max(offset, size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def telling_line(lines: Sequence[str]) -> str:
    """The last error with the innermost exception below it; else the last line; "" for none."""
    errors = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    if errors:
        after = [line for line in lines[errors[-1] + 1 :] if _EXCEPTION.match(line)]
        parts = [lines[errors[-1]], *after[-1:]]
    else:
        exceptions = [line for line in lines if _EXCEPTION.match(line)]
        parts = exceptions[-1:] or list(lines[-1:])
    return " ".join(part.strip() for part in parts)[:_LINE_CHARS_MAX]
