"""The correlation id of a write: where it comes from, in a backend that may know nothing of one.

OpenTelemetry is looked at only where the backend itself has imported it: who has not has no current
span, and nothing is imported for him.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from schemas.errors import InputError
from schemas.trace_context import TraceContext, parse

_correlated: ContextVar[TraceContext | None] = ContextVar("diffusion_correlated", default=None)

_API: Final = "opentelemetry.trace"


@contextmanager
def correlated(traceparent: str) -> Iterator[None]:
    """Give all writes of this thread or task within it this id; raises `InputError` for what is no
    `traceparent`.

    >>> with correlated("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
    ...     pass  # writes.message(...)
    """
    token = _correlated.set(given(traceparent))
    try:
        yield
    finally:
        _correlated.reset(token)


def given(traceparent: str) -> TraceContext:
    """Read what somebody gave; raises `InputError`."""
    found = parse(traceparent)
    if found is None:
        raise InputError(
            f"traceparent: {traceparent!r:.100} is none; give 00-<32 hexadecimal digits>-<16>-<2>, "
            "as a request's header of this name has it"
        )
    return found


def current() -> TraceContext | None:
    """The id of what runs here: that of `correlated`, or of OpenTelemetry's current span."""
    found = _correlated.get()
    if found is not None:
        return found
    api = sys.modules.get(_API)
    if api is None:
        return None
    span = api.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return TraceContext(f"{span.trace_id:032x}", f"{span.span_id:016x}", int(span.trace_flags))
