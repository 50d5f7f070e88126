"""The HTTP shell: `POST /v1/sync`, health, metrics, a page of live figures at `/`, and an OpenAPI
page at `/schema`.

Syncs are answered by `syncapi.sync_route`, before Litestar looks at them; everything else, and how
all of it is described, is Litestar's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import (
    ASGIApp,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Receive,
    Scope,
    Send,
)
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from infra import metrics
from infra.cassandra.session import Session
from infra.clock import monotonic_s, now_ms
from infra.settings import Settings
from schemas.limits import REQUEST_BYTES_MAX
from syncapi.admission import Gate, TooManyRequests
from syncapi.auth import Authenticator, cursor_key
from syncapi.connect import connect
from syncapi.connections import Hub, Limits
from syncapi.openapi import SyncOperation, components
from syncapi.page.board import Board
from syncapi.page.routes import ROUTES as PAGE
from syncapi.pokes import PokeFeed
from syncapi.problems import on_error, refusal_of
from syncapi.request_ids import asked_id
from syncapi.service import SyncService
from syncapi.sync_route import SYNC_PATH, SyncRoute, refuse

VERSION = "0.1.0"

HEALTH: Final = frozenset({"/healthz", "/readyz"})
"""Never refused for their number: who asks would take the process for a dead one."""

_EXPORTED = metrics.registry_of(metrics.Program.API)


@post(
    SYNC_PATH,
    status_code=200,
    summary="What changed since the cursor",
    operation_class=SyncOperation,
)
async def sync(request: Request[Any, Any, Any]) -> ASGIApp:
    """Answer with a delta, or with a page of the whole state when there is no delta to give.

    Whatever is no answer is a problem document.
    """
    # Comes here by a spelling of the path only that Litestar knows and `Api` does not.
    route: SyncRoute = request.app.state.sync
    return route


class Api(Litestar):
    """Litestar with the one busy route in front of it."""

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        """Answer whatever ASGI asks."""
        asked: Any = scope
        if asked["type"] == "http":
            path, method = asked["path"], asked["method"]
            if method == "POST" and path.rstrip("/") == SYNC_PATH:
                route: SyncRoute = self.state.sync
                await route(asked, cast("Receive", receive), cast("Send", send))
                return
            if path not in HEALTH:
                gate: Gate = self.state.gate
                try:
                    gate.admit_open(asked.get("client"))
                except TooManyRequests as error:
                    asked_for = asked_id(asked["headers"])
                    refusal = refusal_of(method, path, error, asked_for)
                    await refuse(cast("Send", send), refusal)
                    return
        await super().__call__(scope, receive, send)


@get("/healthz", media_type=MediaType.TEXT, summary="The process lives")
async def healthz() -> str:
    """Say that the process answers; nothing more."""
    return "ok"


@get("/readyz", media_type=MediaType.TEXT, summary="The service can answer")
async def readyz(request: Request[Any, Any, Any]) -> str:
    """Say that a sync would be answered: Cassandra is there, the log has an epoch, and this
    process does not go away.

    Not that there is room for one. Who balances the load would send the requests of a process that
    is overloaded to the others, and they would be next; sending some away is what it is there for.
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
    return Response(_exported(), media_type=CONTENT_TYPE_LATEST)


def _exported() -> bytes:
    return generate_latest(_EXPORTED)


def build(settings: Settings, session: Session, *, pokes: bool = False) -> Litestar:
    """Assemble the app over a session, which it closes when it ends; `pokes` follows Kafka."""
    hub = _hub(settings)
    metrics.api_connections_max.set(settings.api.connections_max)
    metrics.api_poke_feed.set(0 if pokes else 1)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        key = cursor_key(settings.api)
        session.join_loop()
        app.state.service = SyncService(settings, session, key, now_ms)
        app.state.sync = SyncRoute(app.state.gate, app.state.service)
        beating = [asyncio.create_task(hub.sweep_for_ever())]
        beating.append(asyncio.create_task(app.state.gate.watch_for_ever()))
        feed = _poke_feed(settings, hub) if pokes else None
        try:
            yield
        finally:
            if feed is not None:
                await asyncio.to_thread(feed.stop)
            for task in beating:
                task.cancel()
            await app.state.board.close()
            await app.state.service.drain()
            await asyncio.to_thread(session.close)

    app = Api(
        route_handlers=[sync, connect, healthz, readyz, prometheus, *PAGE],
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
    auth = Authenticator(settings.api)
    app.state.gate = Gate(settings.api, auth, monotonic_s, random.uniform)
    app.state.hub = hub
    app.state.page = settings.api.page
    app.state.board = Board(settings.api.figures_targets, _exported, monotonic_s)
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
