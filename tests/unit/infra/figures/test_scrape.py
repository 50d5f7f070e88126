"""Processes are asked over HTTP: what each way of not answering is called, and what to do."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client import generate_latest

from infra import metrics
from infra.figures import scrape
from infra.figures.figures import Figures
from infra.figures.scrape import Viewer, parse
from infra.figures.targets import Target
from infra.local.ports import free_ports


@contextmanager
def served(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A server with one answer; yields where it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exported(program: metrics.Program) -> bytes:
    return generate_latest(metrics.registry_of(program))


def look(*targets: Target, **options: Any) -> Figures:
    async def once() -> Figures:
        viewer = Viewer()
        try:
            return await viewer.look(targets, **options)
        finally:
            await viewer.close()

    return asyncio.run(once())


@pytest.mark.parametrize("program", list(metrics.Program))
def test_what_a_process_exports_is_read(program: metrics.Program) -> None:
    found = parse(exported(program).decode())
    for one in metrics.declared():
        expected = one.part in {program.value, "store", "process"}
        assert all((sample in found) == expected for sample in one.samples()), one.name


def test_processes_are_asked_and_added_up() -> None:
    metrics.stream_events.labels("message").inc(3)
    with served(body=exported(metrics.Program.STREAM)) as first:
        found = look(Target("stream-worker", first), Target("stream-worker", first))
    assert [one.name for one in found.processes] == ["stream-worker 1", "stream-worker 2"]
    assert {one.state for one in found.processes} == {"up"}
    assert {one.address for one in found.processes} == {first}
    assert found.volume.events_total == metrics.stream_events.labels("message")._value.get() + sum(
        child._value.get()
        for labels, child in metrics.stream_events._metrics.items()
        if labels != ("message",)
    )


def test_one_that_looks_speaks_for_itself_and_nobody_says_where_he_is() -> None:
    with served(body=exported(metrics.Program.MATERIALIZER)) as address:
        found = look(
            Target("materializer", address),
            own=("api", exported(metrics.Program.API)),
            addresses=False,
        )
    assert [(one.name, one.state, one.address) for one in found.processes] == [
        ("materializer", "up", ""),
        ("api", "up", ""),
    ]
    assert found.sync.connections_max is not None


def test_one_client_asks_all_and_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[scrape.httpx.AsyncClient] = []

    class Kept(scrape.httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(scrape.httpx, "AsyncClient", Kept)
    with served(body=exported(metrics.Program.API)) as address:
        look(*[Target("api", address)] * 5)
    (client,) = made
    assert client.is_closed


def down(target: Target) -> str:
    (one,) = look(target).processes
    assert (one.state, one.address) == ("down", target.address)
    assert one.advice
    return one.problem


def test_nobody_there() -> None:
    (port,) = free_ports(1)
    assert down(Target("api", f"127.0.0.1:{port}")) == "Nothing answers at its address."


def test_the_advice_names_the_command() -> None:
    (port,) = free_ports(1)
    (one,) = look(Target("openim-tap", f"127.0.0.1:{port}")).processes
    assert "`diffusion openim-tap`" in one.advice


def test_somebody_else_there() -> None:
    with served(body=b"go_goroutines 7\n") as address:
        assert down(Target("api", address)) == "What answers there is not ours."
    for status, body in ((404, b""), (200, b"<html>hello</html>"), (200, b"\xff\xfe"), (302, b"")):
        with served(status, body, {"Location": "/elsewhere"}) as address:
            assert down(Target("api", address)) == "What answers there is no /metrics."


def test_an_answer_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "BYTES_MAX", 1_000)
    with served(body=exported(metrics.Program.API)) as address:
        assert down(Target("api", address)) == "What answers there is no /metrics."


def test_packed_answers_are_not_unpacked() -> None:
    with served(body=b"\x1f\x8b" + bytes(50), headers={"Content-Encoding": "gzip"}) as address:
        assert down(Target("api", address)) == "What answers there is no /metrics."


def test_one_that_takes_a_connection_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        problem = down(Target("api", f"127.0.0.1:{silent.getsockname()[1]}"))
    assert problem.startswith("It does not answer within")


def test_tls_where_there_is_none_is_no_answer_either() -> None:
    with served() as address:
        assert down(Target("api", address, "https"))
