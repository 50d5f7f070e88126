"""What uvicorn does not bound: the head of a request, and whatever else no handler ever sees.

Its HTTP implementation collects headers as long as they come, before anyone is asked for a token:
95 MB of one header cost it 180 MB and nine seconds of CPU. A proxy in front usually bounds them; an
API that holds connections should not have to hope for it. Refusals are problem documents.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from infra import metrics
from schemas.encoding import Format, encode
from schemas.frames import PROBLEM_TYPE, Problem
from syncapi.negotiation import HeaderTooLong
from syncapi.problems import PROBLEMS

HEAD_BYTES_MAX: Final = 65_536
"""As uvicorn's other implementation allows, and more than common proxies do. It counts what came
without making a head or a part of a body complete: trailers and chunk extensions too."""


HEAD_SECONDS_MAX: Final = 20.0
"""A head that is not complete by then is not coming: it is one packet, or a few."""


class Quiet:
    """A transport that drops what comes too late, as asyncio's own do. uvloop raises, and uvicorn,
    which tells only the last request of a connection that it is lost, would log a traceback for
    each one before it.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        """Be the transport in everything else."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, unless it is closed."""
        if not self._transport.is_closing():
            self._transport.write(data)


class Http(HttpToolsProtocol):
    """uvicorn's, with bounds, and with problem documents for what is no HTTP."""

    _pending_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(cast("asyncio.Transport", Quiet(transport)))
        self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse it when too much of it means nothing yet."""
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request
        answered = cycle is not None and cycle.response_complete
        if answered and self._head_timer is None and not self._pending_bytes:
            self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._give_up)
        self._pending_bytes += len(data)
        super().data_received(data)
        if self._pending_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            detail = f"The head of a request has at most {HEAD_BYTES_MAX:,} bytes."
            self._refuse(Problem(431, PROBLEMS[HeaderTooLong][1], detail))

    def on_headers_complete(self) -> None:
        """Begin to answer; the next head counts anew."""
        self._stop_waiting()
        self._pending_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body, which has a bound of its own."""
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._pending_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(Problem(400, "The request is not HTTP", msg))

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        metrics.api_errors.labels(str(problem.status)).inc()
        body = encode(problem, Format.JSON)
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\n"
            f"content-type: {PROBLEM_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        # While an answer is being sent it would be taken for a part of that.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(head.encode() + body)
        self.transport.close()
