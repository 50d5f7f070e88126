"""What a worker tells those who look after it: `/metrics`, `/healthz`, `/readyz`.

Health says that the process answers; readiness, that it reaches what it needs. A worker that is not
ready is not to be ended: it waits, and goes on by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from infra import metrics
from infra.cassandra.session import Session
from infra.kafka.delivery import Delivery
from schemas.errors import DiffusionError, PermanentError

PROBE_TIMEOUT_S: Final = 2.0
"""For a question to Kafka or Cassandra: whoever takes longer is away, as far as probes go."""

Check = Callable[[], None]
"""Raises a `DiffusionError` that says what is wrong."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Probes come every few seconds."""


def servers(delivery: Delivery, session: Session) -> dict[str, Check]:
    """What every worker needs: our Kafka, asked by one of its producers, and Cassandra."""
    return {
        "kafka": partial(delivery.ping, PROBE_TIMEOUT_S),
        "cassandra": partial(session.ping, PROBE_TIMEOUT_S),
    }


def serve(program: metrics.Program, host: str, port: int, checks: Mapping[str, Check]) -> None:
    """Answer in threads of its own; port 0 serves nothing. `checks` by the name of what is reached.

    Raises `PermanentError` for an address that cannot be had.
    """
    if not port:
        return
    try:
        server = make_server(
            host, port, app(program, checks), server_class=_Server, handler_class=_Quiet
        )
    except OSError as error:
        raise PermanentError(
            f"{host}:{port} for /metrics cannot be had ({error.strerror}): set another one."
        ) from error
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()


def app(
    program: metrics.Program, checks: Mapping[str, Check]
) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """The WSGI application; of the metrics it has those of the program."""
    exported = make_wsgi_app(metrics.registry_of(program))

    def answer(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/healthz":
            return _text(start, "200 OK", "ok")
        if path == "/readyz":
            wrong = not_ready(checks)
            if wrong:
                return _text(start, "503 Service Unavailable", "\n".join(wrong))
            return _text(start, "200 OK", "ok")
        found: Iterable[bytes] = exported(environment, start)
        return found

    return answer


def not_ready(checks: Mapping[str, Check]) -> list[str]:
    """What is away, a line each; empty when all is there."""
    wrong = []
    for name, check in checks.items():
        try:
            check()
        except DiffusionError as error:
            wrong.append(f"{name}: {error}")
    return wrong


def _text(start: Any, status: str, text: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]
