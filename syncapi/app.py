"""The HTTP shell: `POST /v1/sync`, health, metrics, and an OpenAPI page at `/schema`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.config.compression import CompressionConfig
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import JSONBody
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from infra import metrics
from infra.cassandra.session import Session
from infra.clock import monotonic_s, now_ms
from infra.settings import Settings
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.auth import Authenticator, cursor_key
from syncapi.problems import on_error
from syncapi.service import SyncService

COMPRESS_FROM_BYTES = 1_024
"""Shorter answers fit a packet as they are."""

VERSION = "0.1.0"


@post("/v1/sync", status_code=200, summary="What changed since the cursor")
async def sync(
    data: JSONBody[SyncRequest],
    request: Request[Any, Any, Any],
    service: NamedDependency[SyncService],
    auth: NamedDependency[Authenticator],
) -> SyncResponse:
    """Answer with a delta, or with a page of the whole state when there is no delta to give.

    Errors are problem documents: 400 for a request that does not fit, 401 without a valid token,
    503 with Retry-After while the store is away.
    """
    user_id = auth.user_of(request.headers.get("authorization"))
    started = monotonic_s()
    answer = await service.sync(user_id, data)
    reset = answer.reset.value if answer.reset is not None else "none"
    metrics.api_syncs.labels(answer.path, reset).inc()
    metrics.api_sync_seconds.labels(answer.path).observe(monotonic_s() - started)
    metrics.api_entries.labels(answer.path).observe(len(answer.conversations))
    return answer


@get("/healthz", media_type=MediaType.TEXT, summary="The process lives")
async def healthz() -> str:
    """Say that the process answers; nothing more."""
    return "ok"


@get("/readyz", media_type=MediaType.TEXT, summary="The service can answer")
async def readyz(service: NamedDependency[SyncService]) -> str:
    """Say that a sync would be answered: Cassandra is there and the log has an epoch."""
    await service.ready()
    return "ok"


@get("/metrics", include_in_schema=False)
async def prometheus() -> Response[bytes]:
    """Metrics in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def build(settings: Settings, session: Session) -> Litestar:
    """Assemble the app over a session, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        key = cursor_key(settings.api)
        app.state.service = SyncService(settings, session, key, now_ms)
        try:
            yield
        finally:
            session.close()

    authenticator = Authenticator(settings.api)

    def provide_service(request: Request[Any, Any, Any]) -> SyncService:
        service: SyncService = request.app.state.service
        return service

    return Litestar(
        route_handlers=[sync, healthz, readyz, prometheus],
        dependencies={
            "service": Provide(provide_service, sync_to_thread=False),
            "auth": Provide(lambda: authenticator, sync_to_thread=False),
        },
        lifespan=[lifespan],
        exception_handlers={Exception: on_error},
        request_max_body_size=REQUEST_BYTES_MAX,
        compression_config=CompressionConfig(
            backend="gzip", minimum_size=COMPRESS_FROM_BYTES, gzip_compress_level=1
        ),
        openapi_config=OpenAPIConfig(
            title="Write-diffusion sync",
            version=VERSION,
            render_plugins=[SwaggerRenderPlugin()],
            components=Components(
                security_schemes={
                    "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
                }
            ),
            security=[{"bearer": []}],
        ),
        logging_config=None,
    )
