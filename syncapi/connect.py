"""The route of the persistent connection, `/v1/connect`: handshake, requests, answers.

The same requests and answers as `POST /v1/sync`, several at once, each under the id that the client
gave it. The token is checked once, at the handshake, and the connection ends when it expires. No
check of `Origin`: a browser sends no token by itself, so that a foreign page has none to send.

A change between a client's sync and its connection is nobody's to tell: the protocol asks clients
to sync once the connection stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, NamedTuple

from litestar import WebSocket, websocket
from msgspec.structs import replace

from infra import metrics, tracing
from infra.clock import now_ms
from schemas.encoding import Coding, Format, encode
from schemas.errors import DiffusionError
from schemas.frames import PROBLEM_TYPE, ClientFrame, Problem, ServerFrame
from schemas.protocol import SyncRequest, SyncResponse
from syncapi.admission import Gate, TooManyRequests
from syncapi.answers import answered
from syncapi.auth import Identity, NotAuthenticated
from syncapi.connections import IN_FLIGHT_MAX, Connection, Gone, Hub, NoRoom, SlowReader
from syncapi.framing import Form, Unread, coding_of, frame_length, read_frame
from syncapi.problems import counted, headers_of, problem_of
from syncapi.request_ids import id_of, new_id
from syncapi.service import SyncService
from syncapi.sockets import LINE, SEND_TIMEOUT_S, Line

SUBPROTOCOL: Final = "diffusion.v1"
BEARER: Final = "bearer."
"""A browser cannot set headers of a handshake, but offer subprotocols: this one is the token."""

HOLD_S_MAX: Final = 1.0
"""Longest time for which a connection is not read after a frame too many: pongs wait, too."""

Socket = WebSocket[Any, Any, Any]

_request_bytes = metrics.api_request_bytes.labels("connection")


@websocket("/v1/connect")
async def connect(socket: Socket) -> None:
    """Serve one connection, from its handshake to its end."""
    hub: Hub = socket.app.state.hub
    gate: Gate = socket.app.state.gate
    wire = AsgiWire(socket)
    try:
        gate.check_load()
        identity = gate.identify(_credentials(socket), socket.scope.get("client"))
        lifetime_s = (identity.until_ms - now_ms()) / 1_000
        connection = hub.add(identity.user_id, wire, lifetime_s)
    except DiffusionError as error:
        problem = problem_of(error, id_of(socket.scope["headers"]))
        if isinstance(error, NoRoom):
            problem = replace(problem, retry_after_ms=hub.later_ms())
        await _refuse(socket, problem)
        return
    try:
        offered = socket.scope["subprotocols"]
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        connection.stand()
        desk = Desk(gate, socket.app.state.service, identity)
        await _serve(connection, socket, hub, desk)
    finally:
        for task in connection.tasks:
            task.cancel()
        hub.remove(connection)


def _credentials(socket: Socket) -> str | None:
    header = socket.headers.get("authorization")
    if header is not None:
        return header
    tokens = [one for one in socket.scope["subprotocols"] if one.startswith(BEARER)]
    if len(tokens) > 1:
        raise NotAuthenticated("Offer one token, not several.")
    return f"Bearer {tokens[0].removeprefix(BEARER)}" if tokens else None


async def _refuse(socket: Socket, problem: Problem) -> None:
    """Answer a handshake with a problem document instead of an upgrade.

    Where the server cannot, it is closed before it stands, which most answer with 403.
    """
    metrics.api_errors.labels(str(problem.status)).inc()
    await socket.receive()
    if "websocket.http.response" not in (socket.scope.get("extensions") or {}):
        await socket.close(4_000 + problem.status, problem.title)
        return
    headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"cache-control", b"no-store")]
    for name, value in headers_of(problem).items():
        headers.append((name.lower().encode(), value.encode()))
    start = {
        "type": "websocket.http.response.start",
        "status": problem.status,
        "headers": headers,
    }
    body = {"type": "websocket.http.response.body", "body": encode(problem, Format.JSON)}
    for message in (start, body):
        await socket.send(message)  # type: ignore[arg-type]  # an extension of ASGI


class Desk(NamedTuple):
    """Where the requests of one connection are answered."""

    gate: Gate
    service: SyncService
    identity: Identity

    async def answer(self, request: SyncRequest) -> SyncResponse:
        """Answer one; raises what `Gate.enter` and `answered` do."""
        self.gate.enter(self.identity.user_id)
        try:
            return await answered(self.service, self.identity, request)
        finally:
            self.gate.leave(self.identity.user_id)


async def _serve(connection: Connection, socket: Socket, hub: Hub, desk: Desk) -> None:
    """Read frames until the connection ends."""
    while True:
        while len(connection.tasks) >= IN_FLIGHT_MAX:
            # What is not read stays in the client's socket.
            await asyncio.wait(connection.tasks, return_when=asyncio.FIRST_COMPLETED)
        message: Any = await socket.receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        data = text if text is not None else message.get("bytes") or b""
        frame = read_frame(data)
        coding = coding_of(data) if isinstance(frame, ClientFrame) else Coding.IDENTITY
        hub.heard(connection, binary=text is None, coding=coding)
        form = connection.form
        try:
            desk.gate.admit(connection.user_id)
        except TooManyRequests as error:
            await connection.send(ServerFrame(id=frame.id, problem=_told(error)), form)
            # What is not read costs nothing: a flood is no faster than what may be asked.
            await asyncio.sleep(min(error.retry_after_ms / 1_000, HOLD_S_MAX))
            continue
        if isinstance(frame, Unread):
            metrics.api_frames.labels("unreadable").inc()
            told = ServerFrame(id=frame.id, problem=_told(frame.error))
            await connection.send(told, form)
        elif frame.sync is None:
            metrics.api_frames.labels("ping").inc()
            # Waited for: who sends pings and reads no pongs is not read either.
            await connection.send(ServerFrame(id=frame.id), form)
        else:
            metrics.api_frames.labels("sync").inc()
            _request_bytes.observe(frame_length(data))
            if hub.draining:
                gone = problem_of(NoRoom("This server goes away."), new_id())
                await connection.send(ServerFrame(id=frame.id, problem=gone), form)
                continue
            work = _answer(connection, frame.id, frame.sync, form, desk)
            task = asyncio.get_running_loop().create_task(work)
            connection.tasks.add(task)
            task.add_done_callback(connection.tasks.discard)


async def _answer(
    connection: Connection, request_id: int, request: SyncRequest, form: Form, desk: Desk
) -> None:
    try:
        with tracing.spans().request("sync over a connection"):
            told = ServerFrame(id=request_id, answer=await desk.answer(request))
    except Exception as error:  # noqa: BLE001  # whatever it is, the client gets an answer
        told = ServerFrame(id=request_id, problem=_told(error))
    await connection.send(told, form)


def _told(error: Exception) -> Problem:
    return counted(error, "a request over a connection failed")


class AsgiWire:
    """The wire of a connection: ASGI, and what our server offers beyond it (`sockets.Line`)."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        extensions: dict[str, Any] = socket.scope.get("extensions") or {}
        # Taken out: a cycle of references less to be collected when it ends.
        self._line: Line | None = extensions.pop(LINE, None)
        self._closer: asyncio.Task[None] | None = None

    async def send(self, data: str | bytes) -> None:
        """Send a frame, and wait until the reader took it or gives up being one."""
        message = {"type": "websocket.send", "text": None, "bytes": None}
        message["text" if isinstance(data, str) else "bytes"] = data  # type: ignore[assignment]
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send(message)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise SlowReader from error
        except Exception as error:
            # Each server and the framework have an error of their own for it.
            raise Gone from error
        if self._line is not None and not await self._line.taken():
            raise SlowReader

    def close(self, code: int, reason: str) -> None:
        """Close it; whoever receives is told so."""
        if self._line is not None:
            self._line.end(code, reason)
        else:
            self._closer = asyncio.get_running_loop().create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(Exception):  # gone already
            await self._socket.close(code, reason)
