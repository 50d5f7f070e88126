"""What uvicorn does not offer: a socket that can be ended, one that says when it is read, a drain.

The WebSocket implementation is uvicorn's `websockets-sansio`, the one it keeps: 23 KB for an idle
connection (Python 3.11, uvicorn 0.54, 2,000 of them, through Litestar), where its older
`websockets` took 30 and `wsproto`, one dependency more, 21. It stops reading the socket while a
message waits to be received, which is the backpressure towards clients. Compression of single
messages is off: it costs each connection a window of memory, and binary frames are compressed
already.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, Protocol, cast

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from infra.clock import monotonic_s
from schemas.limits import REQUEST_BYTES_MAX
from syncapi.connections import Hub
from syncapi.http_bounds import Http

LINE: Final = "diffusion.line"
"""Name of the ASGI extension under which a handshake finds its `Line`."""

SEND_TIMEOUT_S: Final = 10.0
"""A reader must take something in so long."""

SEND_PROGRESS_BYTES: Final = 32_768
"""What it must take by then, or all: 26 kbit/s, as over EDGE."""

CLOSE_GRACE_S: Final = 5.0
"""How long the other side has to read what was sent and to answer a close frame."""

PING_INTERVAL_S: Final = 45.0
"""Below 60 s, after which common proxies and load balancers cut silent connections; and how soon,
with the time-out, a client that vanished is noticed."""

PING_TIMEOUT_S: Final = 20.0
"""A client at its limit of requests is not read, its pongs neither: longer than a sync may take."""


class Line(Protocol):
    """What the server offers for a connection beyond ASGI."""

    async def taken(self) -> bool:
        """Wait until what was written is in the system's buffers but for a rest; False when the
        reader takes too little.
        """

    def end(self, code: int, reason: str) -> None:
        """Send a close frame without waiting for anything; cut the connection a little later."""


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, with a `Line`."""

    def handle_connect(self, event: Request) -> None:
        """Offer the line to the app, whose task has not begun yet."""
        super().handle_connect(event)
        if self.handshake_initiated and not self.close_sent:
            cast("dict[str, Any]", self.scope["extensions"])[LINE] = self

    async def taken(self) -> bool:
        """See `Line`."""
        while not self.writable.is_set():
            left = self.transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self.writable.wait()
            except TimeoutError:
                if left - self.transport.get_write_buffer_size() < SEND_PROGRESS_BYTES:
                    return False
        return True

    def end(self, code: int, reason: str) -> None:
        """See `Line`."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        if not self.handshake_complete:
            self.transport.abort()
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.conn.state is State.OPEN:
            # Not if the peer's own close frame came in the same piece: it is answered already.
            self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        # Reading goes on, or the answer to the close frame is never seen.
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_GRACE_S, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take what came. A handshake that is none is answered and ended here: uvicorn, which hands
        its head over in one piece, would wait for more of it for ever.
        """
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
            self._linger()

    def handle_close(self, event: Frame) -> None:
        """End as the peer wishes, and soon."""
        super().handle_close(event)
        self._linger()

    def handle_parser_exception(self) -> None:
        """End with a peer that does not speak WebSocket, and soon."""
        super().handle_parser_exception()
        self._linger()

    def keepalive_timeout(self) -> None:
        """End, unless the ping waits behind an answer: whether that is taken, `taken` watches."""
        if not self.writable.is_set() and not self.transport.is_closing():
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self._linger()

    def shutdown(self) -> None:
        """End with the server; uvicorn's stumbles over a connection that is closing already."""
        if self.transport.is_closing():
            self.transport.abort()
            return
        super().shutdown()
        self._linger()

    async def run_asgi(self) -> None:
        """Run the app; what it leaves open is closed, and soon."""
        await super().run_asgi()
        if self.transport.is_closing():
            self._linger()

    async def send(self, message: ASGISendEvent) -> None:
        """Send. A refusal completes the handshake, too; uvicorn would log it as an error."""
        await super().send(message)
        refused = message["type"] == "websocket.http.response.body"
        if refused and not message.get("more_body", False):
            self.handshake_complete = True

    def handle_cont(self, event: Frame) -> None:
        """Collect a fragment; empty ones would be collected without bound."""
        if event.data or event.fin:
            super().handle_cont(event)

    def _linger(self) -> None:
        """Cut the line a little later: `transport.close` waits until all is read, for which a peer
        that reads nothing makes it wait for ever, with all that is buffered.
        """
        if self.close_timer is None and not self.disconnected:
            self.close_timer = self.loop.call_later(CLOSE_GRACE_S, self.transport.abort)

    def handle_ping(self) -> None:
        """Answer, unless the answers are not read: they would pile up without bound."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """Refuse text that is none, quietly: uvicorn writes a traceback for each."""
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self.frames = []
            self.end(1007, "text is not UTF-8")
            return
        super().send_receive_event_to_app()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class Server(uvicorn.Server):
    """uvicorn's, which sends the persistent connections away in order before it closes them."""

    def __init__(self, config: uvicorn.Config, hub: Hub, drain_s: float) -> None:
        super().__init__(config)
        self._hub = hub
        self._drain_s = drain_s

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no new connections, drain those that stand, and end as uvicorn does."""
        for server in self.servers:
            server.close()
        until_s = monotonic_s() + self._drain_s
        await self._hub.drain(self._drain_s)
        # Requests over HTTP went on meanwhile: both have the same time.
        self.config.timeout_graceful_shutdown = max(1, int(until_s - monotonic_s()))
        await super().shutdown(sockets)


def config(
    app: Any,
    host: str,
    port: int,
    trusted_proxies: str = "",
    tls: ssl.SSLContext | None = None,
) -> uvicorn.Config:
    """How the API is served: whose `X-Forwarded-For` is believed is said, or nobody's is; over TLS,
    if there is a context for it.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,  # through the handlers of all programs (`infra.logs`)
        log_level="error",  # it has a warning for each request that is no HTTP: they are counted
        access_log=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        server_header=False,  # it tells whoever asks what to try, and travels with every answer
        loop="uvloop",
        http=Http,
        ws=WebSocket,
        ws_max_size=REQUEST_BYTES_MAX,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=PING_TIMEOUT_S,
        ssl_context_factory=None if tls is None else lambda _config, _usual: tls,
    )
