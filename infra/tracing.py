"""Spans, if somebody wants them: what the programs say of a batch or a request while it is done.

Off unless `tracing.enabled`, and then this module is all there is: nothing of OpenTelemetry is
imported, and what is called does nothing (`Off`). On, `infra.otel` does it. Attributes are counts,
places in topics and words of ours, never ids; `docs/tracing.md` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol, TypeAlias

from pydantic import Field

from infra.section import Section
from schemas.trace_context import TraceContext

Value: TypeAlias = str | int | float | bool | Sequence[str]

SAMPLE_RATIO: Final = 0.01
"""Of a thousand syncs a second, ten: enough to see what is slow. What it costs: docs/tracing.md."""


def about_batch(topic: str, records: int) -> dict[str, Value]:
    """What a span says of a batch before it is worked on, by OpenTelemetry's names."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.batch.message_count": records,
    }


class TracingSettings(Section):
    """Spans of OpenTelemetry. Where they go is said by its own variables, OTEL_EXPORTER_OTLP_*."""

    enabled: bool = False
    """Needs the extra `tracing`, which the image has."""
    sample_ratio: float = Field(default=SAMPLE_RATIO, ge=0, le=1)
    """Of what comes without a decision of its own. A request or a write whose `traceparent` says
    that it is sampled always is, and one that says it is not never is."""


class Tracing(Protocol):
    """What the programs call. From any thread and task."""

    on: bool

    def batch(
        self, name: str, contexts: Sequence[TraceContext], attributes: dict[str, Value]
    ) -> AbstractContextManager[Any]:
        """Stand around the work on a batch that was made of these writes."""
        ...

    def request(self, name: str) -> AbstractContextManager[Any]:
        """Stand around the work on a request that no middleware stands around."""
        ...

    def note(self, attributes: dict[str, Value]) -> None:
        """Say something of what is under way, if that is traced."""
        ...

    def context(self) -> TraceContext | None:
        """The context of what is under way; None if that is not traced."""
        ...


class Off:
    """Does nothing."""

    on = False
    _nothing: Final = nullcontext()

    def batch(
        self, _name: str, _contexts: Sequence[TraceContext], _attributes: dict[str, Value]
    ) -> AbstractContextManager[Any]:
        """Do nothing."""
        return self._nothing

    def request(self, _name: str) -> AbstractContextManager[Any]:
        """Do nothing."""
        return self._nothing

    def note(self, _attributes: dict[str, Value]) -> None:
        """Do nothing."""

    def context(self) -> TraceContext | None:
        """Have none."""
        return None


_current: Tracing = Off()


def spans() -> Tracing:
    """What this process does with spans."""
    return _current


def use(tracing: Tracing) -> None:
    """Do so from now on."""
    global _current  # noqa: PLW0603  # of the process, like its metrics
    _current = tracing
