"""Frames and problem documents: what is on the wire, and that it may grow."""

from __future__ import annotations

from typing import Any

import pytest

from diffusion.fuzz import hostile
from schemas.encoding import Format, decode, encode
from schemas.errors import UnreadableError
from schemas.frames import ClientFrame, Problem, ServerFrame
from schemas.limits import REQUEST_ID_MAX
from schemas.protocol import SyncRequest, SyncResponse

ON_THE_WIRE: list[tuple[Any, str]] = [
    (ClientFrame(0), '{"id":0}'),
    (ClientFrame(7, SyncRequest("phone")), '{"id":7,"sync":{"device_id":"phone"}}'),
    (ServerFrame(7), '{"id":7}'),
    (ServerFrame(7, SyncResponse("delta")), '{"id":7,"answer":{"path":"delta"}}'),
    (ServerFrame(poke=True), '{"poke":true}'),
    (ServerFrame(drain_ms=500), '{"drain_ms":500}'),
    (
        ServerFrame(7, problem=Problem(400, "no", reason="unreadable")),
        '{"id":7,"problem":{"status":400,"title":"no","reason":"unreadable"}}',
    ),
    (
        Problem(400, "no", "why", supported=(1,)),
        '{"status":400,"title":"no","detail":"why","supported":[1]}',
    ),
    (
        Problem(503, "later", retry_after_ms=2_000),
        '{"status":503,"title":"later","retry_after_ms":2000}',
    ),
]


@pytest.mark.parametrize(("record", "text"), ON_THE_WIRE, ids=[text for _, text in ON_THE_WIRE])
def test_a_frame_is_as_the_protocol_says(record: Any, text: str) -> None:
    assert encode(record, Format.JSON).decode() == text
    for form in Format:
        assert decode(encode(record, form), type(record), form) == record


@pytest.mark.parametrize("request_id", [-1, REQUEST_ID_MAX + 1, "7", 7.5, None])
def test_the_id_of_a_request_has_bounds(request_id: Any) -> None:
    for form in Format:
        with pytest.raises(UnreadableError, match="id"):
            decode(hostile.write({"id": request_id}, form), ClientFrame, form)


@pytest.mark.parametrize("kind", [ClientFrame, ServerFrame, Problem])
def test_unknown_fields_are_ignored(kind: type[ClientFrame]) -> None:
    for form in Format:
        data = hostile.write({"id": 7, "status": 400, "title": "no", "new": [{}]}, form)
        decode(data, kind, form)
