"""Spans: nothing at all while they are off; on, to whom they belong, and that nobody waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from infra import telling, tracing
from infra.local.ports import free_ports
from infra.otel import OpenTelemetry
from infra.settings import Settings, SettingsError
from infra.tracing import Off, TracingSettings
from schemas.errors import RetryableError
from schemas.trace_context import TraceContext
from tests.collector import collecting
from tests.unit.schemas.test_trace_context import context

USER = "user-7f3a9c51"


class Kept:
    """Spans, kept."""

    def __init__(self, ratio: float) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.spans = OpenTelemetry(provider)

    def batch(self, *contexts: TraceContext) -> list[Any]:
        with self.spans.batch("a batch", contexts, {"records": 2}):
            self.spans.note({"rows": 3})
        return list(self.exporter.get_finished_spans())


def links(span: Any) -> list[str]:
    return [f"{link.context.trace_id:032x}" for link in span.links]


def test_off_does_nothing() -> None:
    off = Off()
    with off.batch("x", (), {}), off.request("y"):
        off.note({"z": 1})
        assert off.context() is None
    assert isinstance(tracing.spans(), Off)
    assert not TracingSettings().enabled


PROGRAMS = """
import sys
import streams.__main__, consumers.__main__, consumers.openim.__main__, syncapi.__main__, sdk.backend
import diffusion.cli
from infra import telling, tracing
from infra.settings import load
telling.begin("api", load())
from syncapi.traced import traced
app = object()
assert traced(app) is app
assert not [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]
"""


def test_off_nothing_of_opentelemetry_is_imported() -> None:
    subprocess.run([sys.executable, "-c", PROGRAMS], check=True)


def test_without_opentelemetry_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "infra.otel", None)
    monkeypatch.delattr("infra.otel", raising=False)
    monkeypatch.setattr("infra.logs.begin", lambda *_: None)
    with pytest.raises(SettingsError, match=r"install write-diffusion\[tracing\]"):
        telling.begin("api", Settings(tracing=TracingSettings(enabled=True)))


def test_a_batch_belongs_to_its_first_sampled_write_and_links_to_the_others() -> None:
    first, second, third = context(1), context(2, sampled=True), context(3, sampled=True)
    (span,) = Kept(0.0).batch(first, second, third)
    assert f"{span.context.trace_id:032x}" == second.trace_id
    assert f"{span.parent.span_id:016x}" == second.span_id
    assert links(span) == [first.trace_id, third.trace_id]
    assert dict(span.attributes) == {"records": 2, "rows": 3}


def test_without_a_sampled_write_the_ratio_decides() -> None:
    assert Kept(0.0).batch(context(1)) == []
    (span,) = Kept(1.0).batch(context(1))
    assert span.parent is None
    assert links(span) == [context(1).trace_id]


def test_what_is_not_recorded_has_no_context() -> None:
    kept = Kept(0.0)
    with kept.spans.request("a sync"):
        assert kept.spans.context() is None
    kept = Kept(1.0)
    with kept.spans.request("a sync"):
        found = kept.spans.context()
    assert found is not None
    assert found.sampled
    (span,) = kept.exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == found.trace_id


@pytest.mark.parametrize("error", [KeyError(USER), RetryableError("The store is away.")])
def test_a_span_that_fails_says_so_and_quotes_nobody(error: Exception) -> None:
    kept = Kept(1.0)
    with pytest.raises(type(error)), kept.spans.request("a sync"):
        raise error
    (span,) = kept.exporter.get_finished_spans()
    assert not span.status.is_ok
    assert type(error).__name__ in str(span.status.description)
    assert USER not in span.to_json()


TRACING = """
import sys
from infra import telling, tracing
from infra.settings import load
telling.begin("materializer", load())
spans = tracing.spans()
for number in range({batches}):
    with spans.batch("a batch", (), {{"number": number}}):
        pass
print("done")
"""


def program(batches: int, **variables: str) -> subprocess.CompletedProcess[str]:
    on = {"DIFFUSION_TRACING_ENABLED": "true", "DIFFUSION_TRACING_SAMPLE_RATIO": "1"}
    return subprocess.run(
        [sys.executable, "-c", TRACING.format(batches=batches)],
        env=os.environ | on | {"DIFFUSION_LOG_FORMAT": "json"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def nobody() -> str:
    (port,) = free_ports(1)
    return f"http://127.0.0.1:{port}"


def test_spans_reach_the_collector_that_the_standard_variable_names() -> None:
    with collecting() as collector:
        done = program(3, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert [span.attributes["number"] for span in collector.spans] == [0, 1, 2]
    assert {span.service for span in collector.spans} == {"diffusion-materializer"}
    with collecting() as collector:
        program(1, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="theirs")
    assert {span.service for span in collector.spans} == {"theirs"}


def test_with_the_collector_away_nothing_fails_and_the_process_ends(nobody: str) -> None:
    # More than the queue holds, so that some are dropped.
    done = program(5_000, OTEL_EXPORTER_OTLP_ENDPOINT=nobody)
    assert (done.returncode, done.stdout) == (0, "done\n")
