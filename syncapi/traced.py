"""The API with a span around each sync, by OpenTelemetry's own middleware for ASGI.

It is shown a request that says what every sync is, and of this one no more than the client's
`traceparent`: it would write the address of the client and whatever else the head of a request has
into attributes. Nothing but syncs has spans. Those over a connection are no requests of ASGI, and
get theirs in `syncapi.connect`.
"""

from __future__ import annotations

from typing import Any, Final

from infra import tracing
from syncapi.sync_route import SYNC_PATH

_SHOWN: Final = frozenset({b"traceparent", b"tracestate"})
_WHOLE: Final = "diffusion.scope"


def traced(app: Any) -> Any:
    """The application, with spans if the process traces."""
    if not tracing.spans().on:
        return app
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.metrics import NoOpMeterProvider

    from infra.otel import OpenTelemetry

    spans = tracing.spans()
    assert isinstance(spans, OpenTelemetry)

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await app(scope[_WHOLE], receive, send)

    middleware: Any = OpenTelemetryMiddleware(
        whole,
        tracer_provider=spans.provider,
        meter_provider=NoOpMeterProvider(),  # Prometheus has them
        exclude_spans=["receive", "send"],
    )

    async def choose(scope: Any, receive: Any, send: Any) -> None:
        if is_sync(scope):
            await middleware(shown(scope), receive, send)
        else:
            await app(scope, receive, send)

    return choose


def is_sync(scope: Any) -> bool:
    """Whether it is a sync over HTTP."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path.rstrip("/") == SYNC_PATH


def shown(scope: Any) -> dict[str, Any]:
    """What the middleware sees of a request."""
    return {
        "type": "http",
        "asgi": scope.get("asgi", {}),
        "http_version": scope.get("http_version", "1.1"),
        "method": "POST",
        "scheme": scope.get("scheme", "http"),
        "path": SYNC_PATH,
        "raw_path": SYNC_PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name, value) for name, value in scope["headers"] if name in _SHOWN],
        "client": None,
        "server": scope.get("server"),
        _WHOLE: scope,
    }
