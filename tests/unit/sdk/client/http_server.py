"""An HTTP server on this machine for tests of the client: one answer for all, or those of a model."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec

from schemas.encoding import CODINGS, Coding, decompress
from schemas.limits import REQUEST_BYTES_MAX
from schemas.protocol import SyncRequest
from tests.unit.sdk.client.support import ModelServer

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class Server(ThreadingHTTPServer):
    """Answers every POST with what `answer` says; there is nothing to GET, and no WebSocket; `redirect`
    sends who tries elsewhere.
    """

    daemon_threads = True

    def __init__(self, *answer: Any) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Answer = answer  # type: ignore[assignment]
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.redirect = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reply(self, headers: dict[str, str], body: bytes) -> Answer:
        return self.answer

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        super().__exit__(*error)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.send_response(302 if self.server.redirect else 404)
        self.send_header("Location", self.server.redirect)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, headers, body))
        status, headers, body = self.server.reply(headers, body)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class ModelHttp(Server):
    """A `ModelServer` that is reached by HTTP."""

    def __init__(self, model: ModelServer) -> None:
        super().__init__()
        self.model = model

    def reply(self, headers: dict[str, str], body: bytes) -> Answer:
        coding = CODINGS[headers.get("content-encoding", Coding.IDENTITY.token)]
        raw = decompress(body, coding, REQUEST_BYTES_MAX)
        answer = self.model.send(msgspec.msgpack.decode(raw, type=SyncRequest))
        return 200, {"Content-Type": "application/msgpack"}, msgspec.msgpack.encode(answer)
