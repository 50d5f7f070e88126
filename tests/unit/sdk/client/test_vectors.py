"""The golden vectors of `schemas/vectors`, at the device's end."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.conversations import ConversationState
from schemas.protocol import SyncRequest, SyncResponse
from sdk.client import SyncClient
from sdk.client.traffic import Traffic
from sdk.client.transport import HttpTransport
from tests.unit.sdk.client.test_transport import Server
from tests.unit.sdk.client.test_transport import server as server  # noqa: PLC0414 (a fixture)

FOLDER = Path(__file__).parents[4] / "schemas" / "vectors"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


class Course:
    """Answers one step after the other, and keeps what was asked."""

    traffic = Traffic()

    def __init__(self) -> None:
        self.answer = SyncResponse("delta")
        self.asked: list[dict[str, Any]] = []

    def send(self, request: SyncRequest) -> SyncResponse:
        if self.asked and self.asked[-1] is not None and self.done:
            raise Halt
        self.done = True
        said = msgspec.to_builtins(request)
        self.asked.append({name: said[name] for name in ("cursor", "page") if name in said})
        return self.answer

    done = False

    def close(self) -> None:
        pass


class Halt(BaseException):
    """The device is switched off before it asks on: each step is one answer, stored."""


def test_a_device_asks_and_holds_what_the_course_says(tmp_path: Path) -> None:
    course = Course()
    # Hours apart, so that every reset may begin a full correction.
    for hours, step in enumerate(load("course")["steps"]):
        course.answer = msgspec.convert(step["answer"], SyncResponse)
        course.done = False
        with SyncClient(
            user_id="ann",
            device_id="phone",
            store=tmp_path / "im.db",
            transport=course,
            clock=lambda hours=hours: 1_700_000_000_000 + 7_200_000 * hours,
            verify_every_s=0,
        ) as client:
            with contextlib.suppress(Halt):
                client.sync()
            assert course.asked[-1] == step["ask"], step["name"]
            told = step["then"]["conversations"]
            held = {name: msgspec.convert(state, ConversationState) for name, state in told.items()}
            assert client.state() == held, step["name"]
            assert [one.conversation_id for one in client.pending()] == step["pending"]
            items = client.pending_items()
            for name in step["then"].get("modules_refreshed", ()):
                assert (name, "refresh") in {(one.module, one.op) for one in items}, step["name"]
            for module, item_id in step["then"].get("items", ()):
                assert (module, item_id) in {(one.module, one.item_id) for one in items}


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_requests_go_out_and_answers_come_in_as_the_vectors_say(
    server: Server,
    form: Any,
) -> None:
    transport = HttpTransport(server.url, "token", encoding=form)
    try:
        for case, asked in zip(
            load("answers")["cases"], load("requests")["cases"] * 2, strict=False
        ):
            server.answer = (200, {"Content-Type": f"application/{form}"}, bytes_of(case, form))
            told = transport.send(msgspec.json.decode(asked["json"], type=SyncRequest))
            assert told == msgspec.json.decode(case["json"], type=SyncResponse), case["name"]
            _, _, sent = server.seen[-1]
            assert sent == bytes_of(asked, form), asked["name"]
    finally:
        transport.close()


def bytes_of(case: dict[str, str], form: str) -> bytes:
    return case["json"].encode() if form == "json" else bytes.fromhex(case["msgpack"])
