"""The correlation id of a write: given, standing around it, or OpenTelemetry's; else none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from schemas.errors import InputError
from schemas.records import Batcher, Place
from schemas.trace_context import CONTEXTS_MAX, TraceContext, parse
from sdk.backend.correlation import correlated, current, given
from tests.unit.schemas.test_trace_context import TEXT, context

PLACE = Place("t", 0)


@pytest.fixture
def batcher() -> Batcher:
    return Batcher(linger_s=1.0)


def test_nothing_gives_none() -> None:
    assert current() is None


def test_what_stands_around_the_writes_is_theirs() -> None:
    other = str(context(7))
    with correlated(TEXT):
        assert current() == parse(TEXT)
        with correlated(other):
            assert current() == parse(other)
        assert current() == parse(TEXT)
    assert current() is None


@pytest.mark.parametrize("text", ["", "ann", TEXT[:-1]])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"traceparent: .* is none; give 00-"):
        given(text)
    with pytest.raises(InputError), correlated(text):
        pass


def test_the_current_span_of_opentelemetry_is_taken() -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("a request of the backend") as span:
        found = current()
        with correlated(TEXT):
            assert current() == parse(TEXT), "what is said by hand comes first"
    told = span.get_span_context()
    assert found == TraceContext(f"{told.trace_id:032x}", f"{told.span_id:016x}", told.trace_flags)
    assert found.sampled
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_nothing_is_imported_for_it() -> None:
    program = "import sys; from sdk.backend.correlation import current; assert current() is None; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "opentelemetry" not in done.stdout


def test_a_record_has_the_ids_of_its_events(batcher: Batcher) -> None:
    for number in (None, 1, 1, 2):
        found = None if number is None else context(number)
        batcher.add(PLACE, "k", b"{}", generation=0, now_s=0, context=found)
    (record,) = batcher.seal_all()
    assert record.contexts == (context(1), context(2))


def test_a_record_without_ids_has_none_and_one_of_many_is_bounded(batcher: Batcher) -> None:
    batcher.add(PLACE, "k", b"{}", generation=0, now_s=0)
    assert batcher.seal_all()[0].contexts == ()
    for number in range(1, 100):
        batcher.add(PLACE, "k", b"{}", generation=0, now_s=0, context=context(number))
    assert len(batcher.seal_all()[0].contexts) == CONTEXTS_MAX
