"""One write with a trace context, followed to a sync and back: by spans, by logs, by the command.

All programs run with tracing on and JSON logs, and send their spans to a collector of this test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from confluent_kafka import Producer

from diffusion.demo import own_servers
from diffusion.local import managed
from diffusion.processes import Child
from diffusion.system import System, environment_of, running
from infra.local.ports import free_ports
from infra.logs.bound import LINES_MAX, WINDOW_S
from infra.openim_settings import OpenimSettings
from infra.settings import LogSettings, Settings
from infra.tracing import TracingSettings
from schemas import ids
from schemas.events import MembersJoined, Message, Read
from schemas.topics import CHANGES, CONVERSATION_WRITES, USER_WRITES
from schemas.trace_context import TraceContext
from sdk.backend import correlated
from tests.collector import Collector, Span, collecting
from tests.integration.support import NOW_MS, World, make_topic, wait_until
from tests.unit.consumers.openim.support import encoded, single

WRITE = TraceContext("a1" * 16, "b1" * 8, 1)
UNSAMPLED = TraceContext("a2" * 16, "b2" * 8, 0)
CLIENT = TraceContext("c1" * 16, "d1" * 8, 1)
ROOM = ids.group("traced")
ANN, BOB, EVE = "user-ann-traced", "user-bob-traced", "user-eve-traced"
STREAM, MATERIALIZER = "diffusion-stream-worker", "diffusion-materializer"
API, TAP = "diffusion-api", "diffusion-openim-tap"
BASE = {"time", "level", "logger", "message", "program", "process_id"}


@dataclass
class Watched:
    system: System
    collector: Collector
    logs: Path
    stop_kafka: Callable[[], None]

    def span(self, service: str, what: str, holds: Callable[[Span], bool]) -> Span:
        """The span of a service for which this holds; waited for."""
        found: list[Span] = []

        def look() -> bool:
            found[:] = [one for one in self.collector.of(service) if holds(one)]
            return bool(found)

        wait_until(look, f"no span of {service}: {what}")
        return found[0]

    def lines(self, program: str) -> list[dict[str, Any]]:
        """All that a program logged: every line of it has to be an object."""
        whole, _, _ = (self.logs / f"{program}.log").read_bytes().rpartition(b"\n")
        return [orjson.loads(line) for line in whole.splitlines()]

    def trace(self, *arguments: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "diffusion", "trace", *arguments, "--json"],
            env=os.environ | environment_of(self.system.settings),
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        steps: list[dict[str, Any]] = orjson.loads(done.stdout)["steps"]
        return steps


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("traced")
    settings = own_servers(
        Settings(
            log=LogSettings(format="json", level="INFO"),
            # What no write and no client has sampled has no span: what is found was carried there.
            tracing=TracingSettings(enabled=True, sample_ratio=0.0),
        ),
        folder / "data",
    )
    local = managed(settings)
    assert local is not None
    local.up()
    try:
        with collecting() as collector, pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
            with running(
                settings, logs=folder, stream_workers=1, materializers=1, report=print
            ) as system:
                yield Watched(system, collector, folder, lambda: local.stop("kafka"))
    finally:
        local.down()


def sync(watched: Watched, user: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{watched.system.url}/v1/sync",
        json={"device_id": "d"},
        headers={"Authorization": f"Bearer {watched.system.token(user)}"} | headers,
        timeout=30,
    )


def test_one_write_is_followed_to_a_sync_and_back(watched: Watched) -> None:
    world = World(watched.system)
    world.write(MembersJoined(ROOM, (ANN, BOB), 0, NOW_MS))
    with correlated(str(WRITE)):
        world.write(Message(ROOM, 1, ANN, NOW_MS + 1))
    with correlated(str(UNSAMPLED)):
        world.write(Read(BOB, ROOM, 1))

    # Its trace has the work of both stages.
    for service, topic in ((STREAM, CONVERSATION_WRITES.name), (MATERIALIZER, CHANGES.name)):
        span = watched.span(service, "the write", lambda one: one.trace_id == WRITE.trace_id)
        assert span.parent_id == WRITE.span_id
        assert span.attributes["messaging.destination.name"] == topic
        assert not span.failed

    # A sync is of its client's trace; what it tells of leads to the write.
    answer = sync(watched, BOB, traceparent=str(CLIENT))
    assert answer.headers["x-request-id"] == CLIENT.trace_id
    served = watched.span(API, "the sync", lambda one: one.trace_id == CLIENT.trace_id)
    assert served.attributes["diffusion.sync.path"] == "full"
    message, read = _by_kind(watched)
    assert _written_by(message) == [(WRITE.trace_id, CONVERSATION_WRITES.name)]
    assert _written_by(read) == [(UNSAMPLED.trace_id, USER_WRITES.name)]
    assert not read["written_by"][0]["sampled"]
    place = message["record"].removeprefix(f"{CHANGES.name}/")
    (at,) = watched.trace("--at", place)
    assert at["written_by"] == message["written_by"]

    # Nothing was sampled but what asked for it, and nobody is named.
    traces = {span.trace_id for span in watched.collector.spans}
    assert traces == {WRITE.trace_id, CLIENT.trace_id}
    for name in (ANN.encode(), BOB.encode(), ROOM.encode()):
        assert not [body for body in watched.collector.bodies if name in body]


def _by_kind(watched: Watched) -> tuple[dict[str, Any], dict[str, Any]]:
    found = {step["kind"]: step for step in watched.trace(BOB, ROOM)}
    return found["message"], found["read"]


def _written_by(step: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["trace_id"], one["source"].split("/")[0]) for one in step["written_by"]]


def test_a_delta_names_the_change_records_that_it_tells_of(watched: Watched) -> None:
    world = World(watched.system)
    world.write(MembersJoined(ROOM, (EVE,), 1, NOW_MS))
    first = sync(watched, EVE).json()
    with correlated(str(WRITE)):
        world.write(Message(ROOM, 2, ANN, NOW_MS + 2))
    asked = TraceContext("c2" * 16, "d2" * 8, 1)
    httpx.post(
        f"{watched.system.url}/v1/sync",
        json={"device_id": "d", "cursor": first["cursor"]},
        headers={
            "Authorization": f"Bearer {watched.system.token(EVE)}",
            "traceparent": str(asked),
        },
        timeout=30,
    ).raise_for_status()
    span = watched.span(API, "the delta", lambda one: one.trace_id == asked.trace_id)
    assert span.attributes["diffusion.sync.path"] == "delta"
    newest = span.attributes["diffusion.sync.changes"][0]
    (step,) = watched.trace("--at", newest)
    assert _written_by(step) == [(WRITE.trace_id, CONVERSATION_WRITES.name)]


def test_every_line_of_every_program_is_an_object_and_carries_the_id(watched: Watched) -> None:
    for program, name in (("stream-worker-1", "stream-worker"), ("materializer-1", "materializer")):
        lines = watched.lines(program)
        assert all(set(line) >= BASE and line["program"] == name for line in lines)
        told = {trace for line in lines for trace in line.get("trace_ids", ())}
        assert {WRITE.trace_id, UNSAMPLED.trace_id} <= told
    served = watched.lines("api")
    assert all(set(line) >= BASE and line["program"] == "api" for line in served)
    assert CLIENT.trace_id in {line.get("request_id") for line in served}


def test_a_tap_gives_its_writes_the_context_of_its_batch(watched: Watched) -> None:
    kafka = watched.system.settings.kafka.bootstrap_servers
    (port,) = free_ports(1)
    openim = OpenimSettings(bootstrap_servers=kafka, metrics_port=port)
    make_topic(kafka, openim.topic)
    everything = TracingSettings(enabled=True, sample_ratio=1.0)
    settings = watched.system.settings.model_copy(update={"openim": openim, "tracing": everything})
    log, url = watched.logs / "tap.log", f"http://127.0.0.1:{port}/metrics"
    tap = Child("openim-tap", ("openim-tap",), environment_of(settings), log, url)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(openim.topic, encoded(single(101, b"{}", seq=1)))
    producer.flush()
    watched.system.processes.start(tap)
    try:
        told = watched.span(TAP, "a batch", lambda one: one.name == f"tell {openim.topic}")
        spread = watched.span(STREAM, "the tap's write", lambda one: one.trace_id == told.trace_id)
        assert spread.parent_id == told.span_id
    finally:
        watched.system.processes.retire("openim-tap")
    assert all(line["program"] == "openim-tap" for line in watched.lines("tap"))


def test_while_kafka_is_away_the_logs_stay_short(watched: Watched) -> None:
    """The last of this module: it takes Kafka away."""
    watched.stop_kafka()

    def left_out() -> list[dict[str, Any]]:
        return [line for line in watched.lines("stream-worker-1") if line.get("left_out")]

    wait_until(lambda: bool(left_out()), "nothing was left out", 6 * WINDOW_S)
    assert {line["program"] for line in watched.lines("stream-worker-1")} == {"stream-worker"}
    assert max(line["left_out"] for line in left_out()) > LINES_MAX
