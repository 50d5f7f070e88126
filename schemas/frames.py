"""Frames of the persistent connection `/v1/connect`, and the problem document of both transports.

A text frame is JSON. A binary frame is MessagePack behind two bytes: the protocol version, and how
the rest is compressed (`schemas.encoding.Coding`). The server answers in the kind it was asked in,
and compresses for who has sent a compressed frame on this connection, in the coding of the last.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas.limits import REQUEST_ID_MAX
from schemas.protocol import SyncRequest, SyncResponse

PROBLEM_TYPE: Final = "application/problem+json"

RequestId = Annotated[int, Meta(ge=0, le=REQUEST_ID_MAX)]


class Problem(Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457). `type` is always `about:blank`: the status says it all.

    `reason` says in one word why a token was refused (`schemas.protocol.Reason`); `supported` names
    the protocol versions, when the one asked for is unknown; `retry_after_ms` is how long to wait.
    `request_id` is under which the server's log has it: the trace id of the request's `traceparent`
    header, or one of the server's own.
    """

    status: int
    title: str
    detail: str = ""
    type: str = "about:blank"
    reason: str | None = None
    supported: tuple[int, ...] | None = None
    retry_after_ms: int | None = None
    request_id: str | None = None


class ClientFrame(Struct, frozen=True, omit_defaults=True):
    """What a client sends: a sync request under an id of its choice, or, without one, a ping."""

    id: RequestId
    sync: SyncRequest | None = None


class ServerFrame(Struct, frozen=True, omit_defaults=True):
    """What the server sends; exactly one of these.

    - `id` with `answer` or `problem`: to the request of that id; with neither: the pong to a ping;
    - `problem` without `id`: to a frame whose id could not be read;
    - `poke`: something changed for this user; sync when it suits;
    - `drain_ms`: this server goes away; finish, close, and connect again after so long.
    """

    id: int | None = None
    answer: SyncResponse | None = None
    problem: Problem | None = None
    poke: bool = False
    drain_ms: int | None = None
