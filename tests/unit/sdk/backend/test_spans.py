"""The span of a record on its way: only for sampled writes, and only where OpenTelemetry is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from sdk.backend import spans
from tests.unit.infra.test_tracing import Kept, links
from tests.unit.schemas.test_trace_context import context


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    found = Kept(1.0)
    provider = found.spans.provider
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return found


def test_it_is_a_child_of_the_first_sampled_write_with_links_to_the_others(kept: Kept) -> None:
    first, second = context(1), context(2, sampled=True)
    spans.end(spans.begin("t", 5, [first, second]), None)
    (span,) = kept.exporter.get_finished_spans()
    assert (span.name, span.kind) == ("send t", trace.SpanKind.PRODUCER)
    assert f"{span.parent.span_id:016x}" == second.span_id
    assert links(span) == [first.trace_id]
    assert span.attributes is not None
    assert span.attributes["diffusion.events"] == 5
    assert span.status.is_unset


def test_what_is_lost_is_a_failure(kept: Kept) -> None:
    spans.end(spans.begin("t", 5, [context(1, sampled=True)]), "Local: Message timed out")
    (span,) = kept.exporter.get_finished_spans()
    assert (span.status.is_ok, span.status.description) == (False, "Local: Message timed out")


def test_of_writes_that_are_not_sampled_there_is_none(kept: Kept) -> None:
    assert spans.begin("t", 5, [context(1)]) is None
    spans.end(None, "lost")
    assert kept.exporter.get_finished_spans() == ()


def test_without_opentelemetry_there_is_none() -> None:
    program = """
import sys
from sdk.backend import spans
from schemas.trace_context import TraceContext
assert spans.begin("t", 5, [TraceContext("a" * 32, "b" * 16, 1)]) is None
assert not [name for name in sys.modules if "opentelemetry" in name]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


class Broken(SpanProcessor):
    """A set-up of the backend's own that raises."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_start(self, *_: Any, **__: Any) -> None:
        if self.where == "start":
            raise RuntimeError("started")

    def on_end(self, *_: Any) -> None:
        if self.where == "end":
            raise RuntimeError("ended")


@pytest.mark.parametrize("where", ["start", "end"])
def test_a_set_up_that_raises_costs_no_write(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Broken(where))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    spans.end(spans.begin("t", 5, [context(1, sampled=True)]), None)
    assert "OpenTelemetry raised" in caplog.text
