"""The golden vectors of `schemas/vectors`, at the server's end: over HTTP, byte for byte."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest
from litestar.testing import TestClient

from infra.settings import Settings
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.app import build
from syncapi.auth import issue
from syncapi.service import SyncService
from tests.unit.syncapi.support import Store

FOLDER = Path(__file__).parents[3] / "schemas" / "vectors"


def cases(name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))[
        "cases"
    ]
    return found


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_requests_come_in_and_answers_go_out_as_the_vectors_say(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SyncRequest] = []
    answers = iter(cases("answers"))

    async def sync(self: SyncService, user_id: str, request: SyncRequest) -> SyncResponse:
        asked.append(request)
        return msgspec.json.decode(next(answers)["json"], type=SyncResponse)

    monkeypatch.setattr(SyncService, "sync", sync)
    now_ms = time.time_ns() // 1_000_000
    token = issue(Settings().api, "ann", now_ms=now_ms, lifetime_s=600)
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": f"application/{form}",
        "accept-encoding": "identity",
    }
    requests = cases("requests") * 2
    with TestClient(build(Settings(), Store())) as client:
        for request, answer in zip(requests, cases("answers"), strict=False):
            body = bytes_of(request, form)
            told = client.post("/v1/sync", content=body, headers=headers)
            assert asked[-1] == msgspec.json.decode(request["json"], type=SyncRequest)
            assert told.content == bytes_of(answer, form), answer["name"]


def bytes_of(case: dict[str, str], form: str) -> bytes:
    return case["json"].encode() if form == "json" else bytes.fromhex(case["msgpack"])
