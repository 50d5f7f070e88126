"""The id of a request: what a client can tell a person, and a person finds in the log.

It is the trace id of the `traceparent` that the client sent (W3C Trace Context), of the span of the
request where there is one, or drawn. Every problem has it. An answer that went well has it as the
header `X-Request-Id` only if the client sent a `traceparent` or the process traces: of the others
nobody would read it, and an answer without news is as long as the header.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from schemas.trace_context import HEADER, parse

REQUEST_ID: Final = "X-Request-Id"

ID_BYTES: Final = 16
"""As long as a trace id."""

_HEADER: Final = HEADER.encode()


def asked_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The trace id that a client sent; None if it sent none, or nonsense."""
    for name, value in headers:
        if name == _HEADER:
            context = parse(value)
            return None if context is None else context.trace_id
    return None


def new_id() -> str:
    """Draw one."""
    return secrets.token_hex(ID_BYTES)


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request: the client's, or a new one."""
    return asked_id(headers) or new_id()
