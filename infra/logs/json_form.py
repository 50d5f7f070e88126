"""A line as one JSON object, by python-json-logger."""

from __future__ import annotations

import logging
from typing import Any, Final

from pythonjsonlogger.orjson import OrjsonFormatter

from infra.logs.forms import FIELDS, ExcInfo, exception_of, time_of

BASE: Final = ("time", "level", "logger", "message", "program", "process_id", "exception")
"""What every object has; `exception` only where there is one."""

_WRITTEN: Final = frozenset((*BASE, *FIELDS))


class JsonForm(OrjsonFormatter):
    """One object a line. `program` says which of ours it is."""

    def __init__(self, program: str) -> None:
        super().__init__(
            ["levelname", "name", "message", "process"],
            rename_fields={
                "levelname": "level",
                "name": "logger",
                "process": "process_id",
                "exc_info": "exception",
            },
            static_fields={"program": program},
        )

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Put the time first, for those who read it all the same."""
        log_data["time"] = time_of(record)
        super().add_fields(log_data, record, message_dict)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Keep what may be written."""
        return {name: value for name, value in log_data.items() if name in _WRITTEN}

    def format(self, record: logging.LogRecord) -> str:
        """Write the line; what is no text in UTF-8 (half a surrogate pair) with a mark for it."""
        try:
            return super().format(record)
        except TypeError:
            said = record.getMessage().encode("utf-8", "replace").decode()
            plain = logging.makeLogRecord(vars(record) | {"msg": said, "args": ()})
            return super().format(plain)

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802  # logging's name
        """Write an exception, as one text."""
        return exception_of(ei)
