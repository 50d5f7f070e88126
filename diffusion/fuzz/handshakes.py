"""Handshakes of the persistent connection, and what is sent over it."""

from __future__ import annotations

import random

from diffusion.fuzz import frames
from diffusion.fuzz.asked import BREAKS_OFF, SOCKET, Asked, Headers, Known, http, request


def _handshake(known: Known, headers: Headers, line: str = "GET /v1/connect HTTP/1.1") -> bytes:
    usual = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Content-Type": "",
        "Content-Length": "",
    }
    return http(known, b"", usual | headers, line=line)


def refused(rng: random.Random, known: Known) -> Asked:
    """Handshakes that are none."""
    headers = rng.choice(
        (
            {"Sec-WebSocket-Version": rng.choice(("", "8", "99", "x"))},
            {"Sec-WebSocket-Key": rng.choice(("", "x", "=" * 24, "a" * 9_000))},
            {"Authorization": rng.choice(("", "Bearer x", f"Bearer {known.strangers[0]}"))},
            {"Authorization": "", "Sec-WebSocket-Protocol": "bearer.x, bearer.y"},
            {"Authorization": "", "Sec-WebSocket-Protocol": "diffusion.v1, bearer.\xe9"},
            {"Upgrade": rng.choice(("h2c", "websocket, x", "WebSocket/13"))},
            {"Connection": rng.choice(("", "close", "keep-alive"))},
            {"Sec-WebSocket-Extensions": "permessage-deflate; x=" + "y" * 500},
            {"Content-Length": "4"},
        )
    )
    line = rng.choice(
        ("GET /v1/connect HTTP/1.1",) * 3
        + ("POST /v1/connect HTTP/1.1", "GET /v1/sync HTTP/1.1", "GET /v1/connect HTTP/1.0")
    )
    return Asked(_handshake(known, headers, line), BREAKS_OFF, frames=b"", ends=True)


def standing(rng: random.Random, known: Known) -> Asked:
    """A connection that stands: good frames, then bad ones."""
    sync = request(rng, known)
    good = rng.choice((frames.good, frames.fragmented))(rng, sync)
    match rng.randrange(4):
        case 0:
            return Asked(_handshake(known, {}), SOCKET, frames=good, good=True)
        case 1:
            bad = b"".join(frames.bad(rng, sync) for _ in range(rng.randint(1, 4)))
            return Asked(_handshake(known, {}), SOCKET, frames=bad)
        case 2:
            both = good + frames.bad(rng, sync)
            return Asked(_handshake(known, {}), SOCKET, frames=both)
        case _:
            ending = good + frames.unfinished(rng)
            return Asked(_handshake(known, {}), SOCKET, frames=ending, ends=True)
