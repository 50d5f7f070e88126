"""Spans by OpenTelemetry, sent by OTLP over HTTP. Imported only where `tracing.enabled`.

A batch belongs to the trace of the first sampled write in it, as a child of that write, and links
to the others; so whoever follows one sampled write finds both stages, and what was written with it.
Without a sampled write it is a trace of its own, by the ratio.

Spans wait in a bounded queue for a thread of their own. What that does not get rid of is dropped,
and said in the log: no batch and no request waits for a collector, and none fails for it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from infra.faults import sentence_of
from infra.tracing import Tracing, TracingSettings, Value, use
from schemas.trace_context import TraceContext

EXPORT_TIMEOUT_S: Final = 5.0
"""One try, with its repetitions. The SDK's own default is twice as long."""

END_TIMEOUT_S: Final = 3.0
"""What a process that ends waits for its last spans, also when the collector is away."""

_NAME_VARIABLE: Final = "OTEL_SERVICE_NAME"


class OpenTelemetry:
    """`infra.tracing.Tracing`, by a provider."""

    on = True

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer("diffusion")

    @contextmanager
    def batch(
        self, name: str, contexts: Sequence[TraceContext], attributes: dict[str, Value]
    ) -> Iterator[None]:
        """Stand around the work on a batch."""
        sampled = next((one for one in contexts if one.sampled), None)
        links = [Link(_span_context(one)) for one in contexts if one is not sampled]
        parent = Context() if sampled is None else _parent(sampled)
        with self._span(name, SpanKind.CONSUMER, parent, links, attributes):
            yield

    @contextmanager
    def request(self, name: str) -> Iterator[None]:
        """Stand around the work on a request."""
        with self._span(name, SpanKind.SERVER, Context(), [], {}):
            yield

    def note(self, attributes: dict[str, Value]) -> None:
        """Say something of the current span."""
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attributes(attributes)

    def context(self) -> TraceContext | None:
        """The context of the current span, if it is recorded."""
        span = trace.get_current_span()
        if not span.is_recording():
            return None
        said = span.get_span_context()
        return TraceContext(
            f"{said.trace_id:032x}", f"{said.span_id:016x}", int(said.trace_flags) & 1
        )

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        parent: Context,
        links: list[Link],
        attributes: dict[str, Value],
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name,
            context=parent,
            kind=kind,
            links=links,
            attributes=attributes,
            # What a foreign error quotes is nobody's business: its type is said, below.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_status(trace.StatusCode.ERROR, sentence_of(error))
                raise


def begin(program: str, settings: TracingSettings) -> None:
    """Trace from now on, as `diffusion-<program>` if OTEL_SERVICE_NAME does not say otherwise."""
    named: dict[str, Any] = {"service.namespace": "write-diffusion"}
    if _NAME_VARIABLE not in os.environ:
        named[SERVICE_NAME] = f"diffusion-{program}"
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=Resource.create(named),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_TIMEOUT_S)))
    atexit.register(_end, provider)
    tracing: Tracing = OpenTelemetry(provider)
    use(tracing)


def _end(provider: TracerProvider) -> None:
    ending = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
    ending.start()
    ending.join(END_TIMEOUT_S)


def _span_context(one: TraceContext) -> SpanContext:
    return SpanContext(
        int(one.trace_id, 16),
        int(one.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(one.flags),
    )


def _parent(one: TraceContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(_span_context(one)), Context())
