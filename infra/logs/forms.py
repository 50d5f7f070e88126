"""What is in a line, and how it looks for a person; for a collector: `infra.logs.json_form`.

Both have the same parts, and both name nobody: of what a caller hands over beside the message only
`FIELDS` are written, and of an exception what `infra.faults` lets through.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TypeAlias

from infra.faults import trace_of

FIELDS: Final = (
    *("topic", "partition", "offset"),
    *("records", "events", "changes", "marks", "rows", "dead_letters"),
    *("seconds", "status", "trace_id", "trace_ids", "request_id", "answer", "left_out"),
)
"""What may stand in a line beside its message, as `extra` of the call. None of them can name a user
or a conversation; what is not here is not written, whoever hands it over."""

HEAD: Final = "Traceback, of causes the last one first:"
"""Before an exception: the word that people, and our own tests, look for in a log."""

ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


def time_of(record: logging.LogRecord) -> str:
    """When it was said: ISO 8601, UTC, in milliseconds."""
    text = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def exception_of(found: ExcInfo) -> str:
    """An exception, its causes, and the way there; without the values it quotes."""
    return f"{HEAD}\n{trace_of(found[1])}" if found[1] is not None else ""


class ConsoleForm(logging.Formatter):
    """`time LEVEL logger: message name=value ...`, and an exception on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Write the line."""
        said = vars(record)
        fields = "".join(f" {name}={_short(said[name])}" for name in FIELDS if name in said)
        return f"{time_of(record)} {record.levelname} {record.name}: {record.message}{fields}"

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802  # logging's name
        """Write an exception."""
        return exception_of(ei)


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
