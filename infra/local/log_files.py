"""Reading a server's log for the line that tells why it did not start.

Reads the end of a file only, and only what was written since this start: an error of last week
must not be shown as the reason of today.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_TAIL_BYTES = 256 * 1024
"""More than any stack trace, less than anyone would wait for."""

_LINE_CHARS_MAX = 300
"""A sentence stays a sentence; the log has the rest."""

_ERROR = re.compile(r"\b(ERROR|FATAL)\b")
_EXCEPTION = re.compile(
    # The third is how a JVM says that it ran out of memory.
    r"^(?:Caused by: |Exception in thread \S+ |Terminating due to )?[\w.$]+(?:Exception|Error)\b"
)


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


def telling_line(*sources: Sequence[str]) -> str:
    """The last error of the first source that has one, else the last line; "" for none.

    Of an error in a log, the innermost exception below it is part.
    """
    for lines in sources:
        errors = [number for number, line in enumerate(lines) if _ERROR.search(line)]
        below = lines[errors[-1] + 1 :] if errors else lines
        found = [line for line in below if _EXCEPTION.match(line)][-1:]
        if errors or found:
            parts = [lines[errors[-1]], *found] if errors else found
            return " ".join(part.strip() for part in parts)[:_LINE_CHARS_MAX]
    last = next((lines[-1] for lines in sources if lines), "")
    return last.strip()[:_LINE_CHARS_MAX]
