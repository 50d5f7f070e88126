"""The id of a request: the client's trace id, or one of the server's; in problems and in the log."""

from __future__ import annotations

import re

import httpx
import pytest

from infra.cassandra.session import StoreRefused
from schemas.protocol import SyncRequest
from syncapi.request_ids import asked_id, id_of
from tests.unit.schemas.test_trace_context import TEXT, TRACE
from tests.unit.syncapi.test_no_ids import USER, Records, records, running, tokens  # noqa: F401
from tests.unit.syncapi.test_sockets import send

DRAWN = re.compile(r"[0-9a-f]{32}")


def test_it_is_the_client_s_or_a_new_one() -> None:
    assert asked_id([(b"host", b"x"), (b"traceparent", TEXT.encode())]) == TRACE
    assert asked_id([(b"traceparent", b"ann")]) is None
    assert asked_id([]) is None
    first, second = id_of([]), id_of([])
    assert first != second
    assert DRAWN.fullmatch(first)


def post(port: int, path: str = "/v1/sync", token: str = "good", **headers: str) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {tokens()[token]}"}
    return httpx.post(
        f"http://127.0.0.1:{port}{path}", json={"device_id": "d"}, headers=bearer | headers
    )


def test_an_answer_has_it_for_who_asked_and_a_problem_always(records: Records) -> None:  # noqa: F811
    with running(records) as found:
        assert "x-request-id" not in post(found.port).headers
        assert post(found.port, traceparent=TEXT).headers["x-request-id"] == TRACE
        assert "x-request-id" not in post(found.port, traceparent=USER).headers
        for path, token in (("/v1/sync", "expired"), ("/nowhere", "good")):
            asked = post(found.port, path, token, traceparent=TEXT)
            assert asked.headers["x-request-id"] == asked.json()["request_id"] == TRACE
            drawn = post(found.port, path, token)
            assert DRAWN.fullmatch(drawn.json()["request_id"])
            assert drawn.headers["x-request-id"] == drawn.json()["request_id"]


def test_the_log_calls_a_failed_request_by_it(
    records: Records,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running(records) as found:
        found.store.fault = StoreRefused
        asked = post(found.port, traceparent=TEXT)
        drawn = post(found.port)
        with found.connect(USER) as connection:
            send(connection, 1, SyncRequest("d"))
            frame = connection.recv(5)
    said = [vars(one)["request_id"] for one in caplog.records if "request_id" in vars(one)]
    assert said[:2] == [asked.json()["request_id"], drawn.json()["request_id"]]
    assert said[0] == TRACE
    assert f'"request_id":"{said[2]}"' in str(frame)
