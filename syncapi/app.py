"""The HTTP shell: `POST /v1/sync`, health, metrics, and an OpenAPI page at `/schema`.

The sync handler takes bytes and gives bytes: what they mean is negotiated by `syncapi.negotiation`
and read by `schemas.encoding`, the same for every transport. That nothing is validated, injected or
rendered on its way saves 80 microseconds of CPU a request, a third.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.exceptions import InternalServerException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from infra.cassandra.session import Session
from infra.clock import monotonic_s, now_ms
from infra.settings import Settings
from schemas.encoding import Coding, compress, decode_request, decompress, encode, shrink
from schemas.errors import UnreadableError
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.answers import answered
from syncapi.auth import Authenticator, cursor_key
from syncapi.connect import connect
from syncapi.connections import Hub, Limits
from syncapi.negotiation import Agreement, agree
from syncapi.openapi import SyncOperation, components
from syncapi.pokes import PokeFeed
from syncapi.problems import on_error
from syncapi.service import SyncService

VERSION = "0.1.0"


@post(
    "/v1/sync",
    status_code=200,
    summary="What changed since the cursor",
    operation_class=SyncOperation,
)
async def sync(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer with a delta, or with a page of the whole state when there is no delta to give.

    Whatever is no answer is a problem document.
    """
    state = request.app.state
    auth: Authenticator = state.auth
    service: SyncService = state.service
    user_id = auth.user_of(request.headers.get("authorization"))
    agreement = agree(request.scope["headers"])
    asked = await _read(request, agreement)
    return _write(await answered(service, user_id, asked), agreement)


async def _read(request: Request[Any, Any, Any], agreement: Agreement) -> SyncRequest:
    try:
        body = await request.body()
    except InternalServerException as error:
        # The client went away within its body: its business, and no line in our log.
        raise UnreadableError("The body broke off.") from error
    plain = decompress(body, agreement.request_coding, REQUEST_BYTES_MAX)
    return decode_request(plain, agreement.request_format)


def _write(answer: SyncResponse, agreement: Agreement) -> Response[bytes]:
    body = encode(answer, agreement.answer_format)
    coding = agreement.answer_codings[0]
    if Coding.IDENTITY in agreement.answer_codings:
        body, coding = shrink(body, coding)
    else:
        body = compress(body, coding)
    headers = {} if coding is Coding.IDENTITY else {"Content-Encoding": coding.token}
    return Response(body, media_type=agreement.answer_format.value, headers=headers)


@get("/healthz", media_type=MediaType.TEXT, summary="The process lives")
async def healthz() -> str:
    """Say that the process answers; nothing more."""
    return "ok"


@get("/readyz", media_type=MediaType.TEXT, summary="The service can answer")
async def readyz(request: Request[Any, Any, Any]) -> str:
    """Say that a sync would be answered: Cassandra is there, the log has an epoch, and this
    process does not go away.
    """
    state = request.app.state
    hub: Hub = state.hub
    service: SyncService = state.service
    hub.check_staying()
    await service.ready()
    return "ok"


@get("/metrics", include_in_schema=False)
async def prometheus() -> Response[bytes]:
    """Metrics in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def build(settings: Settings, session: Session, *, pokes: bool = False) -> Litestar:
    """Assemble the app over a session, which it closes when it ends; `pokes` follows Kafka."""
    hub = _hub(settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        key = cursor_key(settings.api)
        app.state.service = SyncService(settings, session, key, now_ms)
        sweeping = asyncio.create_task(hub.sweep_for_ever())
        feed = _poke_feed(settings, hub) if pokes else None
        try:
            yield
        finally:
            if feed is not None:
                await asyncio.to_thread(feed.stop)
            sweeping.cancel()
            await app.state.service.drain()
            session.close()

    app = Litestar(
        route_handlers=[sync, connect, healthz, readyz, prometheus],
        lifespan=[lifespan],
        exception_handlers={Exception: on_error},
        request_max_body_size=REQUEST_BYTES_MAX,
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
    app.state.auth = Authenticator(settings.api)
    app.state.hub = hub
    app.openapi_schema.components.schemas = {
        **(app.openapi_schema.components.schemas or {}),
        **components(),
    }
    return app


def _hub(settings: Settings) -> Hub:
    api = settings.api
    limits = Limits(
        connections=api.connections_max,
        per_user=api.connections_per_user_max,
        idle_s=api.idle_s,
        spread_s=api.reconnect_spread_s,
    )
    return Hub(limits, monotonic_s, random.uniform)


def _poke_feed(settings: Settings, hub: Hub) -> PokeFeed:
    """Follow the change log; must be called on the loop that the hub belongs to."""
    loop = asyncio.get_running_loop()

    def deliver(users: list[str]) -> None:
        loop.call_soon_threadsafe(hub.poke, users)

    feed = PokeFeed(settings.kafka, hub.users.keys(), deliver)
    feed.start()
    return feed
