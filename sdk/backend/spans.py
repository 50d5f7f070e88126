"""The span of a record that is on its way, in a backend that has OpenTelemetry.

Only for records with a sampled write in them, and only where the backend itself has imported
OpenTelemetry: then by its API, so that the backend's own set-up decides where it goes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, Final

from schemas.trace_context import TraceContext

_log = logging.getLogger("sdk.backend")

_API: Final = "opentelemetry.trace"


def begin(topic: str, events: int, contexts: Sequence[TraceContext]) -> Any:
    """Begin the span of a record of `events` events, as a child of the first sampled write, with
    links to the others; None if nobody wants it, or the backend's own tracing fails: a write goes
    its way with or without a span.
    """
    try:
        return _begin(topic, events, contexts)
    except Exception:  # noqa: BLE001 -- the caller's code
        _log.exception("OpenTelemetry raised when a span began; the record goes without")
        return None


def _begin(topic: str, events: int, contexts: Sequence[TraceContext]) -> Any:
    api: Any = sys.modules.get(_API)
    sampled = next((one for one in contexts if one.sampled), None)
    if api is None or sampled is None:
        return None
    parent = api.set_span_in_context(api.NonRecordingSpan(_context(api, sampled)))
    links = [api.Link(_context(api, one)) for one in contexts if one is not sampled]
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "diffusion.events": events,
    }
    tracer = api.get_tracer("write-diffusion.sdk.backend")
    return tracer.start_span(
        f"send {topic}", parent, kind=api.SpanKind.PRODUCER, links=links, attributes=attributes
    )


def end(span: Any, reason: str | None) -> None:
    """End it: delivered, or lost for a reason."""
    if span is None:
        return
    try:
        if reason is not None:
            api: Any = sys.modules[_API]
            span.set_status(api.StatusCode.ERROR, reason)
        span.end()
    except Exception:  # noqa: BLE001 -- the caller's code
        _log.exception("OpenTelemetry raised when a span ended; its record is counted all the same")


def _context(api: Any, one: TraceContext) -> Any:
    flags = api.TraceFlags(one.flags)
    return api.SpanContext(
        int(one.trace_id, 16), int(one.span_id, 16), is_remote=False, trace_flags=flags
    )
