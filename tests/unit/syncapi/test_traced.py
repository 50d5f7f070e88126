"""Spans of syncs: what they say, to whom they belong, and that they name nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan

from infra import tracing
from infra.cassandra.session import StoreUnavailable
from infra.settings import load
from infra.tracing import Off
from schemas.protocol import SyncRequest
from syncapi.sync_route import SYNC_PATH
from syncapi.traced import is_sync, shown, traced
from tests.unit.infra.test_tracing import Kept
from tests.unit.schemas.test_trace_context import TEXT, TRACE
from tests.unit.syncapi.test_no_ids import CONVERSATION, DEVICE, IDS, MARK, USER, Quoting, tokens
from tests.unit.syncapi.test_service import joined
from tests.unit.syncapi.test_sockets import Running, send


@pytest.fixture
def kept() -> Iterator[Kept]:
    found = Kept(1.0)
    tracing.use(found.spans)
    yield found
    tracing.use(Off())


@pytest.fixture
def running(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    from tests.unit.syncapi import test_sockets

    real = test_sockets.config
    monkeypatch.setattr(test_sockets, "config", lambda app, *more: real(traced(app), *more))
    store = Quoting()
    store.add(*joined(CONVERSATION, user=USER))
    with Running(store, load()) as found:
        yield found


def post(found: Running, **headers: str) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{found.port}{SYNC_PATH}?token={MARK}&user={USER}",
        json={"device_id": DEVICE},
        headers={"Authorization": f"Bearer {tokens()['good']}", **headers},
    )


def spans(kept: Kept) -> list[ReadableSpan]:
    return list(kept.exporter.get_finished_spans())


def test_a_sync_has_a_span_with_its_path_and_the_change_records_it_tells_of(
    running: Running, kept: Kept
) -> None:
    answer = post(running)
    (span,) = spans(kept)
    assert span.attributes is not None
    assert span.attributes["diffusion.sync.path"] == "full"
    assert span.attributes["diffusion.sync.reason"] == "fresh"
    assert span.attributes["diffusion.sync.entries"] == len(answer.json()["conversations"]) == 1
    assert span.attributes["http.status_code"] == 200
    assert answer.headers["x-request-id"] == f"{span.context.trace_id:032x}"


def test_it_belongs_to_the_trace_of_the_client(running: Running, kept: Kept) -> None:
    assert post(running, traceparent=TEXT).headers["x-request-id"] == TRACE
    (span,) = spans(kept)
    assert f"{span.context.trace_id:032x}" == TRACE
    unsampled = TEXT[:-1] + "0"
    post(running, traceparent=unsampled)
    assert len(spans(kept)) == 1, "who says that it is not sampled is not"


def test_a_sync_over_a_connection_has_one_and_nothing_else_has(
    running: Running, kept: Kept
) -> None:
    httpx.get(f"http://127.0.0.1:{running.port}/healthz")
    httpx.get(f"http://127.0.0.1:{running.port}/{USER}")
    with running.connect(USER) as connection:
        send(connection, 1, SyncRequest(DEVICE))
        connection.recv(5)
        send(connection, 2, None)
        connection.recv(5)
    (span,) = spans(kept)
    assert span.name == "sync over a connection"
    assert span.attributes is not None
    assert span.attributes["diffusion.sync.path"] == "full"


def test_no_span_names_anybody(running: Running, kept: Kept) -> None:
    post(running)
    post(running, **{"X-Forwarded-For": "203.0.113.7", "User-Agent": USER, "tracestate": "a=1"})
    running.store.fault = StoreUnavailable
    assert post(running).status_code == 503
    said = "".join(span.to_json() for span in spans(kept))
    assert len(spans(kept)) == 3
    for secret in (*IDS, MARK, "203.0.113.7", tokens()["good"]):
        assert secret not in said


def test_the_middleware_is_shown_what_every_sync_is() -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/v1/sync/",
        "query_string": MARK.encode(),
        "client": ("203.0.113.7", 5),
        "headers": [(b"authorization", MARK.encode()), (b"traceparent", TEXT.encode())],
    }
    assert is_sync(scope)
    found = shown(scope)
    assert found.pop("diffusion.scope") is scope
    assert MARK not in repr(found)
    assert found["headers"] == [(b"traceparent", TEXT.encode())]
    for other in ({"type": "websocket"}, {"method": "GET"}, {"path": f"/v1/{USER}"}):
        assert not is_sync(scope | other)
